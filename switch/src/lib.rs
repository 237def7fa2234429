//! weft's data plane: frames of a node's pods in, datagrams to the other nodes out, and back.
//!
//! The core is pure: [`Forwarder`] and [`MacTable`] decide where a frame goes, [`vxlan`] wraps it,
//! [`Segments`] and [`Fragments`] cut it; all of them are given the time and the octets. Around it
//! is a thin shell: [`Worker`]s run in [`FrameThreads`] between a [`Tap`] and an [`Underlay`],
//! each of which has a kernel and an in-memory form. Control hands an immutable [`Plan`] down
//! through a [`PlanCell`], and reads [`Counters`]; [`Wiring`] and [`Watch`] are its hands and eyes
//! in the kernel. [`engine`] keeps all of that running inside a program.
//!
//! The switch knows no names: a peer is a [`PeerId`], a slot in the plan, and an address.

mod address_probe;
mod bell;
mod buf;
mod cache;
mod checksum;
mod coalesce;
mod counters;
mod drop;
mod ear;
pub mod engine;
mod fdb;
mod flow;
mod forward;
mod frame;
mod greeter;
mod layers;
mod limiter;
mod lines;
mod mac;
mod mtu;
pub mod neighbour;
pub mod netlink;
mod offload;
pub mod options;
mod plan;
mod probe_port;
mod probe_socket;
mod punt;
mod quirks;
mod segment;
mod shell;
pub mod sleeve;
mod spin;
mod sys;
mod table;
mod tap;
mod tick;
mod too_big;
mod underlay;
pub mod vxlan;
mod watch;
mod wiring;
mod worker;

pub use address_probe::AddressProbe;
pub use bell::{Bell, Ringer};
pub use buf::{Batch, Buf, CAPACITY, Slot};
pub use checksum::finish_partial;
pub use coalesce::{BUNDLES, Bundle, Coalescer, PARTS, Place};
pub use counters::{Counter, Counters, PeerCounters, RefusalCounters, Traffic, Via};
pub use drop::DropReason;
pub use ear::{Ear, Said};
pub use fdb::{
    Applied, Edit, Entries, Fdb, FdbError, Kind, PROTOCOL, Refusal, Refused, Station, Uplink,
    enable_ipv6,
};
pub use flow::FlowHash;
pub use forward::{Forwarder, Verdict};
pub use frame::{ETHERNET_LEN, EtherType, Frame, Runt, VLAN_TAG_LEN};
pub use greeter::Greeter;
pub use layers::{IpVersion, Layers};
pub use lines::Lines;
pub use mac::{BadMac, Mac};
pub use mtu::{Mtu, OVERHEAD_V4, OVERHEAD_V6};
pub use offload::{BadOffload, Offload, VNET_HEADER_LEN};
pub use plan::{Path, Peer, PeerId, Plan, PlanBuilder, PlanCell, Port, Route, Tunnel, Way};
pub use probe_port::{Heard, ProbePort, TOKEN_AT, Token};
pub use probe_socket::ProbeSocket;
pub use punt::{PROBE, PUNT_LEN, Punt, Punts, Told};
pub use quirks::{Mitigation, QUIRKS, Quirk, Release};
pub use segment::{HEADER_MAX, Segments};
pub use shell::{Clock, Ended, FrameThreads};
pub use sleeve::Label;
pub use spin::Poll;
pub use table::{Learned, Limits, MacTable, Row, TableEvents};
pub use tap::{
    Backend, Cable, Injector, KernelTap, MemoryTap, OffloadTap, PlainTap, Steering, Takes, Tap,
    TapError,
};
pub use tick::Tick;
pub use too_big::{Fragments, Remedy, answer};
pub use underlay::{
    Datagram, DropGauge, MemoryNet, MemoryUnderlay, Message, OpenError, Refusals, RunLimits,
    SendError, UdpProbe, UdpUnderlay, Underlay, Unsent, is_host, path_mtu,
};
pub use vxlan::Vni;
pub use watch::{Notice, Watch, notices_in};
pub use wiring::{
    ALIAS, Change, FastSpec, FastState, Installed, Link, POD_PREFIX, Remains, ResetError, Spec,
    Stations, Wiring, WiringError,
};
pub use worker::{Fault, Moved, Worker};
