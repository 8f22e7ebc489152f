//! Messages of the kernel's netlink(7), and of generic netlink in them. Total: any bytes give messages or
//! nothing. Numbers are in the machine's own byte order.

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// The two upper bits of an attribute's type are flags (linux/netlink.h).
const KIND_MASK: u16 = 0x3fff;

/// Ends an answer of several messages.
pub const DONE: u16 = 3;
/// An error, or a plain "done" with error 0.
pub const ERROR: u16 = 2;

pub const REQUEST: u16 = 1;
/// All there is, not one.
pub const DUMP: u16 = 0x300;
/// More messages of this answer follow.
pub const MULTI: u16 = 2;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    /// Of the request that it answers.
    pub sequence: u32,
    pub body: &'a [u8],
}

impl Message<'_> {
    /// The error (errno) that the kernel answers with; 0 for none.
    pub fn error(&self) -> Option<i32> {
        (self.kind == ERROR)
            .then(|| number(self.body, 0).map_or(0, |n| i32::from_ne_bytes(n).saturating_neg()))
    }

    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self.kind, DONE | ERROR) || self.flags & MULTI == 0
    }
}

/// What one read from a socket holds.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(number(bytes, 0)?)).ok()?;
        let message = Message {
            kind: u16::from_ne_bytes(number(bytes, 4)?),
            flags: u16::from_ne_bytes(number(bytes, 6)?),
            sequence: u32::from_ne_bytes(number(bytes, 8)?),
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(aligned(length)?..).unwrap_or_default();
        Some(message)
    })
}

/// Attributes, as (type, data).
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(number(bytes, 0)?));
        let kind = u16::from_ne_bytes(number(bytes, 2)?) & KIND_MASK;
        let data = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(aligned(length)?..).unwrap_or_default();
        Some((kind, data))
    })
}

/// The first attribute of this type.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, data)| data)
}

/// A request as it is sent.
pub fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // To the kernel, which knows from whom.
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// Adds an attribute.
pub fn push(bytes: &mut Vec<u8>, kind: u16, data: &[u8]) {
    let length = u16::try_from(ATTRIBUTE_HEADER + data.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// `N` bytes at `at`.
pub fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A number of an attribute that holds nothing else.
pub fn u32_of(data: &[u8]) -> Option<u32> {
    data.try_into().ok().map(u32::from_ne_bytes)
}

/// A text of an attribute, without the zero that ends it.
pub fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data.strip_suffix(&[0]).unwrap_or(data)).ok()
}

fn aligned(length: usize) -> Option<usize> {
    // A length of 0 would go round for ever.
    length.checked_next_multiple_of(4).filter(|&l| l > 0)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that a kernel (Linux 6, little-endian) sent, one line a read.
    pub fn recorded(hex: &str) -> Vec<Vec<u8>> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.lines()
            .map(|l| l.as_bytes().chunks(2).map(byte).collect())
            .collect()
    }

    #[test]
    fn a_recorded_dump_ends_with_done() {
        let reads = recorded(include_str!("recorded/routes4.hex"));
        let all: Vec<_> = reads.iter().flat_map(|read| messages(read)).collect();
        assert_eq!(all.len(), 9);
        assert!(all.iter().all(|m| m.sequence == 7));
        assert_eq!(all.iter().filter(|m| m.is_last()).count(), 1);
        assert_eq!(all.last().map(|m| m.kind), Some(DONE));
    }

    #[test]
    fn an_error_is_an_errno() {
        let reads = recorded(include_str!("recorded/family-missing.hex"));
        let message = messages(&reads[0]).next().unwrap();
        assert_eq!((message.error(), message.is_last()), (Some(2), true));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut body = vec![2, 32, 0, 0];
        push(&mut body, 1, &[192, 0, 2]);
        push(&mut body, 0x8004, &7u32.to_ne_bytes());
        let bytes = request(26, DUMP, 9, &body);
        let message = messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (26, 0x301, 9));
        let found: Vec<_> = attributes(&message.body[4..]).collect();
        assert_eq!(found, [(1, &[192, 0, 2][..]), (4, &7u32.to_ne_bytes()[..])]);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len() / HEADER);
            prop_assert!(attributes(&bytes).count() <= bytes.len() / ATTRIBUTE_HEADER);
        }

        #[test]
        fn any_lengths(lengths in prop::collection::vec(0u32..60, 1..8)) {
            let mut bytes = Vec::new();
            for length in lengths {
                bytes.extend(length.to_ne_bytes());
                bytes.extend([0; 12]);
            }
            prop_assert!(messages(&bytes).count() <= bytes.len() / HEADER);
        }
    }
}
