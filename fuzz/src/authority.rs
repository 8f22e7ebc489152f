//! The certificate authority of all inputs: the same each time, and made once, since its key takes longer than
//! most inputs.

use std::sync::{Arc, LazyLock};

use corridor::identity::Ca;
use corridor_probes::Wall;
use rand::{SeedableRng as _, rngs::StdRng};

pub const NOW: Wall = Wall::from_secs(1_800_000_000);

pub fn ca() -> Arc<Ca> {
    static CA: LazyLock<Arc<Ca>> = LazyLock::new(|| {
        let ca = Ca::ephemeral(NOW, &mut StdRng::seed_from_u64(1));
        Arc::new(ca.expect("a CA"))
    });
    CA.clone()
}
