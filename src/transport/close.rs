//! Why a connection ends: our application close codes, and every end as a typed reason.

use quinn::{ConnectionError, VarInt};

/// What we say when we close a connection. Numbers are on the wire: they are never given another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CloseCode {
    /// No reason to be connected any more. Also what a dropped connection says.
    Done = 0,
    /// The peer's certificate was revoked: do not come back with it.
    Revoked = 1,
    /// The peer's certificate has expired: renew it first.
    Expired = 2,
    /// No version in common.
    Version = 3,
    /// This process is going away.
    ShuttingDown = 4,
    /// This edge takes no more traffic: use another.
    Draining = 5,
    /// Not allowed here (no certificate, wrong role, over a limit).
    Refused = 6,
    /// The same peer has a newer connection.
    Replaced = 7,
    /// The peer sent what the protocol does not allow.
    Protocol = 8,
}

impl CloseCode {
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Revoked,
        Self::Expired,
        Self::Version,
        Self::ShuttingDown,
        Self::Draining,
        Self::Refused,
        Self::Replaced,
        Self::Protocol,
    ];

    pub fn from_wire(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|c| *c as u64 == code)
    }

    pub fn to_wire(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// Whether coming back later, unchanged, can help.
    pub fn retry_helps(self) -> bool {
        match self {
            Self::Done | Self::ShuttingDown | Self::Draining | Self::Replaced => true,
            Self::Revoked | Self::Expired | Self::Version | Self::Refused | Self::Protocol => false,
        }
    }
}

/// How a connection, or an attempt at one, ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("closed by the peer: {code:?}{}", with(reason))]
    ByPeer { code: CloseCode, reason: String },
    #[error("closed by the peer with unknown code {code}{}", with(reason))]
    ByPeerUnknown { code: u64, reason: String },
    #[error("closed here")]
    Here,
    #[error("nothing heard until the idle time-out")]
    TimedOut,
    #[error("the peer has forgotten this connection (it restarted)")]
    Reset,
    /// A TLS alert (RFC 8446 §6), ours or the peer's.
    #[error("TLS refused the connection (alert {alert}){}", with(reason))]
    Tls { alert: u8, reason: String },
    #[error("no QUIC version in common")]
    Version,
    #[error("the peer refuses connections")]
    Refused,
    /// Another transport error (RFC 9000 §20.1).
    #[error("QUIC error {code:#x}{}", with(reason))]
    Transport { code: u64, reason: String },
}

/// The longest reason kept of what a peer says, in characters.
const MAX_REASON: usize = 200;
/// RFC 9000 §20.1: CRYPTO_ERROR is 0x0100 to 0x01ff, with the alert in its last byte.
const CRYPTO_ERROR: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
const CONNECTION_REFUSED: u64 = 2;

fn with(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}

/// What a peer says is hostile until shown: bounded, and without control characters.
fn text(reason: &[u8]) -> String {
    let reason = &reason[..reason.len().min(4 * MAX_REASON)];
    String::from_utf8_lossy(reason)
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_REASON)
        .collect()
}

impl Closed {
    fn transport(code: u64, reason: &[u8]) -> Self {
        let reason = text(reason);
        match code {
            CONNECTION_REFUSED => Self::Refused,
            _ if CRYPTO_ERROR.contains(&code) => Self::Tls {
                alert: (code & 0xff) as u8,
                reason,
            },
            _ => Self::Transport { code, reason },
        }
    }
}

impl From<ConnectionError> for Closed {
    fn from(e: ConnectionError) -> Self {
        match e {
            ConnectionError::ApplicationClosed(close) => {
                let (code, reason) = (close.error_code.into_inner(), text(&close.reason));
                match CloseCode::from_wire(code) {
                    Some(code) => Self::ByPeer { code, reason },
                    None => Self::ByPeerUnknown { code, reason },
                }
            }
            ConnectionError::ConnectionClosed(close) => {
                Self::transport(close.error_code.into(), &close.reason)
            }
            ConnectionError::TransportError(e) => Self::transport(e.code.into(), e.reason.as_bytes()),
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::VersionMismatch => Self::Version,
            e @ ConnectionError::CidsExhausted => Self::Transport {
                code: 0,
                reason: e.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn codes_keep_their_numbers() {
        for (n, code) in CloseCode::ALL.into_iter().enumerate() {
            assert_eq!(code.to_wire().into_inner(), n as u64);
            assert_eq!(CloseCode::from_wire(n as u64), Some(code));
        }
        assert_eq!(CloseCode::from_wire(9), None);
        assert_eq!(CloseCode::Revoked as u8, 1);
        assert_eq!(CloseCode::Draining as u8, 5);
    }

    #[test]
    fn what_a_peer_says_is_cut_and_cleaned() {
        let close = |code: u32, reason: &[u8]| {
            Closed::from(ConnectionError::ApplicationClosed(quinn::ApplicationClose {
                error_code: code.into(),
                reason: Bytes::copy_from_slice(reason),
            }))
        };
        assert_eq!(
            close(1, b"key\x1b[31m\xff lost\n"),
            Closed::ByPeer {
                code: CloseCode::Revoked,
                reason: "key[31m\u{fffd} lost".into()
            }
        );
        let Closed::ByPeerUnknown { code: 77, reason } = close(77, &[b'x'; 5_000]) else {
            panic!("unknown codes are kept");
        };
        assert_eq!(reason.len(), MAX_REASON);
        assert_eq!(close(5, b"").to_string(), "closed by the peer: Draining");
    }

    #[test]
    fn transport_codes_are_told_apart() {
        assert_eq!(Closed::transport(2, b""), Closed::Refused);
        assert!(matches!(
            Closed::transport(0x12a, b""),
            Closed::Tls { alert: 42, .. }
        ));
        assert!(matches!(
            Closed::transport(0x200, b""),
            Closed::Transport { code: 0x200, .. }
        ));
    }
}
