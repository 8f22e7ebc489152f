//! What an action does, in one line for people.

use std::time::Duration;

use super::text::{Between, Do, Link, Span};

/// What `action` does, and for how long if that is known.
pub(super) fn what(action: &Do, lasts: Option<Duration>) -> String {
    let mut text = sentence(action);
    if let Some(lasts) = lasts {
        text.push_str(&format!(" for {}", span(lasts)));
    }
    text
}

fn sentence(action: &Do) -> String {
    if let Some(name) = &action.kill {
        format!("{name} is killed")
    } else if let Some(name) = &action.start {
        format!("{name} starts")
    } else if let Some(link) = &action.link {
        changed(link)
    } else if let Some([a, b]) = &action.heal {
        format!("the link between {a} and {b} is healed")
    } else if let Some(name) = &action.cut {
        format!("{name} is cut off the network")
    } else if let Some(name) = &action.join {
        format!("{name} is back on the network")
    } else if let Some(stall) = &action.stall {
        let lasts = span(stall.lasts.0);
        format!("the line of {} stands still for {lasts}", stall.machine)
    } else if let Some(sleep) = &action.sleep {
        format!("{} sleeps for {}", sleep.machine, span(sleep.lasts.0))
    } else if let Some(step) = &action.step_clock {
        let by = span(Duration::from_micros(step.by.us.unsigned_abs()));
        let way = if step.by.us < 0 { "back" } else { "ahead" };
        format!("the clock of {} is set {by} {way}", step.machine)
    } else if let Some(address) = &action.address {
        format!("{} moves to the address {}", address.machine, address.to)
    } else if let Some(name) = &action.rebind_nat {
        format!("the NAT of {name} forgets it")
    } else if let Some(every) = action.probing {
        if every.0.is_zero() {
            "agents probe as often as they would".to_owned()
        } else {
            format!("agents probe once in {}", span(every.0))
        }
    } else if let Some(class) = &action.create {
        let who: Vec<_> = class.who.keys().map(String::as_str).collect();
        format!("class {} begins: {}", class.id, who.join(", "))
    } else if let Some(class) = &action.end {
        format!("class {class} ends")
    } else if let Some(edge) = &action.drain {
        format!("{edge} drains")
    } else if let Some(talk) = &action.talk {
        let [from, to] = &talk.between;
        format!("{from} talks to {to} in class {}", talk.class)
    } else {
        "nothing happens".to_owned()
    }
}

/// What is new about a link. Delay is told as it adds to the round trip.
fn changed(link: &Between) -> String {
    let Between {
        between: [a, b],
        both,
        there,
        back,
    } = link;
    let added = |own: &Link| own.add_delay.or(both.add_delay).unwrap_or_default().0;
    let added = added(there).saturating_add(added(back));
    let mut parts = Vec::new();
    if !added.is_zero() {
        parts.push(format!("+{}", span(added)));
    }
    parts.extend(shape(both, ""));
    parts.extend(shape(there, &format!(" from {a} to {b}")));
    parts.extend(shape(back, &format!(" from {b} to {a}")));
    format!("{} between {a} and {b}", parts.join(", "))
}

/// All but the delay that is added.
fn shape(link: &Link, way: &str) -> Vec<String> {
    let Link {
        delay,
        add_delay: _,
        jitter,
        loss,
        rate_kbps,
        blackhole,
        duplicate,
        reorder,
        reorder_by: _,
    } = *link;
    let of = |what: &str, d: Option<Span>| d.map(|d| format!("{what} of {}{way}", span(d.0)));
    let share = |what: &str, share: Option<f64>| {
        let percent = share? * 1e2;
        Some(format!("{} % {what}{way}", (percent * 10.0).round() / 10.0))
    };
    let passes = blackhole.map(|b| if b { "nothing passes" } else { "packets pass" });
    [
        passes.map(|p| format!("{p}{way}")),
        of("a delay", delay),
        of("a jitter", jitter),
        share("loss", loss),
        rate_kbps.map(|kbps| format!("{kbps} kbit/s{way}")),
        share("duplicates", duplicate),
        share("reordered", reorder),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `150 ms`, `40 s`, `1m 30s`.
fn span(d: Duration) -> String {
    match (d.as_secs(), d.subsec_nanos()) {
        (0, _) => format!("{} ms", d.as_micros() as f64 / 1e3),
        (s @ 1..=60, 0) => format!("{s} s"),
        _ => humantime::format_duration(d).to_string(),
    }
}
