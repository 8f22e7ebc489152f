//! Join tokens: `corr1.` and, in base64url, 8 bytes of id, 16 of secret, and 32 of [`Pin`]: who may join,
//! and which controller it is that they join.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use corridor_probes::Wall;
use rand::CryptoRng;

use super::certificate::{Pin, sha256};
use crate::store::records::{Service, TokenRecord};

const PREFIX: &str = "corr1.";
const BYTES: usize = 8 + 16 + 32;
/// `BYTES` in base64url without padding.
const BODY: usize = BYTES.div_ceil(3) * 4 - 1;

/// Why a token does not let its bearer join. Each is one sentence; [`Self::code`] is the stable word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this is not a join token: one begins with \"{PREFIX}\"")]
    NotAToken,
    #[error("this join token is of a kind that this version does not know; update this machine's corridor")]
    OtherVersion,
    #[error("this join token is incomplete or has a typing error; copy it anew")]
    Malformed,
    #[error("this join token belongs to another controller")]
    OtherController,
    #[error("the controller does not know this join token")]
    Unknown,
    #[error("the controller does not know this join token")]
    WrongSecret,
    #[error("this join token was revoked")]
    Revoked,
    #[error("this join token has expired")]
    Expired,
    #[error("this join token has been used as often as it may be")]
    UsedUp,
    #[error("this join token is for {}, not for {}", a(*.token), a(*.wanted))]
    WrongService { token: Service, wanted: Service },
    #[error("this join token is for \"{token}\" only")]
    WrongSubject { token: String },
}

impl TokenError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAToken | Self::Malformed => "token_malformed",
            Self::OtherVersion => "token_version",
            Self::OtherController => "token_other_controller",
            // Whoever guesses must not learn that an id exists.
            Self::Unknown | Self::WrongSecret => "token_unknown",
            Self::Revoked => "token_revoked",
            Self::Expired => "token_expired",
            Self::UsedUp => "token_used_up",
            Self::WrongService { .. } => "token_wrong_service",
            Self::WrongSubject { .. } => "token_wrong_subject",
        }
    }
}

fn a(service: Service) -> &'static str {
    match service {
        Service::Agent => "an agent",
        Service::Edge => "an edge",
    }
}

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: [u8; 8],
    secret: [u8; 16],
    pin: Pin,
}

impl Token {
    /// A new one, for the controller whose CA has `pin`.
    pub fn create(pin: Pin, rng: &mut dyn CryptoRng) -> Self {
        let (mut id, mut secret) = ([0; 8], [0; 16]);
        rng.fill_bytes(&mut id);
        rng.fill_bytes(&mut secret);
        Self { id, secret, pin }
    }

    /// 16 hex digits; not secret.
    pub fn id(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.id))
    }

    /// What the controller keeps of the secret.
    pub fn secret_hash(&self) -> [u8; 32] {
        sha256(&self.secret)
    }

    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// Whether it lets a `service` join at `now` as `subject` (an edge's name, for an edge), given its
    /// record. Pure: a directory calls it inside the transaction that takes the use.
    pub fn check(
        &self,
        record: Option<&TokenRecord>,
        service: Service,
        subject: Option<&str>,
        now: Wall,
    ) -> Result<(), TokenError> {
        let record = record.filter(|r| r.id == self.id()).ok_or(TokenError::Unknown)?;
        // First, so that nothing else is told to who does not have the secret.
        if !same(&self.secret_hash(), &record.secret_hash) {
            return Err(TokenError::WrongSecret);
        }
        if record.revoked.is_some() {
            return Err(TokenError::Revoked);
        }
        if now >= record.expires {
            return Err(TokenError::Expired);
        }
        if record.service != service {
            return Err(TokenError::WrongService {
                token: record.service,
                wanted: service,
            });
        }
        if let (Some(only), Some(subject)) = (&record.subject, subject)
            && only != subject
        {
            return Err(TokenError::WrongSubject { token: only.clone() });
        }
        if record.uses_left == 0 {
            return Err(TokenError::UsedUp);
        }
        Ok(())
    }
}

/// Compares in a time that does not tell where they differ.
pub(crate) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differences) == 0
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let Some(body) = text.strip_prefix(PREFIX) else {
            let newer = text.strip_prefix("corr").and_then(|t| t.split_once('.'));
            let newer = newer.is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            return Err(if newer {
                TokenError::OtherVersion
            } else {
                TokenError::NotAToken
            });
        };
        let mut bytes = [0; BYTES];
        if body.len() != BODY || URL_SAFE_NO_PAD.decode_slice(body, &mut bytes) != Ok(BYTES) {
            return Err(TokenError::Malformed);
        }
        let (mut id, mut secret, mut pin) = ([0; 8], [0; 16], [0; 32]);
        id.copy_from_slice(&bytes[..8]);
        secret.copy_from_slice(&bytes[8..24]);
        pin.copy_from_slice(&bytes[24..]);
        Ok(Self {
            id,
            secret,
            pin: Pin(pin),
        })
    }
}

/// The token itself: to be shown once.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id[..], &self.secret, &self.pin.0].concat();
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, …)", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};
    use std::time::Duration;

    const NOW: Wall = Wall::from_secs(1_800_000_000);

    fn token(seed: u64) -> Token {
        Token::create(Pin([9; 32]), &mut StdRng::seed_from_u64(seed))
    }

    fn record(token: &Token) -> TokenRecord {
        TokenRecord {
            id: token.id(),
            secret_hash: token.secret_hash(),
            service: Service::Agent,
            subject: Some("s1".into()),
            tags: Default::default(),
            uses_left: 1,
            created: NOW,
            expires: NOW + Duration::from_secs(60),
            revoked: None,
        }
    }

    #[test]
    fn a_token_comes_back_from_its_text() {
        let token = token(1);
        let text = token.to_string();
        assert_eq!(text.len(), PREFIX.len() + BODY);
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!("  {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&text[20..40]));
    }

    #[test]
    fn wrong_texts_are_told_apart() {
        let good = token(1).to_string();
        for (text, error) in [
            ("", TokenError::NotAToken),
            ("hello", TokenError::NotAToken),
            ("corr.abc", TokenError::NotAToken),
            ("corrx.abc", TokenError::NotAToken),
            ("corr2.abc", TokenError::OtherVersion),
            ("corr1.", TokenError::Malformed),
            (&good[..good.len() - 1], TokenError::Malformed),
            (&format!("{good}A"), TokenError::Malformed),
            (&format!("{}=", &good[..good.len() - 1]), TokenError::Malformed),
            (&good.replacen("corr1.", "corr1.é", 1), TokenError::Malformed),
        ] {
            assert_eq!(text.parse::<Token>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_record_lets_in_exactly_whom_it_should() {
        let token = token(1);
        let good = record(&token);
        let check = |record: &TokenRecord, service, subject, now| {
            token
                .check(Some(record), service, subject, now)
                .map_err(|e| e.code())
        };
        use Service::{Agent, Edge};
        assert_eq!(check(&good, Agent, Some("s1"), NOW), Ok(()));
        assert_eq!(
            check(&good, Agent, None, NOW),
            Ok(()),
            "the token itself says who"
        );
        let last = good.expires - Duration::from_micros(1);
        assert_eq!(check(&good, Agent, Some("s1"), last), Ok(()));
        assert_eq!(
            check(&good, Agent, Some("s1"), good.expires),
            Err("token_expired")
        );
        assert_eq!(check(&good, Edge, Some("s1"), NOW), Err("token_wrong_service"));
        assert_eq!(check(&good, Agent, Some("s2"), NOW), Err("token_wrong_subject"));
        let with = |change: fn(&mut TokenRecord)| {
            let mut record = good.clone();
            change(&mut record);
            check(&record, Agent, Some("s1"), NOW)
        };
        assert_eq!(with(|r| r.subject = None), Ok(()));
        assert_eq!(with(|r| r.uses_left = 0), Err("token_used_up"));
        assert_eq!(with(|r| r.revoked = Some(NOW)), Err("token_revoked"));
        assert_eq!(with(|r| r.id = "0".repeat(16)), Err("token_unknown"));
        assert_eq!(token.check(None, Agent, None, NOW), Err(TokenError::Unknown));
        for bit in 0..256 {
            let mut record = good.clone();
            record.secret_hash[bit / 8] ^= 1 << (bit % 8);
            record.revoked = Some(NOW);
            let error = token.check(Some(&record), Agent, Some("s1"), NOW);
            assert_eq!(error, Err(TokenError::WrongSecret), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(corr1\\.)?[A-Za-z0-9_=-]{0,90}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }
}
