//! A stand-in for HMAC in tests: what it covers and which key it has changes it.

use super::packet::{Authenticator, TAG_LEN};

#[derive(Debug, Clone, Copy)]
pub struct Toy(pub u8);

impl Authenticator for Toy {
    fn tag(&self, bytes: &[u8]) -> [u8; TAG_LEN] {
        let mut tag = [self.0; TAG_LEN];
        for (i, b) in bytes.iter().enumerate() {
            let at = &mut tag[i % TAG_LEN];
            *at = at.wrapping_mul(31).wrapping_add(*b);
        }
        tag
    }
}
