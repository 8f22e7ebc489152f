//! Acknowledged ranges: which sequence numbers a reflector has received, from a base upwards.

use super::{WireError, reader::Reader};

/// At most [`AckRanges::MAX`] runs of received sequence numbers, lowest first, as distances from a base.
///
/// What lies between two runs, or between the base and the first, was not received (yet); nothing is
/// said of what lies beyond the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckRanges {
    /// (numbers missing before the run, numbers in the run)
    pairs: [(u32, u32); Self::MAX],
    len: u8,
    span: u32,
}

/// Why ranges are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("more than {} ranges", AckRanges::MAX)]
    TooMany,
    #[error("an empty range, or two that touch")]
    Touching,
    #[error("ranges span more than {} numbers", AckRanges::MAX_SPAN)]
    TooWide,
    #[error("a number is not in its shortest form")]
    BadVarint,
}

impl AckRanges {
    pub const MAX: usize = 16;
    /// The base is at most 65,535 below the number that is echoed; as much again above it is plenty.
    pub const MAX_SPAN: u32 = 1 << 17;
    pub const EMPTY: Self = Self {
        pairs: [(0, 0); Self::MAX],
        len: 0,
        span: 0,
    };

    /// Adds a run of `len` received numbers after `gap` missing ones.
    pub fn push(&mut self, gap: u32, len: u32) -> Result<(), RangeError> {
        if usize::from(self.len) == Self::MAX {
            return Err(RangeError::TooMany);
        }
        if len == 0 || (gap == 0 && self.len > 0) {
            return Err(RangeError::Touching);
        }
        let span = self
            .span
            .checked_add(gap)
            .and_then(|s| s.checked_add(len))
            .filter(|&s| s <= Self::MAX_SPAN)
            .ok_or(RangeError::TooWide)?;
        self.pairs[usize::from(self.len)] = (gap, len);
        self.len += 1;
        self.span = span;
        Ok(())
    }

    /// The runs as half-open distances from the base, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = std::ops::Range<u32>> + '_ {
        let mut at = 0;
        self.pairs[..usize::from(self.len)]
            .iter()
            .map(move |&(gap, len)| {
                let start = at + gap;
                at = start + len;
                start..at
            })
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nothing more fits: there may be received numbers beyond the last run.
    pub fn is_full(&self) -> bool {
        usize::from(self.len) == Self::MAX
    }

    /// How many numbers from the base upwards something is said of.
    pub fn span(&self) -> u32 {
        self.span
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.len);
        for &(gap, len) in &self.pairs[..usize::from(self.len)] {
            write_varint(out, gap);
            write_varint(out, len);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let n = reader.u8()?;
        if usize::from(n) > Self::MAX {
            return Err(RangeError::TooMany.into());
        }
        let mut ranges = Self::EMPTY;
        for _ in 0..n {
            let gap = read_varint(reader)?;
            let len = read_varint(reader)?;
            ranges.push(gap, len)?;
        }
        Ok(ranges)
    }
}

/// Seven bits a byte, lowest first; three bytes hold all that [`AckRanges::MAX_SPAN`] allows.
fn write_varint(out: &mut Vec<u8>, mut v: u32) {
    while v >= 0x80 {
        out.push((v & 0x7f) as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn read_varint(reader: &mut Reader<'_>) -> Result<u32, WireError> {
    let mut v = 0;
    for shift in [0, 7, 14] {
        let byte = reader.u8()?;
        v |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && shift > 0 {
                return Err(RangeError::BadVarint.into());
            }
            return Ok(v);
        }
    }
    Err(RangeError::BadVarint.into())
}
