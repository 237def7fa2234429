//! The contract with `weftd`: what it reports and what it takes.
//!
//! Types are what goes over the wire as JSON; [`text`] shows them to people, in Weave's layouts; [`Client`] asks for
//! them over the daemon's socket. docs/API.md describes it all for those who write no Rust.
//!
//! # Versions
//! Paths begin with the version of the contract. Within a version fields are only added: a reader
//! ignores fields it does not know, and takes words it does not know as they come. What is added
//! later is optional, so that programs one release apart understand each other.
//!
//! # Text
//! Nicknames, reasons and the like may be what a peer has said, octet for octet. JSON keeps it;
//! who shows it to people sends it through [`printable()`] or uses [`text`], which does.
#![forbid(unsafe_code)]

mod address;
mod cidr;
mod client;
mod connection;
mod fdb;
mod ipam;
mod path;
pub mod paths;
mod peer;
mod pod;
mod printable;
mod problem;
mod report;
mod request;
mod status;
mod target;
pub mod text;
mod word;

pub use address::{
    Allocate, Claim, Expose, Exposed, Free, Hide, Lease, Leased, Leases, Leave, Left, Lookup,
    Removal, RemovePeer,
};
pub use cidr::{Cidr, NotACidr};
pub use client::{ADDRESS_TIMEOUT, Client, Error, JOURNAL_MAX, JSON_MAX, Reply, Resource, TIMEOUT};
pub use connection::{Connection, ConnectionState, Connections};
pub use fdb::{Fdb, Station};
pub use ipam::{
    Awaited, Conflict, Consensus, Here, Ipam, IpamState, LostLease, Owner, OwnerState,
    PendingRequest, Removing,
};
pub use jiff::Timestamp;
pub use path::{LineState, Path, PathKind, Paths, Traffic};
pub use peer::{Peer, PeerConnection, PeerRef, PeerState, Peers};
pub use pod::{
    Check, Gc, HostEnd, Plug, Plugged, PodAddress, PodAddresses, PodName, PodRoute, Pods, Unplug,
    Valid,
};
pub use printable::{is_control, printable};
pub use problem::Problem;
pub use report::{Control, Kernel, MeshStats, Quirk, Report};
pub use request::{Connect, Forget, Given};
pub use status::{ConnectionCounts, IpamStatus, Protocol, Router, Status};
pub use target::{Target, Targets};

/// Where `weftd` listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weft/weft.sock";
