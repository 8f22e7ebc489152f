//! The driver: moves packets between the nodes' devices and the [`Network`], on time.
//!
//! One thread does it all: it waits for packets, requests, signals and due times in one `ppoll`. It
//! sleeps until shortly before a packet is due and polls without sleeping from there, so that it is
//! punctual near a packet and idle otherwise.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use corridor_probes::Mono;

use crate::{
    awake::Awake,
    config::Config,
    control::{NodeStatus, Requests, Server, Status},
    gateway::{Gateway, Refused},
    model::Cause,
    netns::{Device, NetnsError, Run},
    network::{Event, Network, NodeIx, Place},
    packet::Head,
    recorder::{Message, Outcome, Recorder},
    settings::Settings,
    sys,
};

mod answer;

/// How long before a packet is due sleeping ends: what a timer may be late on a busy machine.
const SPIN: Duration = Duration::from_micros(60);
/// Packets read from one device, and packets written, before the others get their turn.
const BATCH: usize = 16;
/// Events are handed to the recorder after this many, or this long.
const FLUSH_EVENTS: usize = 512;
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// The largest IP packet.
const MAX_PACKET: usize = 65_535;
/// In the middle of the real-time range: before all ordinary work, after the kernel's own threads.
const PRIORITY: i32 = 50;

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// Part of the namespaces' names; letters and digits.
    pub run_id: String,
    /// Where the control socket goes; beside the run's lock if absent.
    pub control: Option<PathBuf>,
    /// The packet log.
    pub log: Option<PathBuf>,
    /// End when standard input does, and end what still runs in the namespaces then: for tests, so that
    /// nothing outlives them however they die.
    pub exit_with_stdin: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("cannot use {path}")]
    Path {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the device of node `{node}` failed")]
    Device {
        node: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot wait for packets")]
    System(#[from] io::Error),
}

/// A world that is set up: namespaces, devices, control socket.
#[derive(Debug)]
pub struct Emulator {
    config: Arc<Config>,
    settings: BTreeMap<Place, Settings>,
    network: Network<Box<[u8]>>,
    devices: Vec<Device>,
    /// Of the nodes that have one.
    gateways: BTreeMap<NodeIx, Gateway>,
    /// What the kernel had dropped at the last reset.
    dropped_before: u64,
    outside: Outside,
    recorder: Recorder,
    messages: Sender<Message>,
    events: Vec<Event>,
    flush_at: Option<Mono>,
    punctuality: Punctuality,
    buffer: Vec<u8>,
    /// Last, so that the devices are closed before their namespaces are deleted.
    run: Run,
}

/// What tells the emulator to do something, besides packets.
#[derive(Debug)]
struct Outside {
    requests: Requests,
    control: PathBuf,
    signals: OwnedFd,
    stdin: Option<io::Stdin>,
}

/// What was done about lateness, and what could not be.
#[derive(Debug)]
struct Punctuality {
    awake: Option<Awake>,
    realtime: io::Result<()>,
    memory: io::Result<()>,
}

enum Turn {
    GoOn,
    End,
}

impl Emulator {
    pub fn start(config: Config, options: &Options) -> Result<Self, EmulatorError> {
        let config = Arc::new(config);
        let signals = sys::signals(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
        let log = options.log.as_deref().map(create).transpose()?;
        let mut run = Run::claim(&options.run_id, options.exit_with_stdin)?;
        let mut devices = Vec::new();
        for node in &config.nodes {
            devices.push(run.add(&node.name, &node.addresses, node.mtu)?);
        }
        let control = options.control.clone().unwrap_or_else(|| run.default_socket());
        let requests = Server::start(&control).map_err(|source| EmulatorError::Path {
            path: control.clone(),
            source,
        })?;
        let (recorder, messages) = Recorder::start(Arc::clone(&config), log)?;
        Ok(Self {
            network: network(&config),
            settings: config.places.clone(),
            devices,
            gateways: gateways(&config),
            dropped_before: 0,
            outside: Outside {
                requests,
                control,
                signals,
                stdin: options.exit_with_stdin.then(io::stdin),
            },
            recorder,
            messages,
            events: Vec::with_capacity(FLUSH_EVENTS),
            flush_at: None,
            punctuality: Punctuality {
                awake: config.keep_awake.then(Awake::start).transpose()?,
                // Last, so that the threads started above stay ordinary ones.
                realtime: sys::realtime(PRIORITY),
                memory: sys::lock_memory(),
            },
            buffer: vec![0; MAX_PACKET],
            config,
            run,
        })
    }

    pub fn control_socket(&self) -> &Path {
        &self.outside.control
    }

    /// What runs, and what its links do.
    pub fn status(&self) -> Status {
        let nodes = self.config.nodes.iter().map(|node| {
            let status = NodeStatus {
                namespace: self.run.namespace(&node.name),
                addresses: node.addresses.clone(),
            };
            (node.name.clone(), status)
        });
        let settings = self
            .settings
            .iter()
            .filter(|(_, settings)| **settings != Settings::default());
        Status {
            run: self.run.id().to_owned(),
            pid: std::process::id(),
            seed: self.config.seed,
            realtime: self.punctuality.realtime.is_ok(),
            memory_locked: self.punctuality.memory.is_ok(),
            nodes: nodes.collect(),
            settings: settings
                .map(|(&place, settings)| (self.config.describe(place), settings.clone()))
                .collect(),
        }
    }

    /// Why this process is not as punctual as it could be.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Err(error) = &self.punctuality.realtime {
            warnings.push(format!("no real-time priority: {error}"));
        }
        if let Err(error) = &self.punctuality.memory {
            warnings.push(format!("memory is not locked: {error}"));
        }
        warnings
    }

    /// Runs until told to quit, or until SIGINT, SIGTERM or SIGHUP.
    pub fn run(mut self) -> Result<Outcome, EmulatorError> {
        let mut fds: Vec<_> = self
            .devices
            .iter()
            .map(|device| sys::poll_in(device.tun.as_fd()))
            .collect();
        let first_other = fds.len();
        fds.push(sys::poll_in(self.outside.requests.wake().as_fd()));
        fds.push(sys::poll_in(self.outside.signals.as_fd()));
        if let Some(stdin) = &self.outside.stdin {
            fds.push(sys::poll_in(stdin.as_fd()));
        }
        loop {
            let timeout = self.timeout(sys::mono_now());
            sys::poll(&mut fds, timeout)?;
            let (device_fds, others) = fds.split_at(first_other);
            for (i, fd) in (0u16..).zip(device_fds) {
                if fd.revents != 0 {
                    self.read(NodeIx(i), BATCH)?;
                }
            }
            self.write_due();
            if let Some(awake) = &mut self.punctuality.awake {
                awake.rest(sys::mono_now());
            }
            if others[0].revents != 0
                && let Turn::End = self.answer()?
            {
                break;
            }
            if others[1].revents != 0 || others.get(2).is_some_and(|fd| fd.revents != 0) && self.stdin_ended()
            {
                break;
            }
            self.flush_when_due();
        }
        self.flush();
        let Self {
            recorder, messages, ..
        } = self;
        drop(messages);
        Ok(recorder.join()?)
    }

    fn timeout(&self, now: Mono) -> Option<Duration> {
        let wake = self.network.next_due().map(|due| due - SPIN);
        let rest = self.punctuality.awake.as_ref().and_then(Awake::until);
        let first = [wake, self.flush_at, rest].into_iter().flatten().min()?;
        Some(first.since(now))
    }

    /// Reads what `node` sent, at most so many packets.
    fn read(&mut self, node: NodeIx, at_most: usize) -> Result<(), EmulatorError> {
        for _ in 0..at_most {
            let mut tun = &self.devices[usize::from(node.0)].tun;
            let n = match tun.read(&mut self.buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => {
                    let node = self.config.name(node).to_owned();
                    return Err(EmulatorError::Device { node, source });
                }
            };
            let now = sys::mono_now();
            let packet = &mut self.buffer[..n];
            if let Some(awake) = &mut self.punctuality.awake {
                awake.traffic(now);
            }
            let Some(head) = Head::parse(packet) else { continue };
            match self
                .gateways
                .get_mut(&node)
                .map(|gateway| gateway.outbound(now, packet))
            {
                None | Some(Ok(())) => self.network.enter(now, node, head, (&*packet).into()),
                Some(Err(Refused)) => self.network.refuse(now, node, head),
            }
        }
        Ok(())
    }

    fn write_due(&mut self) {
        let mut now = sys::mono_now();
        for _ in 0..BATCH {
            let Some(mut departure) = self.network.leave(now) else {
                break;
            };
            let mut tun = &self.devices[usize::from(departure.tag.to.0)].tun;
            let at = sys::mono_now();
            let (tag, due) = (departure.tag, departure.due);
            let gateway = self.gateways.get_mut(&tag.to);
            let passed = gateway.map_or(Ok(()), |gateway| gateway.inbound(at, &mut departure.payload));
            // In order: what the network saw before this departure comes first.
            self.network.take_events(&mut self.events);
            self.events
                .push(match passed.map(|()| tun.write(&departure.payload)) {
                    Ok(Ok(_)) => Event::Left { tag, due, at },
                    Ok(Err(_)) => Event::Lost(tag, Cause::Device),
                    Err(Refused) => Event::Lost(tag, Cause::Gateway),
                });
            now = at;
        }
        self.network.take_events(&mut self.events);
    }

    fn stdin_ended(&self) -> bool {
        let mut bytes = [0; 256];
        matches!(io::stdin().read(&mut bytes), Ok(0) | Err(_))
    }

    fn flush_when_due(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let now = sys::mono_now();
        match self.flush_at {
            Some(at) if at <= now || self.events.len() >= FLUSH_EVENTS => self.flush(),
            Some(_) => {}
            None => self.flush_at = Some(now + FLUSH_AFTER),
        }
    }

    fn flush(&mut self) {
        self.flush_at = None;
        self.network.take_events(&mut self.events);
        if !self.events.is_empty() {
            let events = std::mem::replace(&mut self.events, Vec::with_capacity(FLUSH_EVENTS));
            self.send(Message::Events(events));
        }
    }

    fn send(&self, message: Message) {
        // The recorder ends after this loop; should it have panicked, joining it will say so.
        let _ = self.messages.send(message);
    }
}

fn network(config: &Config) -> Network<Box<[u8]>> {
    let addresses = (0u16..)
        .zip(&config.nodes)
        .flat_map(|(i, node)| {
            // Behind a translator only the public address can be reached.
            let addresses = match node.nat {
                Some(nat) => vec![nat.public.into()],
                None => node.addresses.clone(),
            };
            addresses.into_iter().map(move |address| (address, NodeIx(i)))
        })
        .collect();
    let pipes = config
        .places
        .iter()
        .filter_map(|(&place, settings)| settings.impairment().ok().map(|impairment| (place, impairment)));
    Network::new(addresses, pipes, config.seed)
}

fn gateways(config: &Config) -> BTreeMap<NodeIx, Gateway> {
    (0u16..)
        .zip(&config.nodes)
        .filter(|(_, node)| node.nat.is_some() || !node.only_ports.is_empty())
        .map(|(i, node)| (NodeIx(i), Gateway::new(node.only_ports.clone(), node.nat)))
        .collect()
}

fn create(path: &Path) -> Result<File, EmulatorError> {
    File::create(path).map_err(|source| EmulatorError::Path {
        path: path.to_owned(),
        source,
    })
}
