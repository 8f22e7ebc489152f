//! What several rounds say together: medians, since a round may have had bad luck with its neighbours.

use std::collections::BTreeMap;

use crate::{load::Figures, world::System};

/// Of one case, by system, a round after the other.
#[derive(Debug, Default)]
pub struct Results(BTreeMap<System, Vec<Figures>>);

impl Results {
    pub fn add(&mut self, system: System, figures: Figures) {
        self.0.entry(system).or_default().push(figures);
    }

    pub fn has(&self, system: System) -> bool {
        self.0.contains_key(&system)
    }

    fn of(&self, system: System) -> &[Figures] {
        self.0.get(&system).map_or(&[], Vec::as_slice)
    }

    fn each(&self, system: System, figure: impl Fn(&Figures) -> f64) -> Vec<f64> {
        self.of(system).iter().map(figure).collect()
    }

    pub fn median(&self, system: System, figure: impl Fn(&Figures) -> f64) -> f64 {
        median(self.each(system, figure))
    }

    /// The least and the most.
    pub fn range(&self, system: System, figure: impl Fn(&Figures) -> f64) -> (f64, f64) {
        let each = self.each(system, figure);
        let (least, most) = (f64::INFINITY, f64::NEG_INFINITY);
        each.into_iter()
            .fold((least, most), |(least, most), x| (least.min(x), most.max(x)))
    }

    /// In percent, of all rounds together.
    pub fn lost(&self, system: System) -> f64 {
        let sum = |figure: fn(&Figures) -> u64| self.of(system).iter().map(figure).sum::<u64>();
        let (sent, arrived) = (sum(|f| f.sent), sum(|f| f.arrived));
        100.0 * sent.saturating_sub(arrived) as f64 / sent as f64
    }

    /// The median of a round's difference between two systems; they were measured one right after the other.
    pub fn difference(&self, system: System, other: System, figure: fn(&Figures) -> f64) -> f64 {
        let pairs = self
            .each(system, figure)
            .into_iter()
            .zip(self.each(other, figure));
        median(pairs.map(|(one, other)| one - other).collect())
    }
}

/// NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}
