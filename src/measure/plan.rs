//! What a measurement is asked to do, checked.

use std::{ops::RangeInclusive, time::Duration};

use corridor_probes::{
    MAX_OPEN_PROBES, Profile, SessionConfig,
    quality::Codec,
    stamp::{AUTHENTICATED_LEN, UNAUTHENTICATED_LEN},
};

/// From what a timer can keep to what is still a measurement.
pub const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// Bytes of a datagram: from a bare probe to what fits an Ethernet frame under IPv6, UDP and QUIC.
pub const SIZES: RangeInclusive<usize> = 23..=1_414;

/// Bytes of a STAMP packet: from the shortest to what fits an Ethernet frame under IPv6 and UDP.
pub const STAMP_SIZES: RangeInclusive<usize> = UNAUTHENTICATED_LEN..=1_452;

/// How long, if neither a duration nor a count is given.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// How long a window is held whose losses a later echo may still place. Blackouts are mostly shorter; the
/// live line, which counts closed windows, must not stand still for longer.
const DOUBT_MAX: Duration = Duration::from_secs(15);

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub interval: Duration,
    /// Slots of the grid, at least 1.
    pub slots: u32,
    /// Bytes of each datagram's payload, of the largest with a profile; less than an echo needs makes echoes
    /// longer than probes.
    pub size: usize,
    /// Sends as this stream does, instead of one size at one interval, which then is the mean.
    pub profile: Option<Profile>,
    /// For what a call would sound like.
    pub codec: Codec,
}

/// Why nothing can be measured like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("an interval of {0:?} is out of range: from {min:?} to {max:?}", min = INTERVALS.start(), max = INTERVALS.end())]
    Interval(Duration),
    #[error("a count of 0 measures nothing")]
    NoSlots,
    #[error("a duration of 0 measures nothing")]
    NoTime,
    #[error("{0:?} at this interval are more than {max} probes", max = u32::MAX)]
    TooLong(Duration),
    #[error("a size of {size} B is out of range: from {min} to {max} B")]
    Size { size: usize, min: usize, max: usize },
}

impl Plan {
    /// With a count and a duration, whichever ends first; with neither, 10 s.
    pub fn new(
        interval: Duration,
        count: Option<u32>,
        duration: Option<Duration>,
        size: Option<usize>,
        codec: Codec,
    ) -> Result<Self, PlanError> {
        Self::checked(interval, count, duration, size, SIZES, codec)
    }

    /// The same, with packets as a media stream has them.
    pub fn profile(
        profile: Profile,
        count: Option<u32>,
        duration: Option<Duration>,
        codec: Codec,
    ) -> Result<Self, PlanError> {
        let size = profile.largest();
        if !SIZES.contains(&size) {
            let (min, max) = SIZES.into_inner();
            return Err(PlanError::Size { size, min, max });
        }
        Ok(Self {
            interval: profile.interval(),
            slots: slots(count, duration, |d| profile.packets_before(d).into())?,
            size,
            profile: Some(profile),
            codec,
        })
    }

    /// The same, of STAMP packets.
    pub fn stamp(
        interval: Duration,
        count: Option<u32>,
        duration: Option<Duration>,
        size: Option<usize>,
        codec: Codec,
        authenticated: bool,
    ) -> Result<Self, PlanError> {
        let sizes = if authenticated {
            AUTHENTICATED_LEN..=*STAMP_SIZES.end()
        } else {
            STAMP_SIZES
        };
        Self::checked(interval, count, duration, size, sizes, codec)
    }

    fn checked(
        interval: Duration,
        count: Option<u32>,
        duration: Option<Duration>,
        size: Option<usize>,
        sizes: RangeInclusive<usize>,
        codec: Codec,
    ) -> Result<Self, PlanError> {
        if !INTERVALS.contains(&interval) {
            return Err(PlanError::Interval(interval));
        }
        let (min, max) = sizes.into_inner();
        let size = size.unwrap_or(min);
        if !(min..=max).contains(&size) {
            return Err(PlanError::Size { size, min, max });
        }
        Ok(Self {
            interval,
            slots: slots(count, duration, |d| d.as_nanos().div_ceil(interval.as_nanos()))?,
            size,
            profile: None,
            codec,
        })
    }

    /// A window stays open long enough for two later echoes to tell of its probes, however far apart
    /// they are.
    pub(super) fn session(&self) -> SessionConfig {
        let config = SessionConfig::default();
        let close_after = config.close_after.max(config.tmax + self.interval * 5 / 2);
        let kept = self.interval * (MAX_OPEN_PROBES as u32 / 4 * 3);
        SessionConfig {
            close_after,
            doubt_probes: MAX_OPEN_PROBES,
            doubt_for: kept.saturating_sub(config.window + close_after).min(DOUBT_MAX),
            ..config
        }
    }
}

/// Slots by a count and a duration; `before` says how many a duration has.
fn slots(
    count: Option<u32>,
    duration: Option<Duration>,
    before: impl Fn(Duration) -> u128,
) -> Result<u32, PlanError> {
    let duration = match (count, duration) {
        (None, None) => Some(DEFAULT_DURATION),
        (_, duration) => duration,
    };
    let fitting = match duration {
        None => u32::MAX,
        Some(Duration::ZERO) => return Err(PlanError::NoTime),
        Some(duration) => match u32::try_from(before(duration)) {
            Ok(slots) => slots,
            Err(_) if count.is_some() => u32::MAX,
            Err(_) => return Err(PlanError::TooLong(duration)),
        },
    };
    match count.unwrap_or(u32::MAX).min(fitting) {
        0 => Err(PlanError::NoSlots),
        slots => Ok(slots),
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::{
        SessionId,
        quality::G711,
        wire::{LinkProbe, MAX_DATAGRAM},
    };

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn slots(interval: Duration, count: Option<u32>, duration: Option<Duration>) -> Result<u32, PlanError> {
        Plan::new(interval, count, duration, None, G711).map(|p| p.slots)
    }

    #[test]
    fn whichever_ends_first() {
        let year = 365 * 86_400 * S;
        for (interval, count, duration, wanted) in [
            (20 * MS, None, None, Ok(500)),
            (20 * MS, Some(7), None, Ok(7)),
            (20 * MS, Some(7), Some(S), Ok(7)),
            (20 * MS, Some(70), Some(S), Ok(50)),
            (20 * MS, None, Some(S + MS), Ok(51)),
            (7 * MS, None, Some(10 * MS), Ok(2)),
            (60 * S, None, Some(MS), Ok(1)),
            (MS, Some(u32::MAX), Some(year), Ok(u32::MAX)),
            (MS, None, Some(year), Err(PlanError::TooLong(year))),
            (MS, Some(0), None, Err(PlanError::NoSlots)),
            (MS, None, Some(Duration::ZERO), Err(PlanError::NoTime)),
            (MS, None, Some(S), Ok(1_000)),
            (
                MS - Duration::from_nanos(1),
                None,
                None,
                Err(PlanError::Interval(MS - Duration::from_nanos(1))),
            ),
            (60 * S, Some(1), None, Ok(1)),
            (60 * S + MS, Some(1), None, Err(PlanError::Interval(60 * S + MS))),
        ] {
            assert_eq!(
                slots(interval, count, duration),
                wanted,
                "{interval:?} {count:?} {duration:?}"
            );
        }
    }

    #[test]
    fn sizes() {
        let size = |size| Plan::new(MS, None, None, size, G711).map(|p| p.size);
        assert_eq!(size(None), Ok(23));
        assert_eq!((size(Some(23)), size(Some(1_414))), (Ok(23), Ok(1_414)));
        for bad in [0, 22, 1_415, usize::MAX] {
            let (min, max) = (23, 1_414);
            assert_eq!(size(Some(bad)), Err(PlanError::Size { size: bad, min, max }));
        }
        let stamp = |size, key| Plan::stamp(MS, None, None, size, G711, key).map(|p| p.size);
        assert_eq!((stamp(None, false), stamp(None, true)), (Ok(44), Ok(112)));
        assert_eq!(
            (stamp(Some(1_452), false), stamp(Some(1_452), true)),
            (Ok(1_452), Ok(1_452))
        );
        for (bad, key) in [(43, false), (111, true), (1_453, false)] {
            assert!(stamp(Some(bad), key).is_err());
        }
        let probe = LinkProbe {
            session: SessionId(1),
            seq: 1,
            sent_us: 1,
            floor: 1,
        };
        let mut bytes = Vec::new();
        probe.write(&mut bytes, 0);
        assert_eq!(bytes.len(), *SIZES.start());
        assert!(*SIZES.end() <= MAX_DATAGRAM);
    }

    #[test]
    fn a_profile_gives_interval_size_and_slots() {
        let video = Profile::Video { full: 1_200 };
        let plan = Plan::profile(video, None, Some(4 * S), G711).unwrap();
        assert_eq!((plan.slots, plan.size), (377, 1_200));
        let plan = Plan::profile(Profile::Opus, Some(7), None, G711).unwrap();
        assert_eq!((plan.slots, plan.size, plan.interval), (7, 122, 20 * MS));
        assert_eq!(
            Plan::profile(Profile::Opus, None, Some(Duration::ZERO), G711),
            Err(PlanError::NoTime)
        );
        for full in [0, 22, 1_415] {
            let plan = Plan::profile(Profile::Video { full }, None, None, G711);
            assert!(matches!(plan, Err(PlanError::Size { .. })), "{full}");
        }
    }

    #[test]
    fn slow_probes_wait_longer_for_word_of_the_lost() {
        let close_after = |interval| {
            Plan::new(interval, Some(1), None, None, G711)
                .unwrap()
                .session()
                .close_after
        };
        assert_eq!((close_after(MS), close_after(400 * MS)), (3 * S, 3 * S));
        assert_eq!((close_after(S), close_after(60 * S)), (4_500 * MS, 152 * S));
        let doubt_for = |interval| {
            let plan = Plan::new(interval, Some(1), None, None, G711).unwrap();
            plan.session().doubt_for
        };
        assert_eq!(doubt_for(20 * MS), DOUBT_MAX);
        assert_eq!(doubt_for(MS), 6_144 * MS - 4 * S, "no more than can be kept open");
    }
}
