//! Time stamps of 64 bits, and what is said of their error.

/// Seconds from 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;
const NANOS: u64 = 1_000_000_000;

/// How a time stamp is written: the Z flag of the error estimate (RFC 8186 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFormat {
    /// Seconds since 1900 and their 2^-32ths.
    Ntp,
    /// PTPv2, truncated: seconds since 1970, of 32 bits, and nanoseconds.
    Ptp,
}

/// The eight bytes of a time stamp. What they mean, the error estimate beside them says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    /// `unix_ns` is nanoseconds since 1970; both formats wrap, NTP's for the first time in 2036.
    pub fn new(unix_ns: u64, format: TimestampFormat) -> Self {
        let (seconds, nanos) = (unix_ns / NANOS, unix_ns % NANOS);
        let (high, low) = match format {
            // Rounded up, so that reading it back, rounded down, gives the same nanosecond.
            TimestampFormat::Ntp => (seconds + NTP_TO_UNIX, (nanos << 32).div_ceil(NANOS)),
            TimestampFormat::Ptp => (seconds, nanos),
        };
        Self(high << 32 | low)
    }

    /// Nanoseconds since 1970, for times from 1970 to 2106. None if it is no time.
    pub fn unix_ns(self, format: TimestampFormat) -> Option<u64> {
        let (high, low) = (self.0 >> 32, self.0 & 0xffff_ffff);
        match format {
            TimestampFormat::Ntp => {
                // What lies before 1970 is of the era that begins in 2036.
                let seconds = high
                    .checked_sub(NTP_TO_UNIX)
                    .unwrap_or(high + (1 << 32) - NTP_TO_UNIX);
                Some(seconds * NANOS + ((low * NANOS) >> 32))
            }
            TimestampFormat::Ptp => (low < NANOS).then_some(high * NANOS + low),
        }
    }
}

/// How good the time stamps of one end are (RFC 8762 §4.2.1, RFC 4656 §4.1.2):
/// S, Z, six bits of Scale, eight bits of Multiplier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorEstimate {
    /// The clock is held to UTC by an outside source.
    pub synchronised: bool,
    pub format: TimestampFormat,
    /// At most 63.
    pub scale: u8,
    /// The error is `multiplier · 2^(scale − 32)` seconds; 0 is not allowed and says nothing.
    pub multiplier: u8,
}

impl ErrorEstimate {
    /// Of clocks that nobody vouches for, read to the microsecond: 135 · 2^5 · 2^-32 s = 1.006 µs.
    pub const UNSYNCHRONISED: Self = Self {
        synchronised: false,
        format: TimestampFormat::Ntp,
        scale: 5,
        multiplier: 135,
    };

    pub fn to_bits(self) -> u16 {
        u16::from(self.synchronised) << 15
            | u16::from(self.format == TimestampFormat::Ptp) << 14
            | u16::from(self.scale & 0x3f) << 8
            | u16::from(self.multiplier)
    }

    pub fn from_bits(bits: u16) -> Self {
        let [high, multiplier] = bits.to_be_bytes();
        Self {
            synchronised: high & 0x80 != 0,
            format: if high & 0x40 == 0 {
                TimestampFormat::Ntp
            } else {
                TimestampFormat::Ptp
            },
            scale: high & 0x3f,
            multiplier,
        }
    }

    /// In seconds; none if nothing is said.
    pub fn seconds(self) -> Option<f64> {
        (self.multiplier > 0).then(|| f64::from(self.multiplier) * 2f64.powi(i32::from(self.scale) - 32))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        // RFC 5905, figure 4: the first day of Unix and the last second of era 0.
        for (unix_s, high) in [(0, 2_208_988_800u64), (2_085_978_495, 4_294_967_295)] {
            let stamp = Stamp::new(unix_s * NANOS, TimestampFormat::Ntp);
            assert_eq!((stamp.0 >> 32, stamp.0 & 0xffff_ffff), (high, 0));
        }
        let half = NANOS + NANOS / 2;
        assert_eq!(Stamp::new(half, TimestampFormat::Ntp).0 & 0xffff_ffff, 1 << 31);
        assert_eq!(Stamp::new(half, TimestampFormat::Ptp).0, 1 << 32 | 500_000_000);
        assert_eq!(
            Stamp(NANOS).unix_ns(TimestampFormat::Ptp),
            None,
            "a second of too many ns"
        );
    }

    #[test]
    fn an_error_estimate_is_s_z_scale_and_multiplier() {
        for (bits, synchronised, format, scale, multiplier) in [
            (0x8001, true, TimestampFormat::Ntp, 0, 1),
            (0x4fff, false, TimestampFormat::Ptp, 15, 255),
            (0x3f00, false, TimestampFormat::Ntp, 63, 0),
        ] {
            let estimate = ErrorEstimate::from_bits(bits);
            let wanted = ErrorEstimate {
                synchronised,
                format,
                scale,
                multiplier,
            };
            assert_eq!((estimate, estimate.to_bits()), (wanted, bits));
        }
        assert_eq!(ErrorEstimate::from_bits(0x3f00).seconds(), None);
        let own = ErrorEstimate::UNSYNCHRONISED.seconds().unwrap();
        assert!((1e-6..1.01e-6).contains(&own), "{own}");
    }

    proptest! {
        #[test]
        fn times_come_back(ns in 0..(1u64 << 32) * NANOS - 1) {
            for format in [TimestampFormat::Ntp, TimestampFormat::Ptp] {
                prop_assert_eq!(Stamp::new(ns, format).unix_ns(format), Some(ns));
            }
        }

        #[test]
        fn any_bits_are_read(bits: u64, estimate: u16) {
            let _ = Stamp(bits).unix_ns(TimestampFormat::Ntp);
            let _ = Stamp(bits).unix_ns(TimestampFormat::Ptp);
            prop_assert_eq!(ErrorEstimate::from_bits(estimate).to_bits(), estimate);
        }
    }
}
