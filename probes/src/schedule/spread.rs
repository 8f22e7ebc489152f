//! Which steps of a period are whose, so that sparse sessions do not probe together: a home router that
//! forwards eight probes a minute one by one stalls nobody.

use super::Pattern;

/// Where one agent's sparse sessions stand on its grid.
///
/// Each session has a place, by number. Place 0 comes first, place 1 half a period later, place 2 a quarter,
/// and so on: van der Corput's sequence (1935), which leaves no two places near each other, however many
/// there are, so that a session that comes or goes moves no other. The whole is turned by a number of steps
/// that is drawn for each agent: machines that were started together probe at different times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    turn: u32,
}

/// Steps between places of long periods: those of the densest session, whose wake-ups are shared.
const SECOND: u32 = 10;
/// Shorter periods have a place at each step.
const MINUTE: u32 = 600;

impl Spread {
    /// `turn` is any number, drawn at random.
    pub const fn new(turn: u32) -> Self {
        Self { turn: turn % MINUTE }
    }

    /// `pattern` for the session in `place`.
    pub fn place(self, pattern: Pattern, place: u32) -> Pattern {
        let period = pattern.period().get();
        let unit = if period >= MINUTE { SECOND } else { 1 };
        let places = u64::from(period / unit);
        // The bits of the number, mirrored at the point.
        let nth = (u64::from(place.reverse_bits()) * places) >> 32;
        // Less than the period.
        let steps = u32::try_from(nth).unwrap_or(0) * unit;
        pattern.shifted(self.turn).shifted(steps)
    }
}
