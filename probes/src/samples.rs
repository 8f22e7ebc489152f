//! Samples as bytes: what a report carries of a window.
//!
//! ```text
//! version 1 (1 B) | number of samples | per sample, in the order of sending:
//!   number less the one before, less 1 (the first: the number itself)
//!   round trip less the one before, zigzag, in µs
//!   0 without a raw value; else 1 + (zigzag(raw up less the last raw up), in µs)
//! ```
//! All are varints: seven bits a byte, lowest first. Steps are not carried: a report has their summary.

use crate::{MAX_SAMPLES, Sample, Steps};

const VERSION: u8 = 1;

/// What [`encode`] makes is no longer than this: three varints of ten bytes a sample, and the head.
pub const MAX_ENCODED: usize = 1 + 2 + MAX_SAMPLES * 30;

/// Why bytes are not samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SamplesError {
    #[error("samples in version {0}, which is not known here")]
    UnknownVersion(u8),
    #[error("samples end too early")]
    Truncated,
    #[error("{0} samples where at most {MAX_SAMPLES} are allowed")]
    TooMany(u64),
    #[error("a number of sample {0} is out of range")]
    OutOfRange(usize),
    #[error("{0} B follow the last sample")]
    Trailing(usize),
}

/// The samples of a window, which are in the order of sending. Those beyond [`MAX_SAMPLES`], and any
/// that is out of order, are left out.
pub fn encode(samples: &[Sample]) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(samples.len().min(MAX_SAMPLES));
    for sample in samples {
        let follows = ordered.last().is_none_or(|last: &&Sample| last.seq < sample.seq);
        if follows && ordered.len() < MAX_SAMPLES {
            ordered.push(sample);
        }
    }
    let mut out = vec![VERSION];
    write(&mut out, ordered.len() as u64);
    let (mut next_seq, mut rtt, mut up) = (0, 0, 0i64);
    for s in ordered {
        write(&mut out, s.seq - next_seq);
        next_seq = s.seq.saturating_add(1);
        write(&mut out, zigzag(i64::from(s.rtt_us) - rtt));
        rtt = s.rtt_us.into();
        // Wrapping: the decoder adds up in the same way. The one difference that would not fit beside
        // the "none" is no time that any clock shows.
        match s
            .up_us
            .and_then(|v| zigzag(v.wrapping_sub(up)).checked_add(1).map(|z| (v, z)))
        {
            Some((v, z)) => {
                write(&mut out, z);
                up = v;
            }
            None => write(&mut out, 0),
        }
    }
    out
}

/// The samples that [`encode`] was given; their steps are empty. Never makes more than
/// [`MAX_SAMPLES`], whatever the bytes.
pub fn decode(bytes: &[u8]) -> Result<Vec<Sample>, SamplesError> {
    let (&version, mut rest) = bytes.split_first().ok_or(SamplesError::Truncated)?;
    if version != VERSION {
        return Err(SamplesError::UnknownVersion(version));
    }
    let n = read(&mut rest, 0)?;
    if n > MAX_SAMPLES as u64 {
        return Err(SamplesError::TooMany(n));
    }
    let mut samples: Vec<Sample> = Vec::with_capacity(n as usize);
    let (mut rtt, mut up) = (0i64, 0i64);
    for i in 0..n as usize {
        let wrong = SamplesError::OutOfRange(i);
        let after = match samples.last() {
            Some(last) => last.seq.checked_add(1).ok_or(wrong)?,
            None => 0,
        };
        let seq = after.checked_add(read(&mut rest, i)?).ok_or(wrong)?;
        rtt = rtt.checked_add(unzigzag(read(&mut rest, i)?)).ok_or(wrong)?;
        let rtt_us = u32::try_from(rtt).map_err(|_| wrong)?;
        let up_us = read(&mut rest, i)?.checked_sub(1).map(|z| {
            up = up.wrapping_add(unzigzag(z));
            up
        });
        samples.push(Sample {
            seq,
            rtt_us,
            up_us,
            steps: Steps::default(),
        });
    }
    if !rest.is_empty() {
        return Err(SamplesError::Trailing(rest.len()));
    }
    Ok(samples)
}

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

fn write(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn read(rest: &mut &[u8], sample: usize) -> Result<u64, SamplesError> {
    let mut v = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(SamplesError::Truncated)?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(SamplesError::OutOfRange(sample));
        }
        v |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(v);
        }
    }
    Err(SamplesError::OutOfRange(sample))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(seq: u64, rtt_us: u32, up_us: Option<i64>) -> Sample {
        Sample {
            seq,
            rtt_us,
            up_us,
            steps: Steps::default(),
        }
    }

    #[test]
    fn bytes_stay_as_they_are() {
        let samples = [
            sample(5, 300, Some(-1)),
            sample(6, 299, None),
            sample(9, 299, Some(0)),
        ];
        let bytes = [1, 3, 5, 0xd8, 4, 2, 0, 1, 0, 2, 0, 3];
        assert_eq!(encode(&samples), bytes);
        assert_eq!(decode(&bytes), Ok(samples.to_vec()));
    }

    #[test]
    fn a_steady_link_takes_about_five_bytes_a_sample() {
        let samples: Vec<_> = (0..500)
            .map(|i| {
                sample(
                    i,
                    40_000 + (i as u32 * 7919) % 3_000,
                    Some(5_000_000 + i as i64 % 900),
                )
            })
            .collect();
        let len = encode(&samples).len();
        assert!(len < 5 * 500 + 10, "{len}");
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let table: [(&[u8], SamplesError); 9] = [
            (&[], SamplesError::Truncated),
            (&[2], SamplesError::UnknownVersion(2)),
            (&[1], SamplesError::Truncated),
            (&[1, 0, 7], SamplesError::Trailing(1)),
            (&[1, 0x81, 4], SamplesError::TooMany(513)),
            (
                &[1, 0xff, 0xff, 0xff, 0xff, 0x0f],
                SamplesError::TooMany(u32::MAX.into()),
            ),
            (&[1, 1, 0, 1, 0], SamplesError::OutOfRange(0)),
            (
                &[1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
                SamplesError::OutOfRange(0),
            ),
            (&[1, 1, 0, 0], SamplesError::Truncated),
        ];
        for (bytes, wanted) in table {
            assert_eq!(decode(bytes), Err(wanted), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(
            raw in prop::collection::vec((1u64..1 << 40, any::<u32>(), any::<Option<i64>>()), 0..=MAX_SAMPLES),
        ) {
            let mut seq = 0;
            let samples: Vec<_> = raw.into_iter().map(|(gap, rtt, up)| {
                seq += gap;
                // The one difference that is left out is between the two ends of the range.
                sample(seq, rtt, up.map(|v| v / 2))
            }).collect();
            let bytes = encode(&samples);
            prop_assert!(bytes.len() <= MAX_ENCODED);
            prop_assert_eq!(decode(&bytes), Ok(samples));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(first) = bytes.first_mut() {
                *first = 1;
            }
            if let Ok(samples) = decode(&bytes) {
                prop_assert!(samples.len() <= MAX_SAMPLES);
            }
        }
    }
}
