//! An endpoint's secrets and identifiers, from the system's randomness or, for simulations, from a seed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig, Runtime, TimeSource, crypto::HandshakeTokenKey,
};
use quinn_proto::HashedConnectionIdGenerator;
use rand::{
    Rng as _, RngExt as _, SeedableRng as _,
    rngs::{StdRng, SysRng},
};
use ring::{hkdf, hmac};

use super::config;

/// RFC 9000 §7.2 wants 8 bytes or more for the first; the same length serves for all.
const CID_LEN: usize = 8;

/// What an endpoint draws once and keeps: a retry token stays good when certificates are renewed.
pub(super) struct Secrets {
    pub(super) endpoint: EndpointConfig,
    pub(super) token_key: Arc<dyn HandshakeTokenKey>,
    /// With a seed: a client's first destination ids, in place of quinn's own.
    pub(super) first_cid: Option<Arc<dyn Fn() -> ConnectionId + Send + Sync>>,
}

impl Secrets {
    pub(super) fn new(seed: Option<u64>, reset_key: Option<[u8; 32]>) -> Result<Self, rand::rngs::SysError> {
        let mut rng = match seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut SysRng)?,
        };
        let drawn: [u8; 32] = rng.random();
        let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &reset_key.unwrap_or(drawn));
        // A packet is answered by a reset only if its connection id is one of ours, which quinn tells by
        // a hash: its key must outlive the process too. The hash is weak, so the key is derived one way.
        let cid_key = hmac::sign(&reset_key, b"connection ids");
        let cid_key = cid_key
            .as_ref()
            .iter()
            .take(8)
            .fold(0, |key, &b| key << 8 | u64::from(b));
        let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&rng.random::<[u8; 32]>());
        let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
        endpoint.rng_seed(Some(rng.random()));
        endpoint.min_reset_interval(config::RESET_INTERVAL);
        // Within quinn's bounds; were it not, quinn's default, which is the same, would stay.
        let _ = endpoint.max_udp_payload_size(config::MAX_UDP_PAYLOAD);
        endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
        let mut first_cid: Option<Arc<dyn Fn() -> ConnectionId + Send + Sync>> = None;
        if seed.is_some() {
            let cids: [u8; 32] = rng.random();
            endpoint.cid_generator(move || Box::new(SeededCids(StdRng::from_seed(cids))));
            let firsts = Mutex::new(SeededCids(StdRng::from_seed(rng.random())));
            first_cid = Some(Arc::new(move || {
                firsts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .generate_cid()
            }));
        }
        Ok(Self {
            endpoint,
            token_key: Arc::new(token_key),
            first_cid,
        })
    }
}

struct SeededCids(StdRng);

impl ConnectionIdGenerator for SeededCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CID_LEN];
        self.0.fill_bytes(&mut bytes);
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Dates retry tokens by the monotonic clock, so that a step of the wall clock voids none.
pub(super) struct TokenTime {
    runtime: Arc<dyn Runtime>,
    origin: Instant,
}

impl TokenTime {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self {
            origin: runtime.now(),
            runtime,
        }
    }
}

impl TimeSource for TokenTime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.runtime.now().saturating_duration_since(self.origin)
    }
}
