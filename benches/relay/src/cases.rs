//! What is measured: loads, and what they are sent through.

use crate::{
    load::Load,
    world::System::{
        self, Bare, BareTrunk, Coturn, DirectQuic, DirectUdp, Edge, Exit, First, Forward, Middle, Second,
    },
};

/// What a case is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Cpu,
    Delay,
}

#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub shows: Shows,
    pub load: Load,
    pub systems: &'static [System],
}

impl Case {
    /// The bare relay that does the same.
    pub fn bare(&self) -> System {
        let trunk = self.systems.contains(&BareTrunk);
        if trunk { BareTrunk } else { Bare }
    }
}

const RELAYS: &[System] = &[Edge, Bare, Exit, Coturn, Forward];

const fn access(name: &'static str, flows: u16, payload: usize) -> Case {
    Case {
        name,
        shows: Shows::Cpu,
        load: Load {
            flows,
            rate: 500,
            payload,
        },
        systems: RELAYS,
    }
}

pub const CASES: &[Case] = &[
    access("access, 200 B", 100, 200),
    access("access, 1,100 B", 100, 1_100),
    access("access, 10 flows", 10, 200),
    access("access, 1 flow", 1, 200),
    Case {
        name: "trunk",
        shows: Shows::Cpu,
        load: Load {
            flows: 100,
            rate: 500,
            payload: 200,
        },
        systems: &[Middle, BareTrunk],
    },
    // Two edges and the generator want three processors: fewer packets.
    Case {
        name: "two edges",
        shows: Shows::Cpu,
        load: Load {
            flows: 100,
            rate: 200,
            payload: 200,
        },
        systems: &[First, Second, Bare],
    },
    Case {
        name: "delay",
        shows: Shows::Delay,
        load: Load {
            flows: 100,
            rate: 200,
            payload: 200,
        },
        systems: &[DirectQuic, Edge, Bare, DirectUdp, Exit, Coturn, Forward],
    },
];

/// What the edge shall not exceed.
#[derive(Debug)]
pub struct Goal {
    pub case: &'static str,
    pub what: &'static str,
    pub system: System,
    pub figure: Figure,
    pub at_most: f64,
}

/// Of a case, by its name in it.
#[derive(Debug, Clone, Copy)]
pub enum Figure {
    /// In µs.
    CpuOfOne,
    /// In µs, beyond what the same packets take without a relay.
    AddedP50,
    AddedP99,
}

pub const GOALS: &[Goal] = &[
    Goal {
        case: "access, 200 B",
        what: "CPU, µs a packet",
        system: Edge,
        figure: Figure::CpuOfOne,
        at_most: 12.0,
    },
    Goal {
        case: "trunk",
        what: "CPU, µs a datagram",
        system: Middle,
        figure: Figure::CpuOfOne,
        at_most: 3.0,
    },
    Goal {
        case: "delay",
        what: "added delay, p50, µs",
        system: Edge,
        figure: Figure::AddedP50,
        at_most: 150.0,
    },
    Goal {
        case: "delay",
        what: "added delay, p99, µs",
        system: Edge,
        figure: Figure::AddedP99,
        at_most: 500.0,
    },
];
