//! Counting failures, so that guessing gets slow. Successes are never limited: a school joins, and logs
//! in, from one address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use corridor_probes::Mono;

/// How failures of one key are slowed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// So many failures cost nothing.
    pub free: u32,
    /// The wait after the next one; it doubles with each that follows.
    pub first: Duration,
    pub longest: Duration,
    /// Failures are forgotten after so long without another.
    pub forget: Duration,
    /// So many keys are remembered; the ones longest without a failure go first.
    pub keys: usize,
}

/// Failures by key.
#[derive(Debug)]
pub struct Failures<K> {
    policy: Policy,
    by_key: BTreeMap<K, Entry>,
    /// The same keys by their last failure.
    by_age: BTreeSet<(Mono, K)>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    count: u32,
    last: Mono,
}

impl<K: Ord + Clone> Failures<K> {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            by_key: BTreeMap::new(),
            by_age: BTreeSet::new(),
        }
    }

    /// Whether `key` may try at `now`; if not, how long it has to wait.
    pub fn check(&self, key: &K, now: Mono) -> Result<(), Duration> {
        let Some(entry) = self.by_key.get(key) else {
            return Ok(());
        };
        let wait = (entry.last + self.wait(entry.count)).since(now);
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// `key` failed at `now`.
    pub fn fail(&mut self, key: K, now: Mono) {
        self.forget(now);
        let count = self.take(&key).map_or(0, |e| e.count);
        if self.by_key.len() >= self.policy.keys
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_key.remove(&oldest);
        }
        self.by_age.insert((now, key.clone()));
        let count = count.saturating_add(1);
        self.by_key.insert(key, Entry { count, last: now });
    }

    /// `key` succeeded: its failures are forgiven.
    pub fn succeed(&mut self, key: &K) {
        self.take(key);
    }

    /// Forgives the failures of all keys that `is` names.
    pub fn forgive(&mut self, is: impl Fn(&K) -> bool) {
        self.by_key.retain(|key, _| !is(key));
        self.by_age.retain(|(_, key)| !is(key));
    }

    fn take(&mut self, key: &K) -> Option<Entry> {
        let entry = self.by_key.remove(key)?;
        self.by_age.remove(&(entry.last, key.clone()));
        Some(entry)
    }

    fn forget(&mut self, now: Mono) {
        while let Some((last, _)) = self.by_age.first()
            && now.since(*last) >= self.policy.forget
            && let Some((_, key)) = self.by_age.pop_first()
        {
            self.by_key.remove(&key);
        }
    }

    fn wait(&self, count: u32) -> Duration {
        match count.checked_sub(self.policy.free) {
            None | Some(0) => Duration::ZERO,
            Some(over) => {
                let factor = 2_u32.saturating_pow(over - 1);
                self.policy.first.saturating_mul(factor).min(self.policy.longest)
            }
        }
    }
}

/// An address as failures are counted by it: IPv6 by its /64, which is one subscriber's.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        free: 2,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(5),
        forget: Duration::from_secs(100),
        keys: 3,
    };

    fn s(n: i64) -> Mono {
        Mono::from_millis(n * 1_000)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut failures = Failures::new(POLICY);
        let mut now = s(0);
        for wait in [0, 0, 1, 2, 4, 5, 5] {
            failures.fail("k", now);
            let wait = Duration::from_secs(wait);
            assert_eq!(failures.check(&"k", now).err().unwrap_or_default(), wait);
            assert_eq!(failures.check(&"other", now), Ok(()));
            now = now + wait;
            assert_eq!(failures.check(&"k", now), Ok(()), "over at the end of the wait");
        }
        failures.succeed(&"k");
        failures.fail("k", now);
        assert_eq!(failures.check(&"k", now), Ok(()), "forgiven");
    }

    #[test]
    fn failures_are_forgotten_in_time() {
        for (later, forgotten) in [(99, false), (100, true)] {
            let mut failures = Failures::new(POLICY);
            (0..3).for_each(|_| failures.fail("k", s(0)));
            failures.fail("k", s(later));
            assert_eq!(failures.check(&"k", s(later)).is_ok(), forgotten);
        }
    }

    #[test]
    fn keys_are_bounded_and_the_oldest_goes() {
        let mut failures = Failures::new(POLICY);
        (0..3).for_each(|_| failures.fail(0, s(0)));
        (0..3).for_each(|_| failures.fail(1, s(1)));
        failures.fail(0, s(2));
        failures.fail(2, s(3));
        failures.fail(3, s(3));
        assert_eq!((failures.by_key.len(), failures.by_age.len()), (3, 3));
        assert!(failures.check(&0, s(3)).is_err());
        assert!(failures.check(&1, s(1)).is_ok(), "gone");
        for n in 0..1_000 {
            failures.fail(n % 17, s(4));
            assert!(failures.by_key.len() <= 3 && failures.by_age.len() == failures.by_key.len());
        }
    }

    #[test]
    fn a_subscriber_is_an_ipv4_address_or_an_ipv6_64() {
        let same = |a: &str, b: &str| subscriber(a.parse().unwrap()) == subscriber(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
