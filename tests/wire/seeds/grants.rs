//! Grants: as they are shown, and what the controller would sign.

use corridor::{
    identity::Ca,
    media::grant::{Grant, GrantId},
    proto,
    route::FarEnd,
};
use corridor_probes::{AgentId, Wall};
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};

use super::{Seeds, e, one};

pub fn grants() -> Seeds {
    let now = Wall::from_secs(1_800_000_000);
    let another = Ca::ephemeral(now, &mut StdRng::seed_from_u64(2)).unwrap();
    let to = |far: FarEnd| {
        let grant = Grant {
            id: GrantId(7),
            class: "math-1".into(),
            agent: AgentId(9),
            far,
            edges: vec![e(1), e(2), e(300)],
            rate_kbps: 4_000,
            from: now,
            until: Wall::from_secs(1_801_209_600),
        };
        grant.sign(|message| another.sign_message(message, now).unwrap())
    };
    let signed = |far| {
        let shown = proto::SignedGrant::decode(&*to(far)).unwrap();
        [&[1][..], &shown.grant].concat()
    };
    vec![
        one("agent", signed(FarEnd::Agent(AgentId(8)))),
        one("target", signed(FarEnd::Target("sfu.example:3478".into()))),
        one("hub", signed(FarEnd::Hub(e(300)))),
        one("anothers", [&[0][..], &to(FarEnd::Hub(e(300)))].concat()),
    ]
}
