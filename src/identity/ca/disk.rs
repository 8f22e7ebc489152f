//! The roots as files: `root-1.pem`, `root-2.pem`, …, each with key, certificate and link in one, so that
//! no crash parts them.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{CaError, MAX_ROOTS, Root};
use crate::identity::{certificate::Certificate, file, key::SecretKey, pem};

const MAX_FILE: u64 = 16 * 1024;

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("root-{number}.pem"))
}

/// Oldest first; empty where there is none. The oldest may have been taken away: numbers need not begin
/// at 1, and are not given again.
pub(super) fn load(dir: &Path) -> Result<Vec<Root>, CaError> {
    let numbers = numbers(dir).map_err(|source| CaError::Dir {
        path: dir.to_owned(),
        source,
    })?;
    if numbers.len() > MAX_ROOTS {
        return Err(CaError::TooManyRoots);
    }
    let load = |number| {
        let path = path(dir, number);
        parse(&path, &file::read_secret(&path, MAX_FILE)?, number)
    };
    numbers.into_iter().map(load).collect()
}

fn numbers(dir: &Path) -> io::Result<BTreeSet<u32>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut numbers = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|n| n.strip_prefix("root-")?.strip_suffix(".pem"));
        numbers.extend(number.and_then(|n| n.parse::<u32>().ok()));
    }
    Ok(numbers)
}

pub(super) fn save(dir: &Path, root: &Root) -> Result<(), CaError> {
    file::create_dir(dir)?;
    let certificates = [Some(&root.certificate), root.link.as_ref()];
    let certificates = certificates.into_iter().flatten().cloned().collect::<Vec<_>>();
    let text = root.key.to_pem() + &pem::encode_certificates(&certificates);
    file::write(&path(dir, root.number), text.as_bytes())?;
    Ok(())
}

fn parse(path: &Path, text: &str, number: u32) -> Result<Root, CaError> {
    let not_a_root = |source| CaError::NotARoot {
        path: path.to_owned(),
        source,
    };
    let key = SecretKey::from_pem(text).map_err(|e| not_a_root(Some(e)))?;
    let mut certificates = pem::certificates(text)
        .ok_or_else(|| not_a_root(None))?
        .into_iter();
    let (certificate, link) = (certificates.next(), certificates.next());
    let certificate = certificate.ok_or_else(|| not_a_root(None))?;
    for certificate in [Some(&certificate), link.as_ref()].into_iter().flatten() {
        let read = Certificate::read(certificate)?;
        if !read.is_ca {
            return Err(not_a_root(None));
        }
        if read.public_key != key.public_key() {
            return Err(CaError::Mismatch(path.to_owned()));
        }
    }
    Ok(Root {
        number,
        key,
        certificate,
        link,
    })
}
