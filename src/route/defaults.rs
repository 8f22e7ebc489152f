//! Every constant of the route engine, with its reason.
//!
//! Times on the controller's scale and on the agent's are apart: the controller sees reports, seconds
//! old; the agent sees each packet.

use std::time::Duration;

// ---- what both scales share ----

/// Absolute part of the margin by which a route must be better to be worth a move. Labelled level shifts
/// in long traces of round trips have a median of 9 ms and a 75th percentile of 19: below 20 ms a
/// "better" route is mostly drift.
pub const MARGIN: Duration = Duration::from_millis(20);

/// Relative part: on a 400 ms route, 20 ms are drift too.
pub const MARGIN_SHARE: f64 = 0.10;

/// A percentile needs samples beyond it: 40 leave two above the 95th.
pub const P95_SAMPLES: usize = 40;

/// First hold-down of a route that was left in trouble. Shorter than most congestion episodes and the
/// route would be taken again in the middle of one.
pub const HOLD_DOWN: Duration = Duration::from_secs(10);

/// Longest hold-down: a route that flaps for hours costs twelve moves an hour at most.
pub const HOLD_DOWN_MAX: Duration = Duration::from_secs(300);

/// After this long without trouble the count of a route's troubles begins anew. Longer than the longest
/// hold-down, or nothing would ever be held longer than once.
pub const FLAPS_FORGOTTEN: Duration = Duration::from_secs(900);

/// Standbys beside the primary: replayed on home links, three standing routes with a live choice reach
/// 94 % of what hindsight gains; more cost probes and win little.
pub const STANDBYS: usize = 2;

// ---- link estimates (controller) ----

/// How far back windows count: a link probed once a second then has the 60 samples its percentile needs.
pub const HORIZON: Duration = Duration::from_secs(60);

/// Windows kept of a link: the horizon in the shortest regular reports, which are those of the mesh (2 s).
pub const WINDOWS: usize = 30;

/// Samples kept of a window, evenly spread over its order. 64 leave three beyond the 95th percentile.
pub const WINDOW_SAMPLES: usize = 64;

/// Points of a distribution. Two are combined by all their sums, so this number is squared.
pub const POINTS: usize = 64;

/// An estimate is unknown once its newest window is this many window lengths old: one report may be
/// late, and one lost and sent again.
pub const STALE_WINDOWS: u32 = 3;

/// Bounds of the time after which an estimate is stale: reports of 1 s may be delayed by a slow stream,
/// and idle reports come every 60 s.
pub const STALE_MIN: Duration = Duration::from_secs(15);
pub const STALE_MAX: Duration = Duration::from_secs(180);

/// The newest window in which anything was sent, with so many probes and no answer, is an outage of its
/// link: fewer may be chance.
pub const OUT_SENT: u32 = 3;

/// Consecutive windows without any answer, with so many probes in all, are an outage too, and when it is
/// over are not counted as loss: at 30 % each way, chance makes such a run once in 200.
pub const OUTAGE_SENT: u32 = 8;

/// Normal quantile of the bound below which loss is not believed: with 1.96, one probe lost of sixty
/// counts as 0.3 %, not as 1.7 %.
pub const LOSS_CONFIDENCE_Z: f64 = 1.96;

// ---- score (controller) ----

/// Share of a budget on one way up to which the bound of a one-way delay is borne: with more, what is judged
/// is more of doubt than of delay, and half of the round trip says more.
pub const BOUND_SHARE: f64 = 0.2;

/// By so much the bound must be over that before directions are not judged any more: it moves a little with
/// each window.
pub const BOUND_LEFT: f64 = 1.25;

/// Routes whose distributions are combined when a primary is chosen, which takes about 0.3 ms each; the
/// others are ranked by sums of percentiles alone, a hundred times cheaper.
pub const FINALISTS: usize = 12;

/// The same for standbys, of which only a good one is wanted and not the very best.
pub const STANDBY_FINALISTS: usize = 3;

/// Edges of a route: one relay is enough in most cases, two reach the rest.
pub const MAX_EDGES: usize = 2;

/// Points of the E-model's rating that make a difference of quality: half a band of user satisfaction
/// (the bands are 10 apart). All delays inside a budget of 200 ms lie within 3.1.
pub const QUALITY_STEP: f64 = 5.0;

/// Believed loss in one direction from which a route is as bad as one over its budget: speech at 15 % loses
/// half of its rating, which no delay of half a second does.
pub const LOSS_SPOILS: f64 = 0.15;

/// Share of an edge's capacity from which it is given to nobody new: above it queues grow fast.
pub const CROWDED: f64 = 0.80;

// ---- plans (controller) ----

/// Grain of what a plan adds to a route's round trips, and how far it must be off before the plan is made anew:
/// percentiles of a minute move by some milliseconds from report to report.
pub const ADDED_GRAIN: Duration = Duration::from_millis(5);
pub const ADDED_DEAD_BAND: Duration = Duration::from_millis(10);

/// How long a primary stays before a merely better one replaces it: three in-class reports.
pub const DWELL: Duration = Duration::from_secs(30);

/// Standard errors by which fewer of a route's samples than of the primary's must be over the budget, before
/// a breach moves a leg there: five of sixty against none pass, three do not.
pub const BREACH_Z: f64 = 2.0;

/// How long after its beginning a leg's choice is made anew, margins aside, when more routes are measured
/// than were when it was made: links are first measured one after another.
pub const SETTLING: Duration = Duration::from_secs(60);

/// How long a class keeps its meeting point: a move takes every participant along.
pub const HUB_DWELL: Duration = Duration::from_secs(60);

/// Share of the budget by which a leg's share must be off before it is set anew, so that plans do not
/// get a version a second from noise.
pub const SHARE_DEAD_BAND: f64 = 0.10;

/// Least and greatest part of a budget that one leg gets: nobody is squeezed below a quarter by a
/// far-off partner, since a share below one's own access link is a breach for ever.
pub const SHARE_MIN: f64 = 0.25;
pub const SHARE_MAX: f64 = 0.75;

/// Grain of shares: finer ones say nothing.
pub const SHARE_GRAIN: Duration = Duration::from_millis(5);

/// Probability of staying inside the budget below which a leg is at risk.
pub const AT_RISK_BELOW: f64 = 0.90;

// ---- live choice (agent) ----

/// Route probes: ten a second in class.
pub const GRID: Duration = Duration::from_millis(100);

/// Silent steps that declare an outage: two are within the reach of one lost probe and some jitter.
pub const SILENT_STEPS: u32 = 3;

/// A run of misses is an outage only if the link's known loss gives it a smaller probability than this.
pub const RUN_BY_CHANCE: f64 = 1e-3;

/// The same where the first edge of another route has just said that it finds an edge of this one silent: half of such
/// edges are dead, and the other half merely cannot be reached from there.
pub const NAMED_BY_CHANCE: f64 = 0.05;

/// For how long that counts at most, if nothing is heard of the edge meanwhile: who is dead is found so by then without it.
pub const NAMED_FOR: Duration = Duration::from_secs(1);

/// Known loss above this is not believed when runs are judged: at one half the wait is 10 steps already.
pub const KNOWN_LOSS_MAX: f64 = 0.5;

/// Half-life of known loss, in outcomes: 30 s at ten a second.
pub const KNOWN_LOSS_HALF_LIFE: f64 = 300.0;

/// Span of the live 95th percentile: 50 samples at ten a second.
pub const LIVE_SPAN: Duration = Duration::from_secs(5);

/// Time between two evaluations of it; a breach is two running.
pub const EVALUATION: Duration = Duration::from_secs(1);

/// Samples of the quick median: at ten a second a shift shows in half a second.
pub const QUICK_SAMPLES: usize = 8;

/// Newest samples whose median tells a route that has just gone bad, before [`QUICK_SAMPLES`] do. Three,
/// so that one spike does not.
pub const NEWEST_SAMPLES: usize = 3;

/// Samples of one route that arrive within this part of a grid step are one: a queue that drained shows
/// one stall, not as many as there were probes in it.
pub const BUNCH_SHARE: f64 = 0.25;

/// Steps without a sample from any route after which what was in flight is set aside: the access line
/// stood still, and the delay says nothing of the routes. Stalls of 200 ms show as 2 steps or more.
pub const ACCESS_GAP_STEPS: f64 = 1.8;

/// Good samples that a route must show before it is moved to without need.
pub const GOOD_FOR: Duration = Duration::from_secs(3);

/// Share of the probes of that time that must have been echoed in time to be samples at all.
pub const GOOD_SHARE: f64 = 0.66;

/// Time between two moves for a breach: the new route's percentiles need it.
pub const BREACH_HOLD: Duration = Duration::from_secs(5);

/// How long a route that is in use is kept beside a plan that leaves it out, until one of the plan's has samples:
/// edges let pass what goes by the grant before for a second longer.
pub const LEAVING: Duration = Duration::from_secs(2);

/// Time on a route before a merely better one is taken: the live choice must not race the controller's.
pub const LIVE_DWELL: Duration = Duration::from_secs(10);

/// Sequential test of loss (CUSUM of log likelihood ratios): loss that is borne …
pub const LOSS_BORNE: f64 = 0.01;
/// … against loss that is fled.
pub const LOSS_FLED: f64 = 0.12;

/// Its threshold at ten outcomes a second. By simulation: at a steady 1 % of random loss it is passed
/// once in 29 hours; at 10 % after a median of 6.2 s, at 30 % of 1.6 s, on probes alone. Media has a test for
/// each way, whose threshold grows by the logarithm of the rate, which holds the false alarms per hour where they
/// are, and by that of two, so that both together give as many as one.
pub const LOSS_THRESHOLD: f64 = 10.5;

/// Evidence is kept to this multiple of its threshold: above one, so that an alarm lasts until there is
/// somewhere to go; not far above, so that a route that has healed is clean (below half) in six seconds.
pub const EVIDENCE_CAP: f64 = 1.25;

/// Misses within one grid step that count in the test: a burst of media lost within 100 ms is one
/// event and not a dozen.
pub const MISSES_A_STEP: u32 = 2;

/// Outcomes come late: for this long after an outage or a stall of the access line, misses are taken to
/// be of that time, and not to be loss.
pub const OUTCOME_LAG: Duration = Duration::from_secs(2);

/// Loss from which a route is left even for one over the budget: no concealment copes with it.
pub const LOSS_HEAVY: f64 = 0.25;

/// The same test on samples over the budget, beside the 95th percentile: with 1 % of spikes, three of 50
/// samples are over by chance about thirty times an hour.
pub const OVER_BORNE: f64 = 0.02;
pub const OVER_FLED: f64 = 0.10;

/// Its threshold: 1 % of spikes pass it less than once in ten hours, 20 % over the budget after 2.6 s.
pub const OVER_THRESHOLD: f64 = 6.5;
