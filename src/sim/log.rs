//! What happens in a world, line by line in virtual time: a tracing layer that collects.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

/// The target under which agents tell of each window that they close.
const WINDOWS: &str = "corridor::window";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Since the log began.
    pub at: Duration,
    pub level: Level,
    /// The service: `controller`, `agent NAME`, `edge ID`; empty where none is known.
    pub who: String,
    pub message: String,
    pub fields: BTreeMap<&'static str, String>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            level,
            who,
            message,
            fields,
        } = self;
        write!(f, "{:>12.3} {level:<5} {who}: {message}", at.as_secs_f64())?;
        for (name, value) in fields {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

/// Counts of the windows that one agent closed in one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub slots: u64,
    pub sent: u64,
    pub received: u64,
    pub lost_up: u64,
    pub lost_down: u64,
    pub late: u64,
    pub lost_unknown: u64,
}

/// A log. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    origin: Instant,
    entries: Vec<Entry>,
    closed: BTreeMap<(String, String), Tally>,
}

/// A log is collected while this lives.
#[must_use = "what happens after this is dropped is not collected"]
pub struct Collecting(#[expect(dead_code, reason = "held for its drop")] tracing::subscriber::DefaultGuard);

impl fmt::Debug for Collecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collecting")
    }
}

impl Log {
    /// Begins to collect what this thread logs: from INFO upwards, and the windows that agents close.
    #[expect(clippy::disallowed_methods, reason = "the simulation's time is tokio's clock")]
    pub fn collect() -> (Self, Collecting) {
        let log = Self(Arc::new(Mutex::new(Lines {
            origin: Instant::now(),
            entries: Vec::new(),
            closed: BTreeMap::new(),
        })));
        let filter = Targets::new()
            .with_target("corridor", Level::INFO)
            .with_target(WINDOWS, Level::DEBUG)
            .with_default(Level::WARN);
        let layer = Collector(log.clone()).with_filter(filter);
        let subscriber = tracing_subscriber::registry().with(layer);
        let guard = tracing::subscriber::set_default(subscriber);
        (log, Collecting(guard))
    }

    /// All lines so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// Adds a line.
    #[expect(clippy::disallowed_methods, reason = "the simulation's time is tokio's clock")]
    pub fn note(&self, message: String) {
        let mut lines = self.lock();
        let at = Instant::now().saturating_duration_since(lines.origin);
        lines.entries.push(Entry {
            at,
            level: Level::INFO,
            who: "scenario".to_owned(),
            message,
            fields: BTreeMap::new(),
        });
    }

    /// What agents closed, by subject and session.
    pub fn closed(&self) -> BTreeMap<(String, String), Tally> {
        self.lock().closed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Collector(Log);

/// What a span says of the service in it.
struct Who(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut who = attributes.metadata().name().to_owned();
        for value in fields.0.values() {
            let _ = write!(who, " {value}");
        }
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Who(who));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the simulation's time is tokio's clock")]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut fields = fields.0;
        let who = context
            .event_span(event)
            .and_then(|span| span.extensions().get::<Who>().map(|w| w.0.clone()))
            .unwrap_or_default();
        let mut lines = self.0.lock();
        if event.metadata().target() == WINDOWS {
            let count = |name: &str| fields.get(name).and_then(|v| v.parse().ok()).unwrap_or(0);
            let key = (
                who.trim_start_matches("agent ").to_owned(),
                fields.get("session").cloned().unwrap_or_default(),
            );
            let tally = lines.closed.entry(key).or_default();
            tally.slots += count("slots");
            tally.sent += count("sent");
            tally.received += count("received");
            tally.lost_up += count("lost_up");
            tally.lost_down += count("lost_down");
            tally.late += count("late");
            tally.lost_unknown += count("lost_unknown");
            return;
        }
        let message = fields.remove("message").unwrap_or_default();
        let at = Instant::now().saturating_duration_since(lines.origin);
        lines.entries.push(Entry {
            at,
            level: *event.metadata().level(),
            who,
            message,
            fields,
        });
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
