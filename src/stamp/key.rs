//! The key that both ends of an authenticated test session share.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use corridor_probes::stamp::{Authenticator, TAG_LEN};
use ring::hmac;

use crate::identity::{self, FileError};

/// Keys are 16 to 64 bytes; nothing is gained by more.
const MAX_FILE: u64 = 1024;
/// Before a key that is written in hexadecimal, as routers show theirs.
const HEX: &str = "hex:";

/// For HMAC-SHA-256.
#[derive(Clone)]
pub struct StampKey(hmac::Key);

/// Why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum StampKeyError {
    #[error("STAMP key {0}; where somebody may have read it, give both ends another key")]
    Exposed(FileError),
    #[error(transparent)]
    File(FileError),
    #[error("{0} holds no key: give its characters, or {HEX} and hexadecimal digits, on one line")]
    NoKey(PathBuf),
}

impl From<FileError> for StampKeyError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Exposed { .. } => Self::Exposed(error),
            _ => Self::File(error),
        }
    }
}

impl StampKey {
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Reads a file that only its owner can read.
    pub fn load(path: &Path) -> Result<Self, StampKeyError> {
        let text = identity::read_secret(path, MAX_FILE)?;
        let secret = secret(&text).ok_or_else(|| StampKeyError::NoKey(path.to_owned()))?;
        Ok(Self::new(&secret))
    }
}

/// The one line of a key's file.
fn secret(text: &str) -> Option<Vec<u8>> {
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains('\n') {
        return None;
    }
    let Some(digits) = line.strip_prefix(HEX) else {
        return Some(line.as_bytes().to_vec());
    };
    let digits: Option<Vec<u8>> = digits
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks();
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low);
    (rest.is_empty() && !pairs.is_empty()).then(|| bytes.collect())
}

impl fmt::Debug for StampKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StampKey")
    }
}

impl Authenticator for StampKey {
    fn tag(&self, bytes: &[u8]) -> [u8; TAG_LEN] {
        let whole = hmac::sign(&self.0, bytes);
        whole.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_hmac_sha_256_cut_off() {
        // RFC 4231 §4.2 and §4.3.
        let tag = StampKey::new(&[0x0b; 20]).tag(b"Hi There");
        assert_eq!(
            u128::from_be_bytes(tag),
            0xb034_4c61_d8db_3853_5ca8_afce_af0b_f12b
        );
        let tag = StampKey::new(b"Jefe").tag(b"what do ya want for nothing?");
        assert_eq!(
            u128::from_be_bytes(tag),
            0x5bdc_c146_bf60_754e_6a04_2426_0895_75c7
        );
    }

    #[test]
    fn two_spellings() {
        for (text, wanted) in [
            ("Jefe\n", Some(&b"Jefe"[..])),
            ("hex:4a656665\r\n", Some(b"Jefe")),
            ("hex:4A6566", Some(b"Jef")),
            ("", None),
            ("\n", None),
            ("a\nb\n", None),
            ("hex:", None),
            ("hex:4", None),
            ("hex:4g", None),
        ] {
            assert_eq!(secret(text).as_deref(), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "Jefe").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            let error = StampKey::load(&path).unwrap_err().to_string();
            let wanted = format!(
                "STAMP key {} may be read by others (mode 644): run `chmod 600` on it; where somebody may \
                 have read it, give both ends another key",
                path.display()
            );
            assert_eq!(error, wanted);
        }
        identity::write_private(&path, b"Jefe\n").unwrap();
        assert_eq!(
            StampKey::load(&path).unwrap().tag(b""),
            StampKey::new(b"Jefe").tag(b"")
        );
    }
}
