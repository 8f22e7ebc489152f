//! What load programs share.
//!
//! | question | file |
//! |---|---|
//! | what does a bare QUIC client do | `bare.rs`, how large are its datagrams `sizes.rs` |
//! | what was measured on | `machine.rs` |
//! | what does a process hold | `memory.rs` |
//! | which binary is measured | `binary.rs` |
//! | how are figures printed | `table.rs` |

pub mod bare;
pub mod binary;
pub mod machine;
pub mod memory;
pub mod sizes;
pub mod table;
