//! PEM (RFC 7468) as text in and out, bounded.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// The most text that is looked at for certificates, in bytes.
const MAX_TEXT: usize = 32 * 1024;
/// The most certificates in one text: a chain, or all roots.
pub(crate) const MAX_CERTIFICATES: usize = 16;

/// One block, 64 characters a line.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&b| char::from(b)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

pub(crate) fn encode_certificates(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|c| encode("CERTIFICATE", c)).collect()
}

/// Every certificate in `text`, in order; `None` if there is none, or too many, or one is broken.
pub(crate) fn certificates(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        if found.len() == MAX_CERTIFICATES {
            return None;
        }
        found.push(certificate.ok()?);
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_back_as_they_went() {
        let chain: Vec<_> = [1_usize, 47, 48, 49, 700]
            .iter()
            .map(|&n| CertificateDer::from(vec![7_u8; n]))
            .collect();
        assert_eq!(certificates(&encode_certificates(&chain)), Some(chain));
    }

    #[test]
    fn refuses_none_too_many_and_broken() {
        let one = encode("CERTIFICATE", b"x");
        assert_eq!(certificates(""), None);
        assert_eq!(certificates("hello"), None);
        assert!(certificates(&one.repeat(MAX_CERTIFICATES)).is_some());
        assert_eq!(certificates(&one.repeat(MAX_CERTIFICATES + 1)), None);
        assert_eq!(certificates(&one.replace("END", "FIN")), None);
        assert_eq!(certificates(&" ".repeat(MAX_TEXT + 1)), None);
    }
}
