//! What people type, paste and write into files, and what PEM and DER come in.

use corridor::{
    api::time_text,
    config::Config,
    identity::{
        Certificate, Fingerprint, Pin, Revoked, Roots, SecretKey, Token, certificate::requested_key, peer,
    },
    measure::Address,
    sim::scenario::Scenario,
    store::records::Reporter,
};
use corridor_probes::Wall;
use rustls::pki_types::CertificateDer;

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// A text is no token, or it is the one text of it, spaces around it apart.
pub fn join_token(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match text.parse::<Token>() {
        Ok(token) => assert_eq!(token.to_string(), text.trim()),
        Err(error) => assert!(one_line(&error.to_string())),
    }
}

/// A file is a configuration, or all that is wrong with it is said, a line each, and it is refused.
pub fn config(data: &[u8]) {
    let Some(text) = text(data) else { return };
    // The first line may be the environment: `NAME=value`, as many as it has, separated by tabs.
    let (first, rest) = text.split_once('\n').unwrap_or(("", text));
    let environment = first.split('\t').filter_map(|variable| variable.split_once('='));
    let environment: Vec<_> = environment.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    match Config::parse(rest, environment.clone()) {
        Ok(config) => {
            assert_eq!(
                Config::parse(rest, environment),
                Ok(config.clone()),
                "it says one thing"
            );
            let http = config.controller.http;
            assert!(http.is_none_or(|a| a.ip().is_loopback()));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|p| one_line(p)), "{problems:?}");
        }
    }
}

/// A file is a scenario, or it is said in one line what is wrong.
pub fn scenario(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Err(error) = Scenario::parse(text) {
        assert!(one_line(&error.to_string()), "{error}");
    }
}

/// Addresses, ids, times: what is read is written as something that reads the same.
pub fn texts(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(reporter) = text.parse::<Reporter>() {
        assert_eq!(reporter.to_string().parse(), Ok(reporter));
    }
    if let Ok(pin) = text.parse::<Pin>() {
        assert_eq!(pin.to_string(), text);
    }
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        assert_eq!(fingerprint.to_string(), text);
    }
    match time_text::parse(text) {
        Ok(at) => assert_eq!(time_text::parse(&time_text::text(at)), Ok(at)),
        Err(error) => assert!(error.to_string().len() < 1_000),
    }
}

/// Certificates in DER, and whatever comes as PEM: nothing is believed of them but what can be read again.
pub fn certificates(data: &[u8]) {
    let der = CertificateDer::from(data);
    if let Ok(certificate) = Certificate::read(&der) {
        assert!(certificate.dns_names.len() <= 16);
        assert!(certificate.public_key.len() <= data.len());
    }
    if let Ok(peer) = peer::check(&[der], Wall::from_secs(1_800_000_000), &Revoked::default()) {
        assert!(
            data.windows(9).any(|w| w == b".corridor"),
            "{peer} out of nothing"
        );
    }
    let Some(text) = text(data) else { return };
    if let Some(roots) = Roots::from_pem(text) {
        assert_eq!(Roots::from_pem(&roots.to_pem()), Some(roots));
    }
    if let Ok(key) = SecretKey::from_pem(text) {
        let again = SecretKey::from_pem(&key.to_pem()).expect("a key");
        assert_eq!(again.public_key(), key.public_key());
    }
    if let Ok(key) = requested_key(text) {
        assert!(text.len() > key.len(), "a key that was not sent");
    }
}

fn one_line(text: &str) -> bool {
    !text.is_empty() && !text.contains('\n')
}
