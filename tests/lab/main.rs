//! Real processes in network namespaces, joined by the link emulator. Needs root and TUN devices, and
//! the emulator built (`cargo build -p corridor-netem`); without the former each test says that it was
//! skipped.

mod breach;
mod degrade;
mod deployment;
mod durability;
mod flows;
mod links;
mod media;
mod probe;
mod proc;
mod revocation;
mod routes;
mod rtp;
mod saturated;
mod second_machine;
mod surroundings;
mod talks;
mod trace;
mod truth;
mod world;
