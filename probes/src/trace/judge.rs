//! Missing answers: loss, or a router that answers only so often?
//!
//! What goes on through a hop and is answered behind it was not lost there. At the end there is nothing
//! behind: what it leaves unanswered is asked again, more slowly or by echo requests where those can be
//! sent. If then significantly fewer are missing, it was limiting. If they come back as regularly as a
//! clock, it was limiting too, even if it limits the repetition as well.

use super::hop::{Hop, Series};

/// One-sided level below which two shares are taken to differ.
const LEVEL: f64 = 0.05;
/// Gaps between answers that must be alike to be called regular. With half of all probes lost by chance,
/// four alike come up once in fifty traces.
const REGULAR_GAPS: usize = 4;
/// So few missing answers of the end are not looked into: one may be anything.
pub(super) const WORTH_ASKING: u32 = 2;

/// What the end's missing answers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Missing is lost.
    Counted,
    /// It limits its answers.
    LimitsAnswers,
    /// Too little to tell one from the other by.
    Untold,
}

/// Loss between here and the end, there and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndLoss {
    pub verdict: Verdict,
    /// Lost, and of how many; unknown if limited answers hide it.
    pub lost: Option<(u32, u32)>,
}

impl EndLoss {
    /// `check` is what came of asking again.
    pub(super) fn of(first: &Series, check: Option<&Series>) -> Self {
        let share = |s: &Series| (s.missing(), s.settled());
        let counted = |verdict, lost: (u32, u32)| Self {
            verdict,
            lost: (lost.1 > 0).then_some(lost),
        };
        if first.missing() == 0 {
            return counted(Verdict::Counted, share(first));
        }
        let Some(check) = check.filter(|c| c.answered() > 0) else {
            return match (regular(first), may_be_a_limit(first)) {
                (true, _) => counted(Verdict::LimitsAnswers, (0, 0)),
                (false, true) => counted(Verdict::Untold, (0, 0)),
                (false, false) => counted(Verdict::Counted, share(first)),
            };
        };
        if more_missing(first, check) {
            return counted(Verdict::LimitsAnswers, share(check));
        }
        if regular(first) {
            return counted(Verdict::LimitsAnswers, (0, 0));
        }
        let (a, b) = (share(first), share(check));
        let both = (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
        // Still missing when asked gently, or in a way that no limit is kept in: that is loss.
        if check.missing() > 0 || !may_be_a_limit(first) {
            counted(Verdict::Counted, both)
        } else {
            counted(Verdict::Untold, (0, 0))
        }
    }

    /// None where it is not known.
    pub fn share(&self) -> Option<f64> {
        self.lost
            .and_then(|(lost, of)| (of > 0).then(|| f64::from(lost) / f64::from(of)))
    }
}

/// What a hop's missing answers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopState {
    /// No probe's fate is known yet.
    New,
    /// Missing is lost, as far as can be seen: nothing behind it fares better.
    Counted,
    /// Hops behind it answer more steadily: it limits its answers.
    LimitsAnswers,
    /// It answers nothing.
    Silent,
    /// Limiting and loss look alike: nothing behind it answers, or too little is missing.
    Untold,
}

/// Judges the hop at `index`; the last of `hops` is the end if `end` is given.
pub(super) fn hop(hops: &[Hop], index: usize, end: Option<&EndLoss>) -> HopState {
    let Some(own) = hops.get(index).map(Hop::series) else {
        return HopState::New;
    };
    let last = index + 1 == hops.len();
    match (own.settled(), own.answered(), own.missing()) {
        (0, ..) => return HopState::New,
        (_, 0, _) => return HopState::Silent,
        (_, _, 0) => return HopState::Counted,
        _ => {}
    }
    if last && let Some(end) = end {
        return match end.verdict {
            Verdict::Counted => HopState::Counted,
            Verdict::LimitsAnswers => HopState::LimitsAnswers,
            Verdict::Untold => HopState::Untold,
        };
    }
    let behind = hops.get(index + 1..).unwrap_or_default();
    let mut heard = false;
    for later in behind.iter().map(Hop::series) {
        heard |= later.answered() > 0;
        // As much evidence as there is of this hop, or enough.
        let enough = later.settled() >= own.settled().min(3);
        if enough && (later.missing() == 0 || more_missing(own, later)) {
            return HopState::LimitsAnswers;
        }
    }
    match end.map(|e| e.lost) {
        Some(Some((0, of))) if of >= own.settled().min(3) => HopState::LimitsAnswers,
        // The end's loss is known, or this hop's misses come as no limit would have it.
        Some(Some((1.., _))) if heard => HopState::Counted,
        _ if heard && !may_be_a_limit(own) => HopState::Counted,
        _ => HopState::Untold,
    }
}

/// Whether `a` misses a larger share than `b`, beyond chance.
fn more_missing(a: &Series, b: &Series) -> bool {
    chance((a.missing(), a.settled()), (b.missing(), b.settled())) < LEVEL
}

/// Fisher's exact test, one-sided: how likely at least so many of all that are missing are among `a`, if
/// it were chance alone that places them.
fn chance(a: (u32, u32), b: (u32, u32)) -> f64 {
    let (missing, all) = (a.0 + b.0, a.1 + b.1);
    let ways = |n: u32, k: u32| -> f64 { (0..k).map(|i| (f64::from(n - i) / f64::from(k - i)).ln()).sum() };
    let total = ways(all, missing);
    (a.0..=missing.min(a.1))
        .filter(|&k| missing - k <= b.1)
        .map(|k| (ways(a.1, k) + ways(b.1, missing - k) - total).exp())
        .sum()
}

/// Whether answers come at even distances with misses between, once the first run of them is over: what a
/// token bucket lets through.
fn regular(series: &Series) -> bool {
    let places = series.places();
    let mut gaps: Vec<u32> = places
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .skip_while(|&gap| gap <= 1)
        .collect();
    // The way from the burst's end to the first refill is shorter than the rest.
    if gaps.len() > REGULAR_GAPS {
        gaps.remove(0);
    }
    let (least, most) = (gaps.iter().min(), gaps.iter().max());
    gaps.len() >= REGULAR_GAPS
        && matches!((least, most), (Some(&least), Some(&most)) if least >= 2 && most - least <= 1)
}

/// Whether a token bucket can have left these unanswered. Asked at a steady rate it answers all at first;
/// once it is empty, misses come at even distances. How long that took is at least one such distance.
fn may_be_a_limit(series: &Series) -> bool {
    let answered = series.places();
    let misses: Vec<u32> = (1..=series.sent())
        .filter(|place| answered.binary_search(place).is_err())
        .collect();
    let (Some(&first), Some(&last)) = (misses.first(), misses.last()) else {
        return false;
    };
    let gaps = || misses.windows(2).map(|pair| pair[1] - pair[0]);
    let (least, most) = (gaps().min().unwrap_or(first), gaps().max().unwrap_or(first));
    most - least <= 1 && series.sent() - last <= most
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `x` answered, `.` missing.
    fn series(fates: &str) -> Series {
        let mut s = Series::default();
        for fate in fates.chars() {
            let place = s.send();
            if fate == 'x' {
                s.answer(place, 1_000)
            } else {
                s.give_up()
            }
        }
        s
    }

    fn hops(fates: &[&str]) -> Vec<Hop> {
        fates
            .iter()
            .map(|f| {
                let mut hop = Hop::default();
                hop.series = series(f);
                hop
            })
            .collect()
    }

    #[test]
    fn the_end() {
        use Verdict::{Counted, LimitsAnswers, Untold};
        let many = "xxxxxxxxxxxx";
        let table = [
            ("xxxxx", None, Counted, Some((0, 5))),
            ("", None, Counted, None),
            // A bucket just empty, or a loss.
            ("xxxx.", None, Untold, None),
            // No bucket fills that fast.
            (".xxxx", None, Counted, Some((1, 5))),
            ("xx.xx.xxxx", None, Counted, Some((2, 10))),
            ("xx..x", None, Untold, None),
            // Asked gently, all is answered.
            ("xx.x..x.x.", Some(many), LimitsAnswers, Some((0, 12))),
            // Too few missing to be sure.
            ("xxxxx.xx.x", Some(many), Untold, None),
            ("xx.x.xxx.xxxxxx", Some(many), Counted, Some((3, 27))),
            // Missing all the same: loss.
            ("x.xxx.xx.x", Some("xx.xxx.x"), Counted, Some((5, 18))),
            // Every third, as by a clock, whoever asks.
            ("xxxx.x..x..x..x..x", Some("x..x..x..x"), LimitsAnswers, None),
            ("xxxx..x..x..x..x..x", None, LimitsAnswers, None),
            // The repetition was not answered at all: it says nothing.
            ("xx.x..xx.xxxx", Some("...."), Counted, Some((4, 13))),
        ];
        for (first, check, verdict, lost) in table {
            let check = check.map(series);
            let got = EndLoss::of(&series(first), check.as_ref());
            assert_eq!(got, EndLoss { verdict, lost }, "{first} {check:?}");
        }
    }

    #[test]
    fn hops_on_the_way() {
        use HopState::{Counted, LimitsAnswers, New, Silent, Untold};
        let table: [(&[&str], &[HopState]); 7] = [
            (&["xxxxx", "x...x", "xxxxx"], &[Counted, LimitsAnswers, Counted]),
            (&[".....", "xxxxx", ""], &[Silent, Counted, New]),
            // Lost from the second on.
            (&["xxxxxx", "x.xx..xx", "x..xxxxx"], &[Counted, Counted, Counted]),
            // One at the end of each: as likely Linux's one a second as loss.
            (&["xxxxx.", "xxxxx.", "xxxxx."], &[Untold, Untold, Untold]),
            (&["xx.xx", ".....", "....."], &[Untold, Silent, Silent]),
            (&["x.", "x"], &[Untold, Counted]),
            (
                &["x...x...x...x...x...", "xxx.xxxxxxxxxxxxxxxx"],
                &[LimitsAnswers, Counted],
            ),
        ];
        for (fates, wanted) in table {
            let hops = hops(fates);
            let last = hops.last().unwrap().series();
            let end = EndLoss::of(last, None);
            let reached = last.answered() > 0;
            let got: Vec<_> = (0..hops.len())
                .map(|i| hop(&hops, i, reached.then_some(&end)))
                .collect();
            assert_eq!(got, wanted, "{fates:?}");
        }
    }

    #[test]
    fn chance_by_hand() {
        assert!((chance((5, 10), (0, 8)) - 252.0 / 8_568.0).abs() < 1e-9);
        assert!((chance((0, 10), (0, 8)) - 1.0).abs() < 1e-9);
        assert!((chance((2, 10), (0, 12)) - 45.0 / 231.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn chance_is_a_probability(n in 0u32..200, m in 0u32..200, a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
            let k = |n: u32, share: f64| (f64::from(n) * share) as u32;
            let p = chance((k(n, a), n), (k(m, b), m));
            prop_assert!((0.0..=1.0 + 1e-6).contains(&p), "{}", p);
        }

        #[test]
        fn never_lost_more_than_asked(first in "[x.]{0,40}", check in prop::option::of("[x.]{0,20}")) {
            let check = check.map(|c| series(&c));
            if let Some((lost, of)) = EndLoss::of(&series(&first), check.as_ref()).lost {
                prop_assert!(lost <= of && of > 0);
            }
        }
    }
}
