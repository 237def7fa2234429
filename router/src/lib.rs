//! weft's control plane: what the mesh knows, turned into what the switch does.
//!
//! The only crate that knows both. The core is pure: [`Node`] takes the time and [`Input`]s, and says what is to be done as
//! [`Output`]s. Around it the daemon `weftd` has the sockets, the clock and the kernel.
//!
//! ```text
//!  mesh: who is up, who reaches whom --+
//!  bridge: who is plugged in here -----+--> Node --> plan::fold --> the switch's Plan, FDB, neighbours
//!  peers: stations, answers to probes -+       +---> messages to peers
//! ```

mod boot;
pub mod cidr;
pub mod expose;
pub mod guard;
pub mod ipam;
pub mod journal;
mod label;
pub mod last;
pub mod ledger;
pub mod liveness;
pub mod node;
pub mod overlap;
pub mod plan;
pub mod pmtu;
pub mod pods;
pub mod probe;
pub mod receiver;
pub mod serve;
mod slots;
pub mod station;

pub use cidr::Cidr;
pub use label::{choose_label, label_of};
pub use last::Last;
pub use node::{Input, Node, Output};
pub use slots::Slots;
