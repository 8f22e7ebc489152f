use super::*;

const ME: AgentId = AgentId(1);
const PEER: AgentId = AgentId(2);

fn at(ms: i64) -> Mono {
    Mono::from_millis(ms)
}

fn route(edges: &[u16]) -> Route {
    let edges: Vec<_> = edges.iter().map(|&id| EdgeId::new(id).unwrap()).collect();
    Route::new(&edges).unwrap()
}

fn leg(routes: &[&[u16]], in_use: usize) -> Leg {
    let routes: Vec<_> = routes.iter().map(|edges| route(edges)).collect();
    Leg {
        class: "math".into(),
        far: Far::Agent {
            id: PEER,
            subject: "anna".into(),
        },
        in_use: routes[in_use],
        leaving: None,
        routes,
        grant: vec![7; 100],
        rate_kbps: 0,
        protect: Protect::Off,
        at_risk: false,
    }
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

struct World {
    origin: Origin,
    now: Mono,
    /// Of the far agent; 0 towards a target.
    port: u16,
}

impl World {
    fn new(leg: Leg) -> Self {
        let mut origin = Origin::new(ME, 1);
        let (to, port) = match &leg.far {
            Far::Target(target) if leg.class == "math" => (To::Target(target.clone()), 0),
            _ => {
                let subject = "anna".into();
                (To::Agent { subject, port: 5004 }, 5004)
            }
        };
        origin.set_forward(0, to, None);
        origin.set_legs(vec![leg], at(0));
        Self {
            origin,
            now: at(0),
            port,
        }
    }

    fn packet(&mut self, media: &[u8]) {
        self.origin
            .local(0, local(40_000), Dscp::BEST_EFFORT, media, self.now);
    }

    fn sent(&mut self) -> Vec<(u16, Vec<u8>)> {
        let outputs = std::iter::from_fn(|| self.origin.poll_output());
        let sent = outputs.map(|output| match output {
            Output::Send { edge, datagram, .. } => (edge.get(), datagram),
            Output::Deliver { .. } => panic!("{output:?}"),
        });
        sent.collect()
    }

    /// Entry and media of each media datagram; everything else is left out.
    fn media(&mut self) -> Vec<(u16, u32, Vec<u8>)> {
        let sent = self.sent().into_iter();
        sent.filter_map(|(edge, datagram)| {
            let media = Media::parse(&datagram).ok()?;
            (Kind::of(&datagram)? == Kind::Media).then(|| (edge, media.header.seq, media.media.to_vec()))
        })
        .collect()
    }

    fn kinds(&mut self) -> Vec<(u16, Kind)> {
        let sent = self.sent().into_iter();
        sent.map(|(edge, datagram)| (edge, Kind::of(&datagram).unwrap()))
            .collect()
    }

    /// The far end, or an edge, answers everything that was asked so far along routes that enter by `entry`.
    fn answer(&mut self, entry: u16, answer: Answer) {
        for (edge, datagram) in self.sent() {
            if edge == entry && Kind::of(&datagram) == Some(Kind::Open) {
                let open = Open::parse(&datagram).unwrap();
                assert_eq!((open.port, open.grant), (self.port, &[7; 100][..]));
                self.answered(&datagram, answer);
            }
        }
    }

    /// The answer to an opening comes back.
    fn answered(&mut self, open: &[u8], answer: Answer) {
        let open = Open::parse(open).unwrap();
        let mut out = Vec::new();
        let back = RouteHeader {
            index: 0,
            ..open.header.back(Kind::Answer as u8)
        };
        answer.write(&back, &mut out);
        self.origin.datagram(&out, self.now);
    }

    fn all_carried(routes: &[&[u16]], in_use: usize) -> Self {
        Self::carried(leg(routes, in_use))
    }

    fn carried(leg: Leg) -> Self {
        let in_use = leg.in_use;
        let mut world = Self::new(leg);
        world.packet(b"first");
        let opens = world.sent();
        for (_, datagram) in opens {
            world.answered(&datagram, Answer::Carried);
        }
        assert_eq!(
            world.media(),
            [(in_use.entry().unwrap().get(), 0, b"first".to_vec())]
        );
        world
    }

    fn state(&self) -> FlowState {
        self.origin.states().next().unwrap()
    }
}

#[test]
fn the_first_packets_wait_until_a_route_is_open() {
    let mut world = World::new(leg(&[&[1, 2], &[3, 2]], 0));
    world.packet(b"a");
    world.now = at(100);
    world.packet(b"b");
    world.answer(1, Answer::Carried);
    assert_eq!(world.media(), [(1, 0, b"a".to_vec()), (1, 1, b"b".to_vec())]);
    world.packet(b"c");
    assert_eq!(world.media(), [(1, 2, b"c".to_vec())]);
}

#[test]
fn packets_that_wait_for_too_long_or_are_too_many_are_counted() {
    let mut world = World::new(leg(&[&[1]], 0));
    for _ in 0..EARLY + 3 {
        world.packet(b"a");
    }
    assert_eq!(world.state().undone, 3);
    world.now = at(501);
    world.packet(b"b");
    assert_eq!(world.state().undone, 3 + EARLY as u64);
    world.answer(1, Answer::Carried);
    assert_eq!(world.media(), [(1, 0, b"b".to_vec())]);
}

#[test]
fn openings_are_asked_again_until_they_are_answered_and_refreshed_then() {
    let mut world = World::new(leg(&[&[1]], 0));
    world.packet(b"a");
    assert_eq!(world.kinds(), [(1, Kind::Open)]);
    let mut asked = Vec::new();
    for ms in 1..10_000 {
        world.now = at(ms);
        world.origin.handle_timeout(world.now);
        asked.extend(world.kinds().iter().map(|_| ms));
    }
    assert_eq!(asked, [200, 600, 1_400, 3_000, 6_000, 9_000]);
    world.origin.handle_timeout(at(12_000));
    world.now = at(12_000);
    world.answer(1, Answer::Carried);
    world.origin.handle_timeout(at(41_999));
    assert_eq!(world.kinds(), []);
    world.origin.handle_timeout(at(42_000));
    assert_eq!(world.kinds(), [(1, Kind::Open)]);
}

#[test]
fn media_takes_the_route_in_use_and_a_move_is_told() {
    let mut world = World::all_carried(&[&[1, 2], &[3, 2]], 0);
    world.origin.set_legs(vec![leg(&[&[1, 2], &[3, 2]], 1)], at(50));
    assert_eq!(world.kinds(), [(3, Kind::Switch); SWITCHES]);
    world.packet(b"b");
    assert_eq!(world.media(), [(3, 1, b"b".to_vec())]);
    assert_eq!(
        (world.state().moves, world.state().route),
        (1, Some(route(&[3, 2])))
    );
}

#[test]
fn a_route_that_is_not_open_is_not_taken() {
    let mut world = World::all_carried(&[&[1, 2], &[3, 2]], 0);
    world.origin.set_legs(vec![leg(&[&[1, 2], &[4, 2]], 1)], at(50));
    assert_eq!(
        world.sent().iter().map(|(edge, _)| *edge).collect::<Vec<_>>(),
        [4]
    );
    world.packet(b"b");
    assert_eq!(world.media(), [(1, 1, b"b".to_vec())]);
    world.origin.set_legs(vec![leg(&[&[5]], 0)], at(60));
    world.packet(b"c");
    world.now = at(60);
    world.answer(5, Answer::Revoked);
    assert_eq!(world.media(), []);
    assert_eq!(world.state().refused, [(route(&[5]), Answer::Revoked)]);
}

#[test]
fn a_refused_route_is_asked_at_once_with_a_new_grant() {
    let mut world = World::new(leg(&[&[1]], 0));
    world.packet(b"a");
    world.answer(1, Answer::Expired);
    world.origin.set_legs(vec![leg(&[&[1]], 0)], at(10));
    assert_eq!(world.kinds(), [], "the same again");
    let renewed = Leg {
        grant: vec![8; 100],
        ..leg(&[&[1]], 0)
    };
    world.origin.set_legs(vec![renewed.clone()], at(20));
    let sent = world.sent();
    let grants: Vec<_> = sent
        .iter()
        .map(|(_, open)| Open::parse(open).unwrap().grant)
        .collect();
    assert_eq!(grants, [&[8; 100][..]]);
    world.origin.set_legs(vec![renewed], at(30));
    assert_eq!(world.kinds(), []);
}

#[test]
fn a_route_that_the_plan_leaves_out_is_not_asked_with_the_grant_that_does_too() {
    let mut world = World::all_carried(&[&[1, 2]], 0);
    let left_out = Leg {
        leaving: Some(route(&[1, 2])),
        grant: vec![8; 100],
        ..leg(&[&[3, 2], &[1, 2]], 1)
    };
    world.origin.set_legs(vec![left_out], at(10));
    assert_eq!(world.kinds(), [(3, Kind::Open)]);
    world.packet(b"b");
    assert_eq!(world.media(), [(1, 1, b"b".to_vec())]);
}

#[test]
fn a_far_agent_that_is_away_is_asked_on_as_if_nobody_had_answered() {
    let mut world = World::new(leg(&[&[1]], 0));
    world.packet(b"a");
    world.answer(1, Answer::FarAway);
    assert_eq!(world.state().refused, []);
    world.origin.handle_timeout(at(200));
    world.now = at(200);
    world.answer(1, Answer::Carried);
    assert_eq!(world.media(), [(1, 0, b"a".to_vec())]);
}

#[test]
fn an_edge_that_has_forgotten_the_flow_is_asked_at_once() {
    let mut world = World::all_carried(&[&[1]], 0);
    world.packet(b"b");
    let (_, datagram) = world.sent().remove(0);
    let header = Media::parse(&datagram).unwrap().header;
    let mut out = Vec::new();
    Answer::Unknown.write(&header.back_from(0, Kind::Answer as u8), &mut out);
    world.origin.datagram(&out, world.now);
    world.origin.datagram(&out, world.now);
    assert_eq!(world.kinds(), [(1, Kind::Open)], "once");
}

#[test]
fn a_protected_flow_goes_by_two_routes_that_share_no_edge() {
    let routes: &[&[u16]] = &[&[1, 2], &[3, 2], &[3, 4]];
    let mut world = World::all_carried(routes, 0);
    let protect = |protect, at_risk| Leg {
        protect,
        at_risk,
        ..leg(routes, 0)
    };
    for (leg, entries) in [
        (protect(Protect::AtRisk, false), &[1][..]),
        (protect(Protect::AtRisk, true), &[1, 3]),
        (protect(Protect::Always, false), &[1, 3]),
    ] {
        world.origin.set_legs(vec![leg], at(50));
        world.packet(b"b");
        let media = world.media();
        assert_eq!(media.iter().map(|m| m.0).collect::<Vec<_>>(), entries);
        assert!(media.iter().all(|m| m.1 == media[0].1));
    }
    assert_eq!(world.state().counts.protecting, 2);
}

fn to_target(routes: &[&[u16]], in_use: usize) -> Leg {
    Leg {
        far: Far::Target("sfu:1".into()),
        ..leg(routes, in_use)
    }
}

#[test]
fn to_a_target_nothing_goes_by_another_exit_while_the_one_in_use_may_open() {
    let mut world = World::new(to_target(&[&[1, 2], &[4], &[3, 2]], 0));
    world.packet(b"a");
    let opens = world.sent();
    let answer = |world: &mut World, entry, answer: Answer| {
        for (_, datagram) in opens.iter().filter(|(edge, _)| *edge == entry) {
            world.answered(datagram, answer);
        }
    };
    answer(&mut world, 4, Answer::Carried);
    assert_eq!(world.media(), [], "another exit was quicker");
    answer(&mut world, 3, Answer::Carried);
    assert_eq!(world.media(), [(3, 0, b"a".to_vec())]);
    answer(&mut world, 1, Answer::Carried);
    world.packet(b"b");
    assert_eq!(world.media(), [(1, 1, b"b".to_vec())]);
    // A plan that leaves by the other, and whose own route there is not open yet.
    world
        .origin
        .set_legs(vec![to_target(&[&[3, 4], &[4], &[3, 2]], 0)], at(50));
    world.sent();
    world.packet(b"c");
    assert_eq!(world.media(), [(4, 2, b"c".to_vec())]);
}

#[test]
fn to_a_target_another_exit_is_better_than_none() {
    let mut world = World::new(to_target(&[&[1, 2], &[4]], 0));
    world.packet(b"a");
    world.answer(4, Answer::Carried);
    for ms in [200, 600] {
        world.now = at(ms);
        world.origin.handle_timeout(world.now);
        world.packet(b"b");
    }
    assert_eq!(
        world.media(),
        [(4, 0, b"b".to_vec()), (4, 1, b"b".to_vec())],
        "the first has waited for too long"
    );
    let mut world = World::new(to_target(&[&[1, 2], &[4]], 0));
    world.packet(b"a");
    world.answer(1, Answer::NotGranted);
    world.packet(b"b");
    world.now = at(300);
    world.origin.handle_timeout(world.now);
    world.answer(4, Answer::Carried);
    assert_eq!(world.media(), [(4, 0, b"a".to_vec()), (4, 1, b"b".to_vec())]);
}

#[test]
fn to_a_target_copies_leave_by_the_same_exit() {
    let protected = |routes: &[&[u16]]| Leg {
        protect: Protect::Always,
        ..to_target(routes, 0)
    };
    for (routes, entries) in [
        (&[&[1, 2][..], &[3, 4], &[5, 2]], &[1, 5][..]),
        (&[&[1, 2], &[3, 4], &[5, 4]], &[1]),
    ] {
        let mut world = World::carried(protected(routes));
        world.packet(b"b");
        let sent: Vec<u16> = world.media().iter().map(|(entry, ..)| *entry).collect();
        assert_eq!(sent, entries);
    }
}

#[test]
fn what_comes_back_is_delivered_once_to_whoever_sent() {
    let mut world = World::all_carried(&[&[1]], 0);
    let id = world.state().id;
    let far = Far::Agent {
        id: PEER,
        subject: "anna".into(),
    };
    let out = header(Kind::Media, ME, id, route(&[1]), &far);
    let back = RouteHeader {
        index: 0,
        ..out.back(Kind::Media as u8)
    };
    let datagram = End::new(1).wrap(back, Dscp::new(46), b"yes", at(0)).unwrap();
    world.origin.datagram(&datagram, at(10));
    world.origin.datagram(&datagram, at(11));
    let delivered = Output::Deliver {
        dscp: Dscp::new(46),
        forward: 0,
        to: local(40_000),
        flow: id,
        media: b"yes".to_vec(),
    };
    assert_eq!(world.origin.poll_output(), Some(delivered));
    assert_eq!(world.origin.poll_output(), None);
    world.origin.datagram(&datagram[..20], at(12));
    let mut others = datagram.clone();
    others[4] ^= 1;
    world.origin.datagram(&others, at(12));
    assert_eq!((world.origin.malformed, world.origin.unknown), (1, 1));
}

#[test]
fn without_a_leg_nothing_goes_and_unused_flows_end() {
    let mut world = World::new(Leg {
        class: "other".into(),
        far: Far::Target("sfu:1".into()),
        ..leg(&[&[1]], 0)
    });
    world.packet(b"a");
    assert_eq!(world.sent(), []);
    assert_eq!((world.state().undone, world.state().class), (1, None));
    world.origin.handle_timeout(Mono::ZERO + IDLE);
    assert_eq!(world.origin.states().count(), 0);
    for port in 0..MAX_FLOWS as u16 + 1 {
        world.origin.local(0, local(port), Dscp::BEST_EFFORT, b"a", at(0));
    }
    assert_eq!(world.origin.too_many, 1);
}

#[test]
fn where_to_is_said_in_one_word() {
    for text in [
        "agent:anna:5004",
        "agent:school:7:5004",
        "sfu.example:3478",
        "[2001:db8::1]:9",
    ] {
        assert_eq!(text.parse::<To>().unwrap().to_string(), text);
    }
    let anna = To::Agent {
        subject: "school:7".into(),
        port: 5004,
    };
    assert_eq!("agent:school:7:5004".parse(), Ok(anna));
    for text in [
        "",
        "sfu",
        "sfu:0",
        "sfu:65536",
        ":5",
        "agent::5",
        "agent:anna",
        "a b:5",
    ] {
        assert!(text.parse::<To>().is_err(), "{text}");
    }
}

/// What a far end says of the first route, when all up to `newest` came but those whose bit is not set.
fn receipt(world: &World, newest: u32, seen: u128) -> Vec<u8> {
    let far = Far::Agent {
        id: PEER,
        subject: "anna".into(),
    };
    let out = header(Kind::Receipt, ME, world.state().id, route(&[1]), &far);
    let header = RouteHeader {
        index: 0,
        ..out.back(Kind::Receipt as u8)
    };
    let said = crate::media::receipts::Said {
        newest,
        sent_us: (world.now - Duration::from_millis(150)).as_micros(),
        waited: Duration::from_millis(30),
        seen,
    };
    let mut datagram = Vec::new();
    Receipt { header, said }.write(&mut datagram);
    datagram
}

#[test]
fn receipts_tell_the_round_trip_and_what_was_lost_by_which_route() {
    let mut world = World::all_carried(&[&[1]], 0);
    for ms in 1..=20 {
        world.now = at(ms * 20);
        world.packet(b"a");
    }
    world.now = at(550);
    let told = receipt(&world, 20, !0b1_0000_0000);
    world.origin.datagram(&told, world.now);
    let state = world.state();
    assert_eq!(state.rtt, Some(Duration::from_millis(120)));
    assert_eq!(state.lost_there, 1);
    let there = Fates {
        there: Fate { came: 20, missed: 1 },
        ..Fates::default()
    };
    let fates = world.origin.take_fates();
    assert_eq!(
        fates.into_iter().collect::<Vec<_>>(),
        [(("math".to_owned(), route(&[1])), there)]
    );
    world.origin.datagram(&told, world.now);
    assert!(world.origin.take_fates().is_empty(), "told once");
}

#[test]
fn what_goes_twice_says_nothing_of_either_route() {
    let mut world = World::all_carried(&[&[1, 2], &[3, 4]], 0);
    let twice = Leg {
        protect: Protect::Always,
        ..leg(&[&[1, 2], &[3, 4]], 0)
    };
    world.origin.set_legs(vec![twice], at(0));
    for ms in 1..=20 {
        world.now = at(ms * 20);
        world.packet(b"a");
    }
    let told = receipt(&world, 20, 0);
    world.origin.datagram(&told, at(550));
    let fates = world.origin.take_fates();
    let all: Vec<_> = fates
        .values()
        .map(|fates| (fates.there.came, fates.there.missed))
        .collect();
    assert!(
        all.iter().all(|&(came, missed)| came + missed <= 1),
        "the first alone: {all:?}"
    );
    assert_eq!(world.state().counts.protecting, 20);
}

#[test]
fn a_flow_that_loses_most_is_held_back_until_it_is_better() {
    let mut world = World::all_carried(&[&[1]], 0);
    let seconds = |world: &mut World, from: u32, to: u32, comes: fn(u32) -> bool| {
        for n in from * 50..to * 50 {
            world.now = at(i64::from(n) * 20 + 1_000);
            world.packet(&[1; 160]);
            let last = world.state().counts.sent as u32 - 1;
            let newest = (0..=last).rev().find(|&seq| comes(seq)).unwrap();
            if n % 2 == 0 {
                let bits = (0..128).filter(|i| comes(newest.wrapping_sub(1 + i)));
                let seen = bits.fold(0, |seen, i| seen | 1 << i);
                let told = receipt(world, newest, seen);
                world.origin.datagram(&told, world.now);
            }
            world.sent();
        }
    };
    seconds(&mut world, 0, 20, |seq| seq % 2 == 0);
    assert!(!world.state().is_throttled, "half is for steering to deal with");
    seconds(&mut world, 20, 30, |seq| seq % 10 == 0);
    let held = world.state();
    assert!(held.is_throttled && held.throttled > 30, "{held:?}");
    seconds(&mut world, 30, 45, |_| true);
    let better = world.state();
    assert!(!better.is_throttled, "{better:?}");
}

#[test]
fn what_edges_would_drop_is_not_sent() {
    let mut world = World::all_carried(&[&[1]], 0);
    let slow = Leg {
        rate_kbps: 80,
        ..leg(&[&[1]], 0)
    };
    world.origin.set_legs(vec![slow], at(0));
    for ms in 0..1_000 {
        world.now = at(ms);
        world.packet(&[1; 100]);
    }
    let state = world.state();
    let bytes = (state.counts.sent - 1) * (100 + MAX_HEADER + HEAD) as u64;
    assert_eq!(state.counts.sent + state.too_fast, 1_001);
    // 80 kbit/s, and as much as comes in 400 ms at once.
    assert!((13_500..=14_000).contains(&bytes), "{bytes}");
}
