//! How long datagrams are, there and back.

use std::str::FromStr;

use anyhow::Context as _;

/// Bytes of a datagram that goes out, and of the one that comes back for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub out: usize,
    pub back: usize,
}

/// `OUT:BACK`
impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (out, back) = text.split_once(':').context("sizes look like 23:42")?;
        Ok(Self {
            out: out.parse()?,
            back: back.parse()?,
        })
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.out, self.back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_back_from_their_text() {
        let sizes = Sizes { out: 23, back: 41 };
        assert_eq!(sizes.to_string().parse::<Sizes>().unwrap(), sizes);
        assert!("23".parse::<Sizes>().is_err());
    }
}
