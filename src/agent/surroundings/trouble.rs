//! What counts as trouble on a link, and how much may be traced for it.

use std::{collections::VecDeque, fmt, time::Duration};

use corridor_probes::Mono;

/// What began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A leg is over its budget, or likely to be.
    AtRisk,
    /// A route was left because it was over the budget.
    Breach,
    /// A route was left because nothing came back on it.
    Outage,
    /// A route was left because of what it lost.
    Loss,
    /// No edge is heard.
    AccessOutage,
    /// An edge that was heard is heard no more, or its connection ended.
    LinkSilent,
    /// Round trips of a link are longer than usual.
    LinkSlow,
    LinkLossy,
}

impl Trouble {
    /// As it travels, and is shown.
    pub fn text(self) -> &'static str {
        match self {
            Self::AtRisk => "at_risk",
            Self::Breach => "breach",
            Self::Outage => "outage",
            Self::Loss => "loss",
            Self::AccessOutage => "access_outage",
            Self::LinkSilent => "link_silent",
            Self::LinkSlow => "link_slow",
            Self::LinkLossy => "link_lossy",
        }
    }

    /// Why a route was left, by the live choice's own word; `None` if that is no trouble.
    pub fn of_switch(reason: &str) -> Option<Self> {
        match reason {
            "breach" => Some(Self::Breach),
            "silent" | "disconnected" | "entry_silent" | "next_hop_silent" => Some(Self::Outage),
            "loss" => Some(Self::Loss),
            _ => None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtRisk => "the class is at risk",
            Self::Breach => "the route was over the budget",
            Self::Outage => "the route was silent",
            Self::Loss => "the route lost too much",
            Self::AccessOutage => "no edge was heard",
            Self::LinkSilent => "the edge was silent",
            Self::LinkSlow => "the edge was further away than usual",
            Self::LinkLossy => "the link lost too much",
        })
    }
}

/// A minute's and an hour's traces.
const A_MINUTE: Duration = Duration::from_secs(60);
const AN_HOUR: Duration = Duration::from_secs(3_600);
/// So that trouble right after a scheduled trace is looked into too.
const AT_ONCE: f64 = 2.0;
const IN_AN_HOUR: f64 = 12.0;

/// How much may be traced: two token buckets, each of which must have one.
#[derive(Debug)]
pub struct Allowance {
    minute: f64,
    hour: f64,
    at: Mono,
}

impl Allowance {
    pub fn new(now: Mono) -> Self {
        Self {
            minute: AT_ONCE,
            hour: IN_AN_HOUR,
            at: now,
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Mono) -> bool {
        self.take_of(1.0, now)
    }

    /// Takes one, if there are two.
    pub fn take_with_one_left(&mut self, now: Mono) -> bool {
        self.take_of(2.0, now)
    }

    fn take_of(&mut self, least: f64, now: Mono) -> bool {
        let passed = now.since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.minute = (self.minute + passed / A_MINUTE.as_secs_f64()).min(AT_ONCE);
        self.hour = (self.hour + passed * IN_AN_HOUR / AN_HOUR.as_secs_f64()).min(IN_AN_HOUR);
        let may = self.minute >= least && self.hour >= least;
        if may {
            self.minute -= 1.0;
            self.hour -= 1.0;
        }
        may
    }
}

/// Round trips by which a link is judged now: three of five must be long.
const NOW: usize = 5;
/// Before so many there is no usual one.
const LEARNT: u32 = 16;
/// Of a round trip in what is usual.
const WEIGHT: f64 = 1.0 / 32.0;
/// Longer than usual by this, and by half.
const SLOWER: Duration = Duration::from_millis(50);
/// What lasts longer is usual from then on.
const GET_USED_TO: Duration = Duration::from_secs(300);
/// Probes whose fates are looked at, and how many lost of them are trouble.
const FATES: usize = 10;
const LOST: usize = 3;

/// How a link fares against what is usual for it.
#[derive(Debug, Default)]
pub struct LinkWatch {
    /// Seconds.
    usual: f64,
    learnt: u32,
    now: VecDeque<f64>,
    slow_since: Option<Mono>,
    fates: VecDeque<bool>,
    lossy: bool,
}

impl LinkWatch {
    /// Takes a round trip; whether the link just became slow.
    pub fn sample(&mut self, rtt: Duration, now: Mono) -> bool {
        let rtt = rtt.as_secs_f64();
        if self.now.len() == NOW {
            self.now.pop_front();
        }
        self.now.push_back(rtt);
        if self.learnt < LEARNT {
            self.learnt += 1;
            self.usual += (rtt - self.usual) / f64::from(self.learnt);
            return false;
        }
        let slow = self.usual + (self.usual / 2.0).max(SLOWER.as_secs_f64());
        let long = self.now.iter().filter(|&&r| r >= slow).count();
        let is_slow = self.now.len() == NOW && long > NOW / 2;
        match (is_slow, self.slow_since) {
            (true, None) => {
                self.slow_since = Some(now);
                return true;
            }
            (true, Some(since)) if now.since(since) >= GET_USED_TO => {
                let mut recent: Vec<_> = self.now.iter().copied().collect();
                recent.sort_by(f64::total_cmp);
                self.usual = recent[NOW / 2];
                self.slow_since = None;
            }
            (true, Some(_)) => {}
            (false, _) => {
                self.slow_since = None;
                // A spike is not usual.
                if rtt < slow {
                    self.usual += (rtt - self.usual) * WEIGHT;
                }
            }
        }
        false
    }

    /// Takes the fates of a window's probes; whether the link just became lossy.
    pub fn fates(&mut self, sent: u32, lost: u32) -> bool {
        for number in 0..sent.min(FATES as u32) {
            if self.fates.len() == FATES {
                self.fates.pop_front();
            }
            self.fates.push_back(number < lost);
        }
        let was = self.lossy;
        self.lossy = self.fates.iter().filter(|&&lost| lost).count() >= LOST;
        self.lossy && !was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_slow_once_when_three_of_five_are_longer_than_usual() {
        // (round trips after sixteen of 40 ms, when it is told)
        for (rtts, told) in [
            (&[89, 89, 89, 89, 89][..], &[][..]),
            (&[91, 91, 91, 91, 91], &[2]),
            // A spike or two are none.
            (&[400, 400, 40, 40, 40, 40, 40], &[]),
            (&[190, 40, 190, 40, 190], &[4]),
        ] {
            let mut watch = LinkWatch::default();
            let mut at = Mono::ZERO;
            let mut next = |ms: u64| {
                at = at + Duration::from_secs(1);
                watch.sample(Duration::from_millis(ms), at)
            };
            assert!((0..LEARNT).all(|_| !next(40)));
            let begun: Vec<_> = rtts
                .iter()
                .enumerate()
                .filter(|(_, ms)| next(**ms))
                .map(|(i, _)| i)
                .collect();
            assert_eq!(begun, told, "{rtts:?}");
        }
    }

    #[test]
    fn what_lasts_becomes_usual_and_what_ends_may_begin_again() {
        let mut watch = LinkWatch::default();
        let mut begun = Vec::new();
        let phases = [(40, 20), (190, 400), (190, 100), (400, 10), (190, 10), (400, 10)];
        let mut second = 0;
        for (ms, seconds) in phases {
            for _ in 0..seconds {
                second += 1;
                if watch.sample(Duration::from_millis(ms), Mono::from_millis(second * 1_000)) {
                    begun.push(second);
                }
            }
        }
        // 190 ms are usual after 300 s of them, so that 400 are slow against that, twice.
        assert_eq!(begun, [23, 523, 543]);
    }

    #[test]
    fn three_of_ten_lost() {
        let mut watch = LinkWatch::default();
        let windows = [
            (1, 0),
            (1, 1),
            (1, 1),
            (1, 0),
            (1, 1),
            (1, 1),
            (5, 0),
            (5, 0),
            (5, 3),
        ];
        let told: Vec<_> = windows
            .iter()
            .map(|&(sent, lost)| watch.fates(sent, lost))
            .collect();
        assert_eq!(
            told,
            [false, false, false, false, true, false, false, false, true]
        );
    }

    #[test]
    fn two_at_once_one_a_minute_twelve_an_hour() {
        let mut allowance = Allowance::new(Mono::ZERO);
        let mut taken = Vec::new();
        for second in 0..7_200 {
            if allowance.take(Mono::from_millis(second * 1_000)) {
                taken.push(second);
            }
        }
        assert_eq!(taken[..4], [0, 1, 60, 120]);
        let in_hour = |n: i64| taken.iter().filter(|&&s| s / 3_600 == n).count();
        assert!((20..=24).contains(&in_hour(0)), "{}", in_hour(0));
        assert_eq!(in_hour(1), 12);
        // A scheduled one leaves one.
        let mut allowance = Allowance::new(Mono::ZERO);
        assert!(allowance.take_with_one_left(Mono::ZERO));
        assert!(!allowance.take_with_one_left(Mono::ZERO));
        assert!(allowance.take(Mono::ZERO));
    }
}
