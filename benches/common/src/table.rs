//! Figures as text.

use std::io::{self, Write as _};

/// With so many digits after the point; what is not there is a dash.
pub fn number(figure: f64, digits: usize) -> String {
    if figure.is_finite() {
        format!("{figure:.digits$}")
    } else {
        "-".to_owned()
    }
}

pub fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_a_dash() {
        assert_eq!(number(f64::NAN, 2), "-");
        assert_eq!(number(1.0 / 0.0, 2), "-");
        assert_eq!(number(1.0 / 3.0, 2), "0.33");
    }
}
