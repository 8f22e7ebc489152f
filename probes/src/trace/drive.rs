//! The driver: opens sockets, sends what the core asks for, hands it what comes back.

use std::{io, net::IpAddr, ops::ControlFlow, time::Duration};

use super::{
    Clocks, Plan, PlanError, Step, Tracer,
    packet::Flow,
    probe::{Answer, Probe, Protocol},
    socket::{Channel, Method, Refused},
    sys,
};
use crate::{Mono, Wall};

/// The longest sleep: how soon a caller that wants to stop is heard.
const LOOK: Duration = Duration::from_millis(100);
/// The kernel's stamps are of the wall clock. One that makes an answer older than this is not of the same
/// clock any more.
const MAX_AGE: Duration = Duration::from_secs(1);

/// What is to be traced.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub target: IpAddr,
    pub rounds: u32,
    pub interval: Duration,
    pub max_hops: u8,
    /// The first that works of [`Method::ALL`] if none is given.
    pub method: Option<Method>,
    /// Of UDP probes.
    pub port: u16,
    /// Random: tells this trace's probes from others'.
    pub seed: u64,
}

/// A trace could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("no way to send probes: {}", list(.0))]
    NoMethod(Vec<Refused>),
    #[error("cannot send to {target}")]
    Send {
        target: IpAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot wait for answers")]
    Wait(#[source] io::Error),
}

pub(super) fn list(refused: &[Refused]) -> String {
    let texts: Vec<_> = refused.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// A trace with its sockets.
#[derive(Debug)]
pub struct Tracing {
    tracer: Tracer,
    main: Channel,
    echo: Option<Channel>,
    refused: Vec<Refused>,
}

impl Tracing {
    /// Opens the sockets; sends nothing yet.
    pub fn open(wanted: &Wanted) -> Result<Self, TraceError> {
        let [a, b, c, d, e, f, g, h] = wanted.seed.to_be_bytes();
        let flow = Flow {
            target: wanted.target,
            token: u32::from_be_bytes([a, b, c, d]),
            identifier: u16::from_be_bytes([e, f]),
        };
        let mut refused = Vec::new();
        let mut first_of = |methods: &[Method]| {
            methods.iter().find_map(|&method| {
                Channel::open(method, flow, wanted.port)
                    .map_err(|why| refused.push(why))
                    .ok()
            })
        };
        let main = match wanted.method {
            Some(method) => first_of(&[method]),
            None => first_of(&Method::ALL),
        };
        // Echo requests beside UDP, for an end that says little to UDP.
        let beside_udp = wanted.method.is_none() && main.as_ref().is_some_and(|c| c.method() == Method::Udp);
        let echo = if beside_udp {
            first_of(&[Method::Icmp, Method::Raw])
        } else {
            None
        };
        let Some(main) = main else {
            let no_route = |r: &Refused| r.error.kind() == io::ErrorKind::NetworkUnreachable;
            // Not for want of a method: there is no way there at all.
            return Err(match refused.iter().position(no_route) {
                Some(index) => TraceError::Send {
                    target: wanted.target,
                    source: refused.swap_remove(index).error,
                },
                None => TraceError::NoMethod(refused),
            });
        };
        let plan = Plan {
            target: wanted.target,
            rounds: wanted.rounds,
            interval: wanted.interval,
            max_hops: wanted.max_hops,
            protocol: main.method().protocol(),
            echo: echo.is_some(),
        };
        let tracer = Tracer::new(plan, u16::from_be_bytes([g, h]))?;
        Ok(Self {
            tracer,
            main,
            echo,
            refused,
        })
    }

    /// What is known so far.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// By what probes go out now.
    pub fn method(&self) -> Method {
        self.channel(self.tracer.protocol()).method()
    }

    /// By what the end may be asked again, if that is something else.
    pub fn echo_method(&self) -> Option<Method> {
        self.echo.as_ref().map(Channel::method)
    }

    /// What was tried and is not possible here.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Runs to the end, or until `look`, called at least ten times a second, breaks off.
    pub fn run(
        &mut self,
        clocks: &impl Clocks,
        mut look: impl FnMut(&Self) -> ControlFlow<()>,
    ) -> Result<(), TraceError> {
        let mut ever_sent = false;
        while look(self).is_continue() {
            let now = clocks.mono();
            match self.tracer.poll(now) {
                Step::Done => break,
                Step::Send(probe) => match self.send(probe) {
                    // Read before the call it would count the socket's own time too; after it the answer
                    // may be here already, stamped by the kernel: the earlier is the safe side.
                    Ok(()) => {
                        ever_sent = true;
                        self.tracer.sent(probe, now);
                    }
                    Err(source) if !ever_sent => {
                        let target = self.tracer.plan().target;
                        return Err(TraceError::Send { target, source });
                    }
                    Err(_) => self.tracer.not_sent(probe, now),
                },
                Step::Wait(until) => {
                    let fds = [Some(self.main.fd()), self.echo.as_ref().map(Channel::fd)];
                    sys::wait(fds, until.since(now).min(LOOK)).map_err(TraceError::Wait)?;
                }
            }
            self.receive(clocks);
        }
        Ok(())
    }

    fn send(&self, probe: Probe) -> io::Result<()> {
        self.channel(probe.protocol).send(probe)
    }

    fn channel(&self, protocol: Protocol) -> &Channel {
        match &self.echo {
            Some(echo) if protocol != self.main.method().protocol() => echo,
            _ => &self.main,
        }
    }

    fn receive(&mut self, clocks: &impl Clocks) {
        let (now, wall) = (clocks.mono(), clocks.wall());
        let mut arrived: Vec<(Mono, Answer)> = Vec::new();
        for channel in [Some(&self.main), self.echo.as_ref()].into_iter().flatten() {
            channel.receive(|answer, stamp| arrived.push((arrival(stamp, now, wall), answer)));
        }
        arrived.sort_by_key(|(at, _)| *at);
        for (at, answer) in arrived {
            self.tracer.answer(answer, at);
        }
    }
}

/// When an answer arrived: its stamp as an age, if that makes sense. Between the stamp and now this
/// process may have waited for its turn.
pub(super) fn arrival(stamp_ns: Option<i64>, now: Mono, wall: Wall) -> Mono {
    let age = stamp_ns
        .and_then(|ns| wall.as_micros().checked_mul(1_000)?.checked_sub(ns))
        .and_then(|ns| u64::try_from(ns).ok())
        .map(Duration::from_nanos)
        .filter(|age| *age < MAX_AGE);
    now - age.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_ages_if_they_make_sense() {
        let (now, wall) = (Mono::from_millis(5_000), Wall::from_secs(1_000));
        let table = [
            (None, 5_000),
            (Some(999_990_000_000), 4_990),
            (Some(1_000_000_000_000), 5_000),
            // The clock was set in between.
            (Some(1_007_000_000_000), 5_000),
            (Some(990_000_000_000), 5_000),
            (Some(i64::MIN), 5_000),
        ];
        for (stamp, wanted) in table {
            assert_eq!(arrival(stamp, now, wall), Mono::from_millis(wanted), "{stamp:?}");
        }
    }
}
