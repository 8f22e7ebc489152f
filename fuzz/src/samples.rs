//! The samples of reports.

use corridor_probes::{
    MAX_SAMPLES, Sample,
    samples::{decode, encode},
};

use super::memory::at_most;

/// What the decoder may take: the samples themselves.
const MAX_DECODED: usize = MAX_SAMPLES * size_of::<Sample>();

/// Bytes are refused, or give samples in the order of sending, which come back from what is made of them:
/// never more than are allowed, whatever number is written in front.
pub fn samples(data: &[u8]) {
    let Ok(samples) = at_most(MAX_DECODED, || decode(data)) else {
        return;
    };
    assert!(samples.len() <= MAX_SAMPLES);
    assert!(samples.is_sorted_by(|a, b| a.seq < b.seq));
    let again = encode(&samples);
    // Varints of more bytes than needed are read, and written in their shortest form.
    assert!(again.len() <= data.len());
    assert_eq!(decode(&again), Ok(samples));
}
