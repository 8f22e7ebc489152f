//! Packets as a media stream has them: when each is sent, and how large it is. Every packet follows from its
//! number alone, so that two runs send the same.

use std::time::Duration;

use super::{Due, Slipped};
use crate::Mono;

/// A stream to mimic. Sizes are of the datagram's payload, where a media packet would have its RTP packet;
/// sizes that vary are drawn evenly from their range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A voice: every 20 ms (RFC 7587 §4.2, the default frame) 70 to 100 B of Opus (28 to 40 kbit/s, its rate
    /// for fullband speech: RFC 7587 §3.1.1), RTP's 12 B (RFC 3550 §5.1) and SRTP's tag of 10 B (RFC 3711
    /// §5.2). About 43 kbit/s of payload.
    Opus,
    /// A camera: 30 frames a second, each a burst of packets 1 ms apart, as senders pace them. A key frame
    /// every 4 s fills 20 packets, any other frame 3, of which the last is as full as it comes. About
    /// 0.8 Mbit/s with packets of 1,200 B.
    Video {
        /// Bytes of a full packet.
        full: usize,
    },
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Since the stream's beginning; never less than of the packet before.
    pub at: Duration,
    pub size: usize,
}

/// A full packet of video where nothing else is said: what every path takes (RFC 8899 §5.1.2), and the limit
/// that browsers keep to.
pub const FULL_PACKET: usize = 1_200;

const VOICE_EVERY: Duration = Duration::from_millis(20);
/// RTP and SRTP beside the payload.
const RTP: usize = 12 + 10;
const VOICE: std::ops::RangeInclusive<usize> = 70 + RTP..=100 + RTP;

const FRAMES_A_SECOND: u64 = 30;
const KEY_FRAME_EVERY: Duration = Duration::from_secs(4);
/// From one key frame to the next.
const GROUP_FRAMES: u64 = KEY_FRAME_EVERY.as_secs() * FRAMES_A_SECOND;
const KEY_FRAME: u64 = 20;
const FRAME: u64 = 3;
const GROUP: u64 = KEY_FRAME + (GROUP_FRAMES - 1) * FRAME;
const PACED: Duration = Duration::from_millis(1);
/// The last packet of a frame.
const LEAST_LAST: usize = 100;

impl Profile {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Video { .. } => "video",
        }
    }

    /// Packet number `n`, from 0.
    pub fn packet(self, n: u64) -> Packet {
        match self {
            Self::Opus => Packet {
                at: times(VOICE_EVERY, n),
                size: drawn(n, *VOICE.start(), *VOICE.end()),
            },
            Self::Video { full } => {
                let (group, nth) = (n / GROUP, n % GROUP);
                let (frame, index, of) = match nth.checked_sub(KEY_FRAME) {
                    None => (0, nth, KEY_FRAME),
                    Some(after) => (1 + after / FRAME, after % FRAME, FRAME),
                };
                let frame = Duration::from_nanos(frame * 1_000_000_000 / FRAMES_A_SECOND);
                Packet {
                    at: times(KEY_FRAME_EVERY, group) + frame + times(PACED, index),
                    size: if index + 1 == of {
                        drawn(n, LEAST_LAST.min(full), full)
                    } else {
                        full
                    },
                }
            }
        }
    }

    /// Bytes of the largest packet.
    pub fn largest(self) -> usize {
        match self {
            Self::Opus => *VOICE.end(),
            Self::Video { full } => full,
        }
    }

    /// The mean time between two packets.
    pub fn interval(self) -> Duration {
        match self {
            Self::Opus => VOICE_EVERY,
            Self::Video { .. } => KEY_FRAME_EVERY / GROUP as u32,
        }
    }

    /// How many packets are sent before `end`.
    pub fn packets_before(self, end: Duration) -> u64 {
        let (period, packets) = match self {
            Self::Opus => (VOICE_EVERY, 1),
            Self::Video { .. } => (KEY_FRAME_EVERY, GROUP),
        };
        let whole = u64::try_from(end.as_nanos() / period.as_nanos()).unwrap_or(u64::MAX);
        let rest = Duration::from_nanos(u64::try_from(end.as_nanos() % period.as_nanos()).unwrap_or(0));
        let begun = (0..packets).filter(|&n| self.packet(n).at < rest).count() as u64;
        whole.saturating_mul(packets).saturating_add(begun)
    }

    /// A packet that is late by half a frame is not sent: the next one is nearer.
    fn too_late(self) -> Duration {
        match self {
            Self::Opus => VOICE_EVERY / 2,
            Self::Video { .. } => Duration::from_secs(1) / FRAMES_A_SECOND as u32 / 2,
        }
    }
}

/// `step · n`, or as long as it can be.
fn times(step: Duration, n: u64) -> Duration {
    let nanos = step.as_nanos() * u128::from(n);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A number from the range, by `n` (SplitMix64's finalizer).
fn drawn(n: u64, least: usize, most: usize) -> usize {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let range = (most - least) as u64 + 1;
    least + usize::try_from(z % range).unwrap_or(0)
}

/// The slots of one session that sends a profile's packets.
#[derive(Debug, Clone)]
pub struct Timetable {
    profile: Profile,
    start: Mono,
    next: u64,
}

impl Timetable {
    pub fn new(profile: Profile, start: Mono) -> Self {
        Self {
            profile,
            start,
            next: 0,
        }
    }

    /// When the next packet is due.
    pub fn next_wakeup(&self) -> Mono {
        self.start + self.profile.packet(self.next).at
    }

    /// Bytes of the packet that was due last.
    pub fn size(&self) -> usize {
        self.profile.packet(self.next.saturating_sub(1)).size
    }

    /// Appends missed slots, one by one, and at most one packet to send; to be called until there is none.
    pub fn poll(&mut self, now: Mono, due: &mut Vec<Due<()>>) {
        loop {
            let at = self.next_wakeup();
            if at > now {
                return;
            }
            self.next += 1;
            if now.since(at) < self.profile.too_late() {
                due.push(Due::Send { key: (), at });
                return;
            }
            due.push(Due::Slipped(Slipped {
                key: (),
                first: at,
                last: at,
                count: 1,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: Profile = Profile::Video { full: FULL_PACKET };
    const S: Duration = Duration::from_secs(1);

    fn bits(profile: Profile, seconds: u32) -> u64 {
        let packets = profile.packets_before(S * seconds);
        let bytes: usize = (0..packets).map(|n| profile.packet(n).size).sum();
        bytes as u64 * 8 / u64::from(seconds)
    }

    #[test]
    fn a_voice_is_fifty_packets_a_second_of_its_codec_s_rate() {
        assert_eq!(Profile::Opus.packets_before(S), 50);
        assert_eq!(Profile::Opus.packets_before(S + Duration::from_nanos(1)), 51);
        let sizes: Vec<_> = (0..10_000).map(|n| Profile::Opus.packet(n).size).collect();
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&92), Some(&122)));
        assert_eq!(bits(Profile::Opus, 200) / 1_000, 42);
    }

    #[test]
    fn a_camera_is_bursts_per_frame_and_a_larger_one_at_each_key_frame() {
        assert_eq!(VIDEO.packets_before(KEY_FRAME_EVERY), GROUP);
        let group: Vec<_> = (0..=GROUP).map(|n| VIDEO.packet(n)).collect();
        let frame = |n: u64| Duration::from_nanos(n * 1_000_000_000 / 30);
        let in_frame = |n: u64| {
            group
                .iter()
                .filter(move |p| (frame(n)..frame(n + 1)).contains(&p.at))
        };
        assert_eq!(in_frame(0).count(), 20);
        assert!((1..120).all(|n| in_frame(n).count() == 3));
        assert_eq!(group[GROUP as usize].at, KEY_FRAME_EVERY);
        assert!(group.windows(2).all(|w| w[0].at < w[1].at));
        let full = |n: u64| in_frame(n).filter(|p| p.size == FULL_PACKET).count();
        assert!(full(0) >= 19 && (1..120).all(|n| full(n) >= 2));
        assert!(
            group
                .iter()
                .all(|p| (LEAST_LAST..=VIDEO.largest()).contains(&p.size))
        );
        assert_eq!(bits(VIDEO, 40) / 100_000, 7);
        assert!(VIDEO.interval() * GROUP as u32 <= KEY_FRAME_EVERY);
    }

    #[test]
    fn counts_of_packets_are_those_of_the_packets() {
        for profile in [Profile::Opus, VIDEO] {
            for ms in [0, 1, 19, 20, 21, 33, 34, 1_000, 3_999, 4_000, 4_001, 12_345] {
                let end = Duration::from_millis(ms);
                let counted = (0..).take_while(|&n| profile.packet(n).at < end).count();
                assert_eq!(profile.packets_before(end), counted as u64, "{profile:?} {ms} ms");
            }
        }
        assert_eq!(Profile::Video { full: 50 }.packet(19).size, 50);
    }

    #[test]
    fn every_slot_is_sent_or_slipped_once_and_bursts_catch_up() {
        let start = Mono::from_millis(5);
        let mut table = Timetable::new(VIDEO, start);
        let poll = |table: &mut Timetable, ms: i64| {
            let (mut sent, mut slipped) = (Vec::new(), 0);
            loop {
                let mut due = Vec::new();
                table.poll(Mono::from_millis(5 + ms), &mut due);
                let before = sent.len();
                for due in due {
                    match due {
                        Due::Send { at, .. } => sent.push((at.since(start), table.size())),
                        Due::Slipped(run) => slipped += run.count,
                    }
                }
                if sent.len() == before {
                    return (sent, slipped);
                }
            }
        };
        let packet = |n| {
            let Packet { at, size } = VIDEO.packet(n);
            (at, size)
        };
        assert_eq!(poll(&mut table, -1), (vec![], 0));
        // Three milliseconds late: a timer's grain, and nothing is lost for it.
        assert_eq!(poll(&mut table, 3), ((0..4).map(packet).collect(), 0));
        // 16.67 ms is half a frame.
        assert_eq!(poll(&mut table, 21), ((5..20).map(packet).collect(), 1));
        assert_eq!(poll(&mut table, 4_000), (vec![packet(GROUP)], GROUP - 20));
        assert_eq!(table.next_wakeup(), start + packet(GROUP + 1).0);
    }
}
