use super::*;

fn shares(in_class: u64, idle: u64) -> Shares {
    Shares {
        in_class: Some(in_class),
        idle: Some(idle),
    }
}

#[test]
fn those_in_class_come_first_and_idle_ones_get_the_rest() {
    let class = |n| vec![60_000; n];
    let idle = |n| vec![10_000; n];
    let table = [
        // (in class, idle, shares of 2 Mbit/s)
        (0, 0, Shares::default()),
        (33, 0, Shares::default()),
        (33, 2, Shares::default()),
        (
            33,
            3,
            Shares {
                in_class: None,
                idle: Some(6_666),
            },
        ),
        (
            34,
            0,
            Shares {
                in_class: Some(58_823),
                idle: None,
            },
        ),
        (
            300,
            0,
            Shares {
                in_class: Some(6_666),
                idle: None,
            },
        ),
        (300, 100, shares(6_333, 1_001)),
        (
            0,
            300,
            Shares {
                in_class: None,
                idle: Some(6_666),
            },
        ),
        (5_000, 5_000, shares(300, 100)),
    ];
    for (n, m, wanted) in table {
        assert_eq!(
            divide(2_000_000, class(n), idle(m)),
            wanted,
            "{n} in class, {m} idle"
        );
    }
}

#[test]
fn who_wants_less_leaves_it_to_the_others() {
    let divided = divide(100, vec![10, 50, 60], vec![]);
    assert_eq!(divided.in_class, Some(45), "10 + 45 + 45");
}

const SCHOOL: Site = Site::V4([192, 0, 2, 1]);

fn pupil(n: u64, peers: &[u64]) -> Member {
    Member {
        agent: AgentId(n),
        site: Some(SCHOOL),
        in_class: true,
        wants: if peers.is_empty() { 60_000 } else { 120_000 },
        peers: peers.iter().map(|p| AgentId(*p)).collect(),
    }
}

#[test]
fn a_share_is_told_when_it_shrinks_or_grows_by_a_tenth() {
    let mut sites = Sites::default();
    let mut divide = |n: u64| {
        let members: Vec<_> = (1..=n).map(|i| pupil(i, &[])).collect();
        let told = sites.share_out(1_000_000, &members).len();
        (told, sites.share(AgentId(1)))
    };
    assert_eq!(divide(16), (0, None));
    assert_eq!(divide(40), (40, Some(25_000)));
    assert_eq!(divide(40), (0, Some(25_000)));
    assert_eq!(divide(41), (41, Some(24_390)));
    assert_eq!(divide(38), (0, Some(24_390)), "26,315 would be 8 % more");
    assert_eq!(divide(37), (37, Some(27_027)));
    assert_eq!(divide(16), (16, None), "a limit that is gone is told");
}

#[test]
fn two_that_probe_each_other_go_at_the_slower_one_s_rate() {
    let mut members: Vec<_> = (1..=100).map(|i| pupil(i, &[])).collect();
    members.push(pupil(101, &[999]));
    members.push(Member {
        site: Some(Site::V4([198, 51, 100, 7])),
        ..pupil(999, &[101])
    });
    let mut sites = Sites::default();
    let told = sites.share_out(1_010_000, &members);
    assert_eq!(told.len(), 102);
    assert_eq!(sites.share(AgentId(101)), Some(10_000));
    assert_eq!(
        sites.share(AgentId(999)),
        Some(10_000),
        "alone at home, and asked to go slowly"
    );
    let homes: Vec<_> = sites.iter().map(|(_, now)| now.shares.in_class).collect();
    assert_eq!(homes, [Some(10_000), None]);
}

mod building;
