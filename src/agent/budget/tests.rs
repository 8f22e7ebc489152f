use super::*;

const LOOK: Duration = Duration::from_secs(10);
const ALLOWED: Allowed = Allowed {
    own: 8_000,
    line: None,
};
const LADDER: Ladder = Ladder {
    rungs: 5,
    next_adds: Bytes { out: 800, back: 800 },
};

/// A budget past its first minute, and a line whose use is set by hand.
struct Line {
    budget: Budget,
    now: Mono,
    spent: Spent,
    ladder: Ladder,
    allowed: Allowed,
}

impl Line {
    fn new() -> Self {
        let mut line = Self {
            budget: Budget::new(Mono::ZERO),
            now: Mono::ZERO,
            spent: Spent::default(),
            ladder: LADDER,
            allowed: ALLOWED,
        };
        for _ in 0..7 {
            line.use_bits(0, 0);
        }
        line
    }

    /// Ten seconds at so many bits a second; answers how far down the rates are then.
    fn use_bits(&mut self, own: u64, peers: u64) -> u32 {
        let bytes = |bits: u64| Bytes {
            out: bits * LOOK.as_secs() / 8,
            back: bits * LOOK.as_secs() / 16,
        };
        self.now = self.now + LOOK;
        self.spent.line = self.spent.line + bytes(own) + bytes(peers);
        self.spent.peers = self.spent.peers + bytes(peers);
        self.budget.look(self.now, self.spent, self.allowed, self.ladder);
        self.budget.down()
    }
}

#[test]
fn just_the_budget_is_not_over_it() {
    let mut line = Line::new();
    assert!((0..30).all(|_| line.use_bits(8_000, 0) == 0));
    assert_eq!(line.use_bits(8_008, 0), 1, "ten bytes more in a minute");
    let used = line.budget.used().unwrap();
    assert_eq!((used.own.out, used.own.back), (8_001, 4_000));
}

#[test]
fn a_burst_is_forgiven_while_the_minute_fits() {
    let mut line = Line::new();
    assert_eq!(line.use_bits(48_000, 0), 0);
    assert!((0..5).all(|_| line.use_bits(0, 0) == 0));
    assert_eq!(line.use_bits(48_008, 0), 1);
}

#[test]
fn it_goes_down_while_it_is_too_much_and_waits_while_that_drains() {
    let mut line = Line::new();
    let downs: Vec<_> = (0..9).map(|_| line.use_bits(12_000, 0)).collect();
    assert_eq!(
        downs,
        [0, 0, 0, 0, 1, 2, 3, 4, 5],
        "and no further than there are rungs"
    );
    assert_eq!(line.use_bits(12_000, 0), 5);
    // Still too much in the last minute, but not of late.
    let mut line = Line::new();
    while line.use_bits(12_000, 0) == 0 {}
    assert_eq!(line.use_bits(7_000, 0), 1);
    assert_eq!(line.use_bits(7_000, 0), 1);
}

#[test]
fn up_again_after_a_minute_and_only_if_the_rung_above_fits() {
    let mut line = Line::new();
    while line.use_bits(12_000, 0) == 0 {}
    // 6,401 and 800 more are above nine tenths of 8,000.
    assert!((0..30).all(|_| line.use_bits(6_408, 0) == 1));
    let mut line = Line::new();
    while line.use_bits(12_000, 0) == 0 {}
    let downs: Vec<_> = (0..8).map(|_| line.use_bits(6_400, 0)).collect();
    assert_eq!(downs, [1, 1, 1, 1, 1, 0, 0, 0]);
}

#[test]
fn what_peers_want_is_in_the_line_s_share_and_not_in_the_budget() {
    let mut line = Line::new();
    assert!((0..10).all(|_| line.use_bits(7_000, 7_000) == 0));
    line.allowed.line = Some(14_000);
    assert_eq!(line.use_bits(7_000, 7_000), 0);
    line.allowed.line = Some(13_992);
    assert_eq!(line.use_bits(7_000, 7_000), 1);
    let used = line.budget.used().unwrap();
    assert_eq!((used.own.out, used.peers.out), (7_000, 7_000));
}

#[test]
fn reports_of_former_times_slow_no_probing_down() {
    let down = |backlog_out| {
        let mut budget = Budget::new(Mono::ZERO);
        for look in 1..=30_u64 {
            let bytes = |out| Bytes {
                out: out * look,
                back: 0,
            };
            let spent = Spent {
                line: bytes(40_000),
                backlog: bytes(backlog_out),
                ..Spent::default()
            };
            budget.look(Mono::ZERO + LOOK * look as u32, spent, ALLOWED, LADDER);
        }
        budget.down()
    };
    assert_eq!(down(35_000), 0);
    assert!(down(0) > 0);
}

#[test]
fn the_first_minute_may_take_its_handshakes() {
    let start = |bytes| {
        let mut budget = Budget::new(Mono::ZERO);
        let spent = Spent {
            line: Bytes { out: 0, back: bytes },
            peers: Bytes::default(),
            ..Spent::default()
        };
        budget.look(Mono::ZERO + LOOK, spent, ALLOWED, LADDER);
        budget.down()
    };
    let minute = 8_000 / 8 * 60;
    assert_eq!(start(START_UP + minute), 0);
    assert_eq!(start(START_UP + minute + 1), 1);
}

#[test]
fn another_tier_begins_anew() {
    let mut line = Line::new();
    while line.use_bits(12_000, 0) == 0 {}
    line.budget.begin(line.now);
    assert_eq!(line.budget.down(), 0);
    assert_eq!(line.budget.used(), None);
    assert_eq!(line.use_bits(12_000, 0), 0);
}
