//! One measurement: packets at a steady rate over some flows, evenly spread, and what became of them.

use std::{fs, time::Duration};

use anyhow::{Context as _, bail};

use crate::{
    clock::{Ticks, now_ns},
    meter::fill,
    process::Usage,
    world::{System, Ways, World},
};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_micros(100);
/// What is later is not sent any more: a generator that was kept from running makes no burst of it.
const LATE: u64 = 5_000_000;
/// Before the window, and after it for what is under way.
const WARM_UP: Duration = Duration::from_millis(800);
const DRAIN: Duration = Duration::from_millis(300);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub flows: u16,
    /// Packets of one flow a second.
    pub rate: u32,
    /// Bytes.
    pub payload: usize,
}

impl Load {
    pub fn offered(&self) -> f64 {
        f64::from(self.flows) * f64::from(self.rate)
    }
}

/// What became of it within a window.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Seconds.
    pub window: f64,
    pub sent: u64,
    pub arrived: u64,
    /// The relay's, and this process's own.
    pub relay: Usage,
    pub own: Usage,
    /// Of the whole machine.
    pub processors: Processors,
    /// UDP packets that QUIC ends here sent to the relay, and got from it.
    pub packets: Packets,
    /// Of delays, in ns.
    pub p50: u32,
    pub p99: u32,
}

impl Figures {
    /// Of one processor, in percent.
    pub fn share(&self, cpu: u64) -> f64 {
        100.0 * cpu as f64 / 1e9 / self.window
    }

    /// What neither the relay nor this process took, in percent of one processor.
    pub fn rest(&self) -> f64 {
        let busy = self.processors.busy as f64 * 1e9 / TICKS;
        let rest = busy - (self.relay.cpu + self.own.cpu) as f64;
        (100.0 * rest / 1e9 / self.window).max(0.0)
    }
}

/// Linux counts processors' time in hundredths of a second on all that we run on.
const TICKS: f64 = 100.0;

/// What the processors did, in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Processors {
    busy: u64,
    idle: u64,
}

impl Processors {
    pub fn read() -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        Self::parse(&stat).context("no processors in /proc/stat")
    }

    /// proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests' are in user's.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).flat_map(str::parse).collect();
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Self {
            busy: ticks.iter().sum::<u64>() - idle,
            idle,
        })
    }

    pub const fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            idle: self.idle.saturating_sub(before.idle),
        }
    }

    /// In percent of all.
    pub fn idle(self) -> f64 {
        100.0 * self.idle as f64 / (self.idle + self.busy) as f64
    }
}

/// Of QUIC connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packets {
    pub out: u64,
    pub back: u64,
}

impl Packets {
    fn of(ways: &Ways) -> Self {
        let mut all = Self::default();
        for connection in ways.connections.iter().chain(&ways.kept) {
            let stats = connection.stats();
            all.out += stats.udp_tx.datagrams;
            all.back += stats.udp_rx.datagrams;
        }
        all
    }

    const fn since(self, before: Self) -> Self {
        Self {
            out: self.out - before.out,
            back: self.back - before.back,
        }
    }
}

/// What is read at both ends of the window.
struct Reading {
    at: u64,
    relay: Usage,
    own: Usage,
    processors: Processors,
    packets: Packets,
}

impl Reading {
    fn take(world: &mut World, system: System, ways: &Ways) -> anyhow::Result<Self> {
        Ok(Self {
            at: now_ns(),
            relay: world.usage(system)?,
            own: Usage::of("self")?,
            processors: Processors::read()?,
            packets: Packets::of(ways),
        })
    }
}

/// Sends `load` through `system` for `window` and a bit.
pub async fn measure(
    world: &mut World,
    system: System,
    load: Load,
    window: Duration,
) -> anyhow::Result<Figures> {
    let ways = world.ways(system, load.flows).await?;
    tokio::time::sleep(DRAIN).await;
    let begin = now_ns();
    let from = begin + WARM_UP.as_nanos() as u64;
    let to = from + window.as_nanos() as u64;
    world.meter.begin(load.payload, from, to);
    let every = 1e9 / load.offered();
    let ticks = Ticks::every(TICK)?;
    let mut payload = vec![0; load.payload];
    let (mut next, mut sent, mut before) = (0u64, 0, None);
    let after = loop {
        ticks.next().await?;
        let now = now_ns();
        if now >= from && before.is_none() {
            before = Some(Reading::take(world, system, &ways)?);
        }
        if now >= to {
            break Reading::take(world, system, &ways)?;
        }
        loop {
            let due = begin + (next as f64 * every) as u64;
            if due > now {
                break;
            }
            let flow = (next % u64::from(load.flows)) as u16;
            next += 1;
            if now - due > LATE {
                continue;
            }
            let at = now_ns();
            fill(&mut payload, flow, at);
            if ways.flows[usize::from(flow)].send(&payload) && (from..to).contains(&at) {
                sent += 1;
            }
        }
    };
    tokio::time::sleep(DRAIN).await;
    let Some(before) = before else {
        bail!("this machine stood still through a whole measurement");
    };
    let mut arrived = world.meter.take();
    if arrived.damaged > 0 {
        bail!(
            "{} packets through {system:?} arrived other than they were sent",
            arrived.damaged
        );
    }
    Ok(Figures {
        window: (after.at - before.at) as f64 / 1e9,
        sent,
        arrived: arrived.packets,
        relay: after.relay.since(before.relay),
        own: after.own.since(before.own),
        processors: after.processors.since(before.processors),
        packets: after.packets.since(before.packets),
        p50: quantile(&mut arrived.delays, 0.5),
        p99: quantile(&mut arrived.delays, 0.99),
    })
}

/// 0 of none.
fn quantile(values: &mut [u32], q: f64) -> u32 {
    if values.is_empty() {
        return 0;
    }
    let at = ((values.len() - 1) as f64 * q).round() as usize;
    *values.select_nth_unstable(at).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let read = Processors::parse("cpu  10 1 20 300 5 2 3 4 7 0\ncpu0 5 5\n").unwrap();
        assert_eq!((read.busy, read.idle), (40, 305));
        assert!(Processors::read().unwrap().idle > 0);
    }

    #[test]
    fn quantiles_are_values() {
        let mut values: Vec<u32> = (0..=100).rev().collect();
        assert_eq!(
            (quantile(&mut values, 0.5), quantile(&mut values, 0.99)),
            (50, 99)
        );
        assert_eq!(quantile(&mut [], 0.5), 0);
    }
}
