//! What follows the base packet: extensions (RFC 8972 §4), or padding as senders before them have it.

/// The U flag: the reflector does not know this extension.
const UNRECOGNISED: u8 = 0x80;
/// The M flag: its length is wrong.
const MALFORMED: u8 = 0x40;
/// Flags, type, and a length of two bytes.
const HEADER: usize = 4;
/// Type 1: bytes that stand for nothing, the one extension known here.
const EXTRA_PADDING: u8 = 1;

/// Makes of what a sender has appended what is sent back, at the same length.
///
/// A sender sets the U flag of each extension and no other, so that anything else is padding, which goes
/// back as it came.
pub(super) fn reflect(mut rest: &mut [u8]) {
    while let [flags, kind, high, low, value @ ..] = rest {
        if *flags != UNRECOGNISED {
            return;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == EXTRA_PADDING {
            *flags &= !UNRECOGNISED;
        }
        match value.split_at_mut_checked(length) {
            Some((_, next)) => rest = next,
            None => {
                // Nothing can be told of what comes after.
                *flags |= MALFORMED;
                return;
            }
        }
    }
    if let [flags, ..] = rest
        && *flags == UNRECOGNISED
    {
        *flags |= MALFORMED;
    }
}

/// Appends `len` bytes that stand for nothing: an extension, or bare zeros where none fits.
pub fn pad(out: &mut Vec<u8>, len: usize) {
    if let Some(Ok(value)) = len.checked_sub(HEADER).map(u16::try_from) {
        out.extend([UNRECOGNISED, EXTRA_PADDING]);
        out.extend(value.to_be_bytes());
        out.resize(out.len() + usize::from(value), 0);
    } else {
        out.resize(out.len() + len, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reflected(bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        reflect(&mut bytes);
        bytes
    }

    #[test]
    fn extensions_come_back_with_their_flags() {
        let table: [(&[u8], &[u8]); 8] = [
            (&[], &[]),
            // Padding that is none of RFC 8972's.
            (&[0; 9], &[0; 9]),
            (&[1, 2, 3], &[1, 2, 3]),
            // Known, unknown, known.
            (
                &[0x80, 1, 0, 2, 9, 9, 0x80, 240, 0, 1, 7, 0x80, 1, 0, 0],
                &[0, 1, 0, 2, 9, 9, 0x80, 240, 0, 1, 7, 0, 1, 0, 0],
            ),
            // Longer than what is left, known or not.
            (&[0x80, 1, 0, 3, 9, 9], &[0x40, 1, 0, 3, 9, 9]),
            (&[0x80, 7, 0xff, 0xff], &[0xc0, 7, 0xff, 0xff]),
            // A header that is cut off.
            (&[0x80, 1, 0, 0, 0x80, 1], &[0, 1, 0, 0, 0xc0, 1]),
            // A flag that no sender sets.
            (&[0xa0, 1, 0, 0], &[0xa0, 1, 0, 0]),
        ];
        for (sent, wanted) in table {
            assert_eq!(reflected(sent), wanted, "{sent:?}");
        }
    }

    #[test]
    fn padding_has_the_length_asked_for() {
        for len in [0, 3, 4, 5, 1_400, 65_539, 65_540] {
            let mut out = vec![9];
            pad(&mut out, len);
            assert_eq!(out.len(), 1 + len);
        }
        let mut out = Vec::new();
        pad(&mut out, 6);
        assert_eq!(out, [0x80, 1, 0, 2, 0, 0]);
    }

    proptest! {
        #[test]
        fn only_flags_change(bytes in prop::collection::vec(prop_oneof![Just(0x80u8), 0..4u8, any::<u8>()], 0..200)) {
            let back = reflected(&bytes);
            prop_assert_eq!(back.len(), bytes.len());
            for (a, b) in bytes.iter().zip(&back) {
                prop_assert!(a == b || (*a == 0x80 && b & 0x3f == 0));
            }
        }
    }
}
