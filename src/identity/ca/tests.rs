use std::fs;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::identity::peer::{self, Revoked};

const NOW: Wall = Wall::from_secs(1_800_000_000);

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn edge(name: &str) -> Subject<'_> {
    Subject::Edge {
        id: EdgeId::new(7).unwrap(),
        name,
    }
}

#[test]
fn a_seed_gives_the_same_certificates() {
    let make = |seed| {
        let rng = &mut rng(seed);
        let ca = Ca::ephemeral(NOW, rng).unwrap();
        let controller = ca.credentials(Subject::Controller, NOW, rng).unwrap();
        (ca.roots(), controller.chain)
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
}

#[test]
fn certificates_have_one_size_whatever_the_randomness() {
    let sizes = (0..64).map(|seed| {
        let rng = &mut rng(seed);
        let ca = Ca::ephemeral(NOW, rng).unwrap();
        let key = SecretKey::generate(rng).unwrap().public_key();
        let id = AgentId(rng.next_u64());
        let chain = ca.issue(Subject::Agent(id), &key, NOW, rng).unwrap();
        (chain.len(), chain[0].len())
    });
    let sizes: std::collections::BTreeSet<_> = sizes.collect();
    assert_eq!(sizes.len(), 1, "{sizes:?}");
}

#[test]
fn a_certificate_says_what_it_should() {
    let rng = &mut rng(1);
    let ca = Ca::ephemeral(NOW, rng).unwrap();
    let key = SecretKey::generate(rng).unwrap().public_key();
    for (subject, name, server) in [
        (
            Subject::Agent(AgentId(0xab)),
            "00000000000000ab.agent.corridor.internal",
            false,
        ),
        (edge("fra-1"), "7.edge.corridor.internal", true),
        (Subject::Controller, "controller.corridor.internal", true),
    ] {
        let chain = ca.issue(subject, &key, NOW, rng).unwrap();
        let read = Certificate::read(&chain[0]).unwrap();
        assert_eq!(read.dns_names, [name]);
        assert_eq!(read.public_key, key);
        assert_eq!(read.not_before, NOW - Duration::from_secs(86_400));
        assert_eq!(read.not_after, NOW + Duration::from_secs(1_209_600));
        assert!(!read.is_ca);
        assert_eq!(peer::check(&chain, NOW, &Revoked::default()), Ok(subject.peer()));
        let (_, x509) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        let usage = x509.extended_key_usage().unwrap().unwrap().value;
        assert_eq!((usage.client_auth, usage.server_auth), (true, server));
        assert!(x509.serial.bits() >= 126);
    }
    let (_, x509) = x509_parser::parse_x509_certificate(&ca.issue(edge("fra-1"), &key, NOW, rng).unwrap()[0])
        .map(|(rest, x509)| (rest.len(), x509.subject().to_string()))
        .unwrap();
    assert_eq!(x509, "CN=fra-1");
}

#[test]
fn a_clock_that_is_no_time_is_an_error_not_a_panic() {
    for now in [i64::MIN, -10_i64.pow(15) * 3, 253_402_300_799_000_000, i64::MAX] {
        let now = Wall::from_micros(now);
        assert!(
            matches!(Ca::ephemeral(now, &mut rng(1)), Err(CaError::Time(_))),
            "{now:?}"
        );
    }
    assert!(Ca::ephemeral(Wall::from_secs(0), &mut rng(1)).is_ok());
}

#[test]
fn what_is_no_public_key_is_refused() {
    let ca = Ca::ephemeral(NOW, &mut rng(1)).unwrap();
    assert!(ca.issue(Subject::Controller, b"key", NOW, &mut rng(2)).is_err());
}

#[test]
fn the_roots_are_the_same_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("ca");
    let ca = Ca::open(&dir, NOW, &mut rng(1)).unwrap();
    ca.rotate(NOW, &mut rng(2)).unwrap();
    let again = Ca::open(&dir, NOW, &mut rng(3)).unwrap();
    assert_eq!(again.roots(), ca.roots());
    assert_eq!(again.pin().unwrap(), ca.pin().unwrap());
    assert_eq!(again.roots().pins().len(), 2);
    assert_eq!(Roots::from_pem(&ca.roots().to_pem()), Some(ca.roots()));
    // A link that was lost on the way would show as a shorter chain.
    let issue = |ca: &Ca| {
        ca.credentials(Subject::Controller, NOW, &mut rng(4))
            .unwrap()
            .chain
    };
    assert_eq!(issue(&again), issue(&ca));
    assert_eq!(issue(&ca).len(), 2);
}

#[test]
fn the_oldest_root_can_be_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::open(dir.path(), NOW, &mut rng(1)).unwrap();
    ca.rotate(NOW, &mut rng(2)).unwrap();
    fs::remove_file(dir.path().join("root-1.pem")).unwrap();
    fs::write(dir.path().join("root-x.pem"), "no root").unwrap();
    let again = Ca::open(dir.path(), NOW, &mut rng(3)).unwrap();
    assert_eq!(again.roots().certificates(), &ca.roots().certificates()[1..]);
    again.rotate(NOW, &mut rng(4)).unwrap();
    assert_eq!(
        Ca::open(dir.path(), NOW, &mut rng(5)).unwrap().roots(),
        again.roots()
    );
    assert!(dir.path().join("root-3.pem").exists());
}

#[test]
fn roots_are_bounded() {
    let ca = Ca::ephemeral(NOW, &mut rng(1)).unwrap();
    for n in 1..MAX_ROOTS {
        ca.rotate(NOW, &mut rng(n as u64 + 1)).unwrap();
    }
    assert!(matches!(ca.rotate(NOW, &mut rng(9)), Err(CaError::TooManyRoots)));
    let https = ca.issue_https(&[], NOW, &mut rng(10)).unwrap();
    assert!(https.chain.len() <= crate::identity::pem::MAX_CERTIFICATES);
}

#[cfg(unix)]
#[test]
fn the_key_is_its_owners_alone_and_refused_otherwise() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data/ca");
    Ca::open(&dir, NOW, &mut rng(1)).unwrap();
    let key = dir.join("root-1.pem");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&key)), (0o700, 0o600));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = Ca::open(&dir, NOW, &mut rng(1)).unwrap_err();
    assert!(
        matches!(refused, CaError::File(FileError::Exposed { .. })),
        "{refused}"
    );
}

#[test]
fn damaged_files_are_named_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    Ca::open(dir.path(), NOW, &mut rng(1)).unwrap();
    let path = dir.path().join("root-1.pem");
    let good = fs::read_to_string(&path).unwrap();
    let other = Ca::ephemeral(NOW, &mut rng(2)).unwrap().roots().to_pem();
    let key_end = good.find("-----BEGIN CERTIFICATE").unwrap();
    let leaf = Ca::ephemeral(NOW, &mut rng(1))
        .unwrap()
        .credentials(Subject::Controller, NOW, &mut rng(2))
        .unwrap();
    for bad in [
        String::new(),
        good[..good.len() / 2].to_owned(),
        good[..key_end].to_owned(),
        good[key_end..].to_owned(),
        format!("{}{other}", &good[..key_end]),
        format!("{}{}", &good[..key_end], pem::encode_certificates(&leaf.chain)),
    ] {
        fs::write(&path, &bad).unwrap();
        let error = Ca::open(dir.path(), NOW, &mut rng(3)).unwrap_err();
        assert!(error.to_string().contains("root-1.pem"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
    fs::write(&path, good).unwrap();
    Ca::open(dir.path(), NOW, &mut rng(3)).unwrap();
}
