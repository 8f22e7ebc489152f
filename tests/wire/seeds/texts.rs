//! Tokens, certificates, configuration, and other texts.

use corridor::identity::{Ca, Pin, SecretKey, Subject, Token};
use corridor_probes::{AgentId, Wall};
use rand::{SeedableRng as _, rngs::StdRng};

use super::{Seeds, one};

pub fn token() -> Token {
    Token::create(Pin([9; 32]), &mut StdRng::seed_from_u64(1))
}

pub fn certificates() -> Seeds {
    let rng = &mut StdRng::seed_from_u64(3);
    let now = Wall::from_secs(1_800_000_000);
    let key = SecretKey::generate(rng).unwrap();
    let ca = Ca::ephemeral(now, rng).unwrap();
    let chain = ca
        .issue(Subject::Agent(AgentId(7)), &key.public_key(), now, rng)
        .unwrap();
    vec![
        one("agent.der", chain[0].to_vec()),
        one("request.pem", key.request().unwrap().into_bytes()),
        one("key.pem", key.to_pem().into_bytes()),
        one("roots.pem", ca.roots().to_pem().into_bytes()),
    ]
}

pub fn config() -> Seeds {
    let all = "\n[agent]\nidle_kbps = 10\nlink_probe_size = 200\n[edge]\nlisten = [\"0.0.0.0:4433\"]\nregion = \"eu\"\n\
               open_probing = true\n[controller]\nhttps = \"0.0.0.0:8443\"\nhttp = \"127.0.0.1:8420\"\n[log]\njson = true\n";
    let environment =
        "CORRIDOR_EDGE_LISTEN=0.0.0.0:1,[::]:2\tCORRIDOR_LOG_FILTER=info\n[edge]\nregion = \"eu\"\n";
    vec![one("file", all.bytes()), one("environment", environment.bytes())]
}

pub fn texts() -> Seeds {
    let pin = token().pin().to_string();
    let all = [
        ("time", "2026-03-01T10:00:00.123456Z"),
        ("address", "[2001:db8::1]:443"),
        ("name", "edge.example:4433"),
        ("agent", "agent:00000000000000ff"),
        ("edge", "edge:3"),
        ("pin", &pin),
    ];
    all.into_iter()
        .map(|(name, text)| one(name, text.bytes()))
        .collect()
}
