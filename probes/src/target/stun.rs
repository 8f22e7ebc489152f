//! STUN binding (RFC 8489): a request that any STUN server answers, and its answer, success or error: either
//! proves the round trip.

/// The fixed header (RFC 8489 §5).
const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
/// Types: the method is Binding, the class of the message is in bits 4 and 8 (§5).
const REQUEST: [u8; 2] = [0x00, 0x01];
const SUCCESS: [u8; 2] = [0x01, 0x01];
const ERROR: [u8; 2] = [0x01, 0x11];

/// Whose request it is, and which: the 96 bits of the transaction id. The session's part is random, so that
/// nobody who does not see the request can answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    pub session: u64,
    pub number: u32,
}

/// What a server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub transaction: Transaction,
    /// A success, not an error: servers that want credentials answer with an error.
    pub success: bool,
}

/// Why bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    #[error("{0} bytes are no STUN message")]
    Length(usize),
    #[error("no STUN message: the magic cookie is missing")]
    Cookie,
    #[error("type {0:#06x} is no answer to a binding request")]
    Type(u16),
    #[error("an attribute ends beyond the message")]
    Attribute,
}

/// A binding request without attributes.
pub fn request(transaction: Transaction) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let (head, id) = bytes.split_at_mut(8);
    head[..2].copy_from_slice(&REQUEST);
    head[4..].copy_from_slice(&MAGIC_COOKIE);
    id[..8].copy_from_slice(&transaction.session.to_be_bytes());
    id[8..].copy_from_slice(&transaction.number.to_be_bytes());
    bytes
}

/// Reads an answer. Attributes are walked, not understood.
pub fn answer(bytes: &[u8]) -> Result<Answer, StunError> {
    let wrong_length = StunError::Length(bytes.len());
    let head = bytes.first_chunk::<HEADER>().ok_or(wrong_length)?;
    let [t0, t1, l0, l1, c0, c1, c2, c3, id @ ..] = *head;
    if [c0, c1, c2, c3] != MAGIC_COOKIE {
        return Err(StunError::Cookie);
    }
    let body = &bytes[HEADER..];
    // Attributes are padded to four bytes (§14).
    if usize::from(u16::from_be_bytes([l0, l1])) != body.len() || !body.len().is_multiple_of(4) {
        return Err(wrong_length);
    }
    let success = match [t0, t1] {
        SUCCESS => true,
        ERROR => false,
        other => return Err(StunError::Type(u16::from_be_bytes(other))),
    };
    walk(body)?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = id;
    Ok(Answer {
        transaction: Transaction {
            session: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            number: u32::from_be_bytes([n0, n1, n2, n3]),
        },
        success,
    })
}

fn walk(mut attributes: &[u8]) -> Result<(), StunError> {
    while let Some(&[_, _, l0, l1]) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([l0, l1])).next_multiple_of(4);
        attributes = attributes.get(4 + length..).ok_or(StunError::Attribute)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 5769 §2.1.
    const SAMPLE_REQUEST: &str = "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573
        7420636c 69656e74 00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020
        00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf";
    /// RFC 5769 §2.2.
    const IPV4_RESPONSE: &str = "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563
        746f7220 00200008 0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
        80280004 c07d4c96";
    /// RFC 5769 §2.3.
    const IPV6_RESPONSE: &str = "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563
        746f7220 00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1
        1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c";
    const SAMPLE: Transaction = Transaction {
        session: 0xb7e7_a701_bc34_d686,
        number: 0xfa87_dfae,
    };

    #[test]
    fn a_request_is_the_header_of_the_sample_without_its_attributes() {
        let mut sample = bytes(SAMPLE_REQUEST)[..HEADER].to_vec();
        sample[2..4].copy_from_slice(&[0, 0]);
        assert_eq!(request(SAMPLE).to_vec(), sample);
    }

    #[test]
    fn answers_of_the_test_vectors() {
        for vector in [IPV4_RESPONSE, IPV6_RESPONSE] {
            let success = Answer {
                transaction: SAMPLE,
                success: true,
            };
            assert_eq!(answer(&bytes(vector)), Ok(success));
        }
    }

    #[test]
    fn an_error_is_an_answer_too() {
        // 401, as servers give that want credentials (§14.8).
        let error = bytes("01110008 2112a442 b7e7a701 bc34d686 fa87dfae 00090004 00000401");
        assert_eq!(
            answer(&error),
            Ok(Answer {
                transaction: SAMPLE,
                success: false
            })
        );
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let good = bytes(IPV4_RESPONSE);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        for (bytes, error) in [
            (Vec::new(), StunError::Length(0)),
            (good[..19].to_vec(), StunError::Length(19)),
            (good[..76].to_vec(), StunError::Length(76)),
            (with(3, 0x3b), StunError::Length(80)),
            (with(4, 0x20), StunError::Cookie),
            (bytes(SAMPLE_REQUEST), StunError::Type(0x0001)),
            (with(1, 0x03), StunError::Type(0x0103)),
            (with(0, 0x81), StunError::Type(0x8101)),
            (with(79 - 5, 0xff), StunError::Attribute),
        ] {
            assert_eq!(answer(&bytes), Err(error), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn the_answer_to_a_request_carries_its_transaction(session in any::<u64>(), number in any::<u32>()) {
            let transaction = Transaction { session, number };
            let mut bytes = request(transaction);
            prop_assert_eq!(answer(&bytes), Err(StunError::Type(1)));
            bytes[..2].copy_from_slice(&ERROR);
            prop_assert_eq!(answer(&bytes), Ok(Answer { transaction, success: false }));
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = answer(&bytes);
        }

        /// Damaged and cut answers.
        #[test]
        fn nearly_right_bytes(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0usize..81) {
            let mut bytes = bytes(IPV4_RESPONSE);
            let i = at.index(bytes.len());
            bytes[i] = byte;
            bytes.truncate(cut);
            let _ = answer(&bytes);
        }
    }
}
