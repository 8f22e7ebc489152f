//! Putting a pseudonym in a subject's place inside JSON, with all else left byte for byte: numbers and
//! the order of fields are evidence.

/// `subject` as it stands between the quotes of a JSON string.
pub(super) fn escaped(subject: &str) -> String {
    let quoted = serde_json::Value::from(subject).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// `text` with `subject` replaced in every string, keys included, or `None` if it does not occur.
///
/// It occurs where nothing that an id may consist of continues it: `s1` is in `agent:s1` and `s1.`, but
/// not in `s10`, `s1-b` or `s1.b`. Text that is no JSON is taken as one string.
pub(super) fn replace_in_json(text: &str, subject: &str, pseudonym: &str) -> Option<String> {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return replace(text, subject, pseudonym);
    }
    let mut out = String::with_capacity(text.len());
    let mut is_changed = false;
    let mut rest = text;
    while let Some(open) = rest.find('"') {
        let (before, literal_on) = rest.split_at(open);
        let (literal, after) = literal_on.split_at(literal_length(literal_on));
        out.push_str(before);
        let replaced = serde_json::from_str::<String>(literal)
            .ok()
            .and_then(|string| replace(&string, subject, pseudonym));
        match replaced {
            Some(replaced) => {
                is_changed = true;
                out.push_str(&serde_json::Value::from(replaced).to_string());
            }
            None => out.push_str(literal),
        }
        rest = after;
    }
    out.push_str(rest);
    is_changed.then_some(out)
}

/// Length of the string literal that `text`, valid JSON, begins with, quotes included.
fn literal_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

fn replace(string: &str, subject: &str, pseudonym: &str) -> Option<String> {
    if subject.is_empty() {
        return None;
    }
    let mut out = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(at) = string[from..].find(subject).map(|at| from + at) {
        let end = at + subject.len();
        if ends_before(&string[..at]) && begins_after(&string[end..]) {
            out.push_str(&string[copied..at]);
            out.push_str(pseudonym);
            copied = end;
            from = end;
        } else {
            from = at + string[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&string[copied..]);
    Some(out)
}

fn ends_before(before: &str) -> bool {
    let mut back = before.chars().rev();
    is_apart(back.next(), back.next())
}

fn begins_after(after: &str) -> bool {
    let mut on = after.chars();
    is_apart(on.next(), on.next())
}

/// Whether an id is over at `next`, `then` being the character beyond.
fn is_apart(next: Option<char>, then: Option<char>) -> bool {
    match next {
        None => true,
        Some('-' | '_') => false,
        // A full stop or an address's sign, not punctuation, if something goes on behind it.
        Some('.' | '@') => !then.is_some_and(char::is_alphanumeric),
        Some(c) => !c.is_alphanumeric(),
    }
}

#[cfg(test)]
mod tests {
    use super::{escaped, replace_in_json};

    #[test]
    fn replaces_the_subject_and_nothing_else() {
        for (text, expected) in [
            (r#"{"to":"agent:s1"}"#, Some(r#"{"to":"agent:P"}"#)),
            (
                r#"{"s1":{"rtt":0.30000000000000004}}"#,
                Some(r#"{"P":{"rtt":0.30000000000000004}}"#),
            ),
            (r#"["s1", "s1." , "(s1), s1"]"#, Some(r#"["P", "P." , "(P), P"]"#)),
            (r#"["s10","xs1","s1-b","s1_b","s1.b","a.s1","s1@x","s1é"]"#, None),
            (r#"{"a":"\"s1\"","b":"\\"}"#, Some(r#"{"a":"\"P\"","b":"\\"}"#)),
            (r#"{"a":"\u0073\u0031"}"#, Some(r#"{"a":"P"}"#)),
            (r#"{"a":1}"#, None),
            ("s1 is no JSON: s1", Some("P is no JSON: P")),
            ("", None),
        ] {
            assert_eq!(replace_in_json(text, "s1", "P").as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn odd_subjects() {
        assert_eq!(replace_in_json(r#"["a","aa"]"#, "", "P"), None);
        assert_eq!(escaped("a\"b\\é"), "a\\\"b\\\\é");
        assert_eq!(
            replace_in_json(r#"["é\"ü","éé\"ü"]"#, "é\"ü", "P").as_deref(),
            Some(r#"["P","éé\"ü"]"#)
        );
        assert_eq!(replace_in_json(r#""ananan""#, "anan", "P"), None);
        assert_eq!(
            replace_in_json(r#""an an an""#, "an an", "P").as_deref(),
            Some(r#""P an""#)
        );
    }
}
