//! What targets that know nothing of us answer.

use corridor_probes::target::stun;

use super::memory::at_most;

/// Bytes are an answer to one of our binding requests, or it is said what they are: nothing is allocated, and
/// a request is no answer.
pub fn stun_answers(data: &[u8]) {
    match at_most(0, || stun::answer(data)) {
        Ok(answer) => {
            let request = stun::request(answer.transaction);
            assert_eq!(data[4..20], request[4..], "cookie and transaction");
            assert_eq!(usize::from(data[2]) << 8 | usize::from(data[3]), data.len() - 20);
            assert_eq!(data[..2] == [1, 1], answer.success);
            assert!(stun::answer(&request).is_err(), "a request taken for its answer");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
