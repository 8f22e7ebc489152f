//! Passwords: Argon2id, off the threads that serve.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use corridor_probes::Wall;
use rand::CryptoRng;
use tokio::sync::Semaphore;

use crate::store::records::{AccountRecord, Level};

/// Argon2id with 19 MiB, two passes, one lane: 20 to 40 ms on a core of a small server, and what OWASP
/// names as the least for servers.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The shortest password that a person may choose, in characters.
pub const MIN_PASSWORD: usize = 10;
/// The longest, in bytes.
pub const MAX_PASSWORD: usize = 1_024;
/// Passwords that are hashed at once: 19 MiB and a core each.
const AT_ONCE: usize = 2;
/// Those being hashed and those that wait for it; more are told to come again.
const WAITING: usize = 32;

/// A password could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has at least {MIN_PASSWORD} characters")]
    TooShort,
    #[error("a password has at most {MAX_PASSWORD} bytes")]
    TooLong,
    #[error("Argon2 failed: {0}")]
    Argon2(argon2::password_hash::Error),
    #[error("Argon2 does not take its parameters: {0}")]
    Params(argon2::Error),
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(PasswordError::Params)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The PHC string of a chosen password. It keeps a core busy for a while.
pub fn hash(password: &str, rng: &mut dyn CryptoRng) -> Result<String, PasswordError> {
    if password.chars().count() < MIN_PASSWORD {
        return Err(PasswordError::TooShort);
    }
    if password.len() > MAX_PASSWORD {
        return Err(PasswordError::TooLong);
    }
    let mut salt = [0; 16];
    rng.fill_bytes(&mut salt);
    let hash: PasswordHash = argon2()?
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(PasswordError::Argon2)?;
    Ok(hash.to_string())
}

/// Whether `password` is the one that `phc` was made of. It keeps a core busy for a while.
fn verify(password: &str, phc: &str) -> bool {
    let (Ok(argon2), Ok(hash)) = (argon2(), PasswordHash::new(phc)) else {
        return false;
    };
    argon2.verify_password(password.as_bytes(), &hash).is_ok()
}

/// An account with a random password of 100 bits, which is to be shown once: the first admin's, and the
/// way back in for one who is locked out. An account that is made anew ends its sessions.
pub fn account_with_random_password(
    name: &str,
    level: Level,
    now: Wall,
    rng: &mut dyn CryptoRng,
) -> Result<(AccountRecord, String), PasswordError> {
    let password = random_password(rng);
    let record = AccountRecord {
        name: name.to_owned(),
        password_hash: hash(&password, rng)?,
        level,
        created: now,
    };
    Ok((record, password))
}

/// Four groups of five, without characters that look alike.
fn random_password(rng: &mut dyn CryptoRng) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    rng.fill_bytes(&mut bytes);
    let letters = bytes.map(|b| char::from(ALPHABET[usize::from(b % 32)]));
    let groups = letters.chunks(5).map(|group| group.iter().collect::<String>());
    groups.collect::<Vec<_>>().join("-")
}

/// Verifies passwords on threads of their own, a few at once.
#[derive(Debug)]
pub(super) struct Verifier {
    running: Arc<Semaphore>,
    waiting: Semaphore,
    /// Of a password nobody has: verifying it takes as long for an account that does not exist.
    nobody: String,
}

/// Too many passwords wait to be verified.
#[derive(Debug)]
pub(super) struct Busy;

impl Verifier {
    pub(super) fn new(rng: &mut dyn CryptoRng) -> Result<Self, PasswordError> {
        let password = random_password(rng);
        Ok(Self {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(WAITING),
            nobody: hash(&password, rng)?,
        })
    }

    /// Whether `password` is that of `phc`; always false, in the same time, without one.
    pub(super) async fn verify(&self, password: String, phc: Option<String>) -> Result<bool, Busy> {
        let _place = self.waiting.try_acquire().map_err(|_| Busy)?;
        let permit = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| Busy)?;
        let exists = phc.is_some();
        let phc = phc.unwrap_or_else(|| self.nobody.clone());
        let verified = tokio::task::spawn_blocking(move || {
            // Held by the thread: who hangs up meanwhile does not make room for another hash.
            let _permit = permit;
            password.len() <= MAX_PASSWORD && verify(&password, &phc)
        });
        Ok(verified.await.map_err(|_| Busy)? && exists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    fn rng() -> StdRng {
        StdRng::seed_from_u64(1)
    }

    #[test]
    fn a_hash_states_its_parameters_and_fits_one_password() {
        let phc = hash("correct horse", &mut rng()).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify("correct horse", &phc));
        assert!(!verify("correct horsf", &phc));
        assert!(!verify("", &phc));
        assert!(!verify("correct horse", "plain"));
    }

    #[test]
    fn lengths_are_bounded_where_said() {
        let with = |n| hash(&"é".repeat(n), &mut rng()).err();
        assert_eq!(with(9), Some(PasswordError::TooShort));
        assert_eq!(with(10), None);
        assert_eq!(with(512), None);
        assert_eq!(with(513), Some(PasswordError::TooLong));
    }

    #[test]
    fn random_passwords_differ_and_open_their_account() {
        let rng = &mut rng();
        let now = Wall::from_secs(7);
        let (record, password) = account_with_random_password("admin", Level::Admin, now, rng).unwrap();
        let (_, other) = account_with_random_password("admin", Level::Admin, now, rng).unwrap();
        assert_ne!(password, other);
        assert_eq!(password.len(), 23);
        assert!(verify(&password, &record.password_hash));
        assert_eq!((record.level, record.created), (Level::Admin, now));
    }

    #[tokio::test]
    async fn nobody_has_no_password_and_a_crowd_is_turned_away() {
        let verifier = Verifier::new(&mut rng()).unwrap();
        let phc = hash("correct horse", &mut rng()).unwrap();
        let ask = |phc: Option<&String>| verifier.verify("correct horse".into(), phc.cloned());
        assert!(ask(Some(&phc)).await.unwrap());
        assert!(!ask(None).await.unwrap());
        let crowd = (0..WAITING + 5).map(|_| ask(None));
        let answers = futures_util::future::join_all(crowd).await;
        assert_eq!(answers.iter().filter(|a| a.is_err()).count(), 5);
        assert!(ask(Some(&phc)).await.unwrap(), "and goes on afterwards");
    }
}
