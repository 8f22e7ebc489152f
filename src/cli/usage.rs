//! Wrong usage, told on one line.

/// What clap says over several lines: what is wrong, its tips, and where help is.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut words = Vec::new();
    let mut usage = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(command) = line.strip_prefix("Usage: ") {
            usage = Some(command);
        } else if usage.is_none() && !line.is_empty() && !line.starts_with("For more information") {
            words.push(line);
        }
    }
    let what = words.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    // The command's words come before its arguments.
    let command = usage.map(|usage| {
        usage
            .split_whitespace()
            .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
            .collect::<Vec<_>>()
            .join(" ")
    });
    format!(
        "{what} (see `{} --help`)",
        command.as_deref().unwrap_or("corridor")
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn said(line: &str) -> String {
        let error = Cli::command().try_get_matches_from(line.split(' ')).unwrap_err();
        one_line(&error)
    }

    #[test]
    fn wrong_usage_is_one_line_that_says_where_help_is() {
        for (line, words) in [
            (
                "corridor agent join https://a",
                &["--join <TOKEN>", "`corridor agent join --help`"][..],
            ),
            (
                "corridor up --dta x",
                &["--dta", "'--data'", "`corridor up --help`"],
            ),
            ("corridor staus", &["'staus'", "'status'"]),
            ("corridor up --http nowhere", &["'nowhere'", "--http"]),
            ("corridor config completions csh", &["'csh'", "bash"]),
        ] {
            let said = said(line);
            assert!(!said.contains('\n') && !said.contains("error:"), "{said}");
            for word in words {
                assert!(said.contains(word), "{word} in {said}");
            }
        }
    }
}
