//! The lab: a small cluster on one machine, made of network namespaces and removed on drop.
//!
//! A [`Lab`] owns a run. A [`Node`] is a network namespace with a mount namespace of its own,
//! joined to the others by the [`Underlay`]. A [`Pod`] is a network namespace behind a veth pair
//! that ends in its node. [`Node`] and [`Pod`] deref to [`Host`], the place where commands run.
//! Each process is a [`Proc`], killed when dropped; [`Capture`] is a tcpdump; faults are methods
//! of [`Node`].
//!
//! # What is left behind
//! Nothing: dropping the [`Lab`] (also while unwinding) kills what runs in its namespaces and
//! removes them. Processes carry a parent-death signal, so that they go even after `kill -9` of
//! the test; the namespaces that such a death leaves are removed by `lab-clean`, and so is a
//! process that had no time to ask for the signal. A run is alive while its owner holds the lock
//! on [`clean::runs_dir`]`/RUN/owner`.
//!
//! # Thread-safety
//! Everything may be used from several threads, and labs of several processes side by side:
//! no device is ever made in the root namespace. Tests that measure time take [`serial`].

mod api;
mod capture;
pub mod clean;
mod cluster;
pub mod cnitool;
mod fault;
mod flow;
mod foreign;
mod host;
mod inside;
mod lab;
pub mod mesh;
mod node;
pub mod ovs;
mod pcap;
mod pod;
mod proc;
pub mod runtime;
mod spawner;
mod stream;
mod traffic;
mod underlay;
mod wait;
pub mod weft;
pub mod weftd;

pub use api::Replied;
pub use capture::{Capture, Direction};
pub use cluster::Cluster;
pub use fault::{Proto, cut, cut_port, narrow};
pub use flow::{Flow, Outcome, Pace};
pub use host::{Host, Output};
pub use lab::{Lab, bin, example, require_root};
pub use nix::sys::signal::Signal;
pub use node::Node;
pub use pcap::Packet;
pub use pod::{Pod, PodSpec};
pub use proc::Proc;
pub use stream::{Stream, Streamed};
pub use traffic::{
    Fragment, Ping, PingStats, RunStats, Runs, Transfer, UdpStats, transfer, transfer_both,
    transfer_to, udp_arriving, udp_echo, udp_runs,
};
pub use underlay::{Family, Underlay};
pub use wait::{Deadline, Stopwatch, Turn, beside, pause, serial, wait_until};
