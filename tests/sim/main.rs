//! The switch under simulation: workers over the in-memory pair, on one virtual clock.
//!
//! A node is a worker and a model of the bridge it is a port of; a pod is a smoltcp host, so that
//! real TCP crosses the switch. The network between the nodes delays, loses, reorders and repeats
//! datagrams as a seed says. Whatever a scenario is about, [`node::Node`] checks each frame and
//! each datagram on its way through a switch: that it went where it had to, once, and nowhere else.
//!
//! A failure prints how to replay its seed. `WEFT_SEED=7` runs that seed alone, `WEFT_SEEDS=500`
//! runs the first 500.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod bridge;
mod flows;
mod node;
mod pod;
mod scenarios;
mod weather;
mod world;

use weft_tests::{rng, seeds};
