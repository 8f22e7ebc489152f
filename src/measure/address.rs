//! Which address is meant by what was typed.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// The port of an edge that is not told otherwise.
pub const DEFAULT_PORT: u16 = 4433;

/// The longest name that DNS knows, in characters.
const MAX_NAME: usize = 253;

/// A name or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

/// A text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{0:?} is not an address: give HOST, HOST:PORT, or [IPV6]:PORT")]
    Malformed(String),
    #[error("{port:?} is not a port (in {text:?}): give a number from 1 to 65535")]
    Port { text: String, port: String },
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, DEFAULT_PORT)
    }
}

impl Address {
    /// Reads what was typed; `default_port` stands where none was.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            return Ok(Self {
                host: ip.to_string(),
                port: default_port,
            });
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(malformed)?;
            host.parse::<Ipv6Addr>().map_err(|_| malformed())?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(malformed()),
            }
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if !(host.parse::<Ipv6Addr>().is_ok() || is_name(host)) {
            return Err(malformed());
        }
        let port = match port {
            None => default_port,
            Some(port) => number(port).ok_or_else(|| AddressError::Port {
                text: text.to_owned(),
                port: port.to_owned(),
            })?,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Digits only: `+1` is no port.
fn number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    port.parse().ok().filter(|&p| digits && p != 0)
}

/// An IPv4 address, or something that DNS or the hosts file may know. What consists of digits and dots
/// alone must be an address.
fn is_name(host: &str) -> bool {
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    let fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    host.len() <= MAX_NAME && host.bytes().all(fit) && !host.starts_with(['-', '.'])
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1:4433"),
            ("192.0.2.1:443", "192.0.2.1:443"),
            ("edge-1.example.org", "edge-1.example.org:4433"),
            ("localhost:65535", "localhost:65535"),
            ("2001:db8::1", "[2001:db8::1]:4433"),
            ("::1", "[::1]:4433"),
            ("[::1]", "[::1]:4433"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
        let stamp = |text| Address::parse(text, 862).map(|a| a.to_string());
        assert_eq!(stamp("::1").as_deref(), Ok("[::1]:862"));
        assert_eq!(stamp("edge:4433").as_deref(), Ok("edge:4433"));
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            ":4433",
            "a b",
            "-x",
            ".x",
            "192.0.2.256",
            "1.2.3",
            "[::1",
            "[::1]4433",
            "[edge]:1",
            "1:2:3",
            "http://edge",
            "edge/path",
            &"x".repeat(254),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
        }
        for text in ["edge:0", "edge:65536", "edge:", "edge:+1", "[::1]:x"] {
            let error = text.parse::<Address>();
            assert!(
                matches!(error, Err(AddressError::Port { .. })),
                "{text} {error:?}"
            );
        }
    }
}
