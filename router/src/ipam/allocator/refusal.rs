//! Why somebody gets no address.

use std::net::IpAddr;

use peer_mesh::PeerName;

use crate::ipam::{Range, Subnet};

/// Why not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is free, and all owners have said so.
    #[error("no address of {subnet} is free")]
    Full {
        /// Where.
        subnet: Subnet,
    },
    /// Who owns what may be free cannot be asked.
    #[error("no address of {subnet} is free within reach: {} may have some, and cannot be asked", names(.owners))]
    Unreachable {
        /// Where.
        subnet: Subnet,
        /// Who owns it, and about how much it has.
        owners: Vec<(PeerName, u64)>,
    },
    /// Who was asked has not answered.
    #[error("no address of {subnet} is free here, and {} did not answer in time", names(.owners))]
    Unanswered {
        /// Where.
        subnet: Subnet,
        /// Who was asked.
        owners: Vec<(PeerName, u64)>,
    },
    /// What removed peers had is not yet taken over.
    #[error("{what} was a removed peer's, and is not taken over yet: {}", recovering(.waiting_for, .needed, .known))]
    Recovering {
        /// Which address, or that there is none in a network.
        what: String,
        /// Who has not said yet that it knows of the removal.
        waiting_for: Vec<PeerName>,
        /// Where nobody owns anything: how many nodes of the beginning must be there,
        needed: usize,
        /// and how many are.
        known: usize,
    },
    /// The first split is not agreed upon.
    #[error("the address range is not divided yet: {needed} nodes must agree, {known} are known")]
    NoConsensus {
        /// How many must.
        needed: usize,
        /// How many do.
        known: usize,
        /// Who counts otherwise.
        others: Vec<(PeerName, u32)>,
    },
    /// There is no ring, and others must make it.
    #[error("the address range is not divided yet: this node waits for others to do that")]
    NoRing,
    /// What was restored is not yet compared with what others know.
    #[error("what this node knew of addresses is not yet compared with what others know: waiting for {}", some_names(.0))]
    NotPulled(Vec<PeerName>),
    /// Others must know of this node first.
    #[error("waiting for {} to learn that this node takes part", some_names(.0))]
    NotIntroduced(Vec<PeerName>),
    /// The state on disk is older than what others know of it.
    #[error("the state on disk was rolled back: others know a newer one of this node")]
    RolledBack,
    /// Leases of before are not yet claimed again.
    #[error(
        "addresses leased here before are not yet claimed in the ring of the others ({0} left)"
    )]
    Reclaiming(usize),
    /// The address is leased here to another.
    #[error("{addr} is leased to {id:?} on this node")]
    TakenHere {
        /// Which.
        addr: IpAddr,
        /// To whom.
        id: String,
    },
    /// Its owner has leased it.
    #[error("{addr} is in use on {owner}")]
    Taken {
        /// Which.
        addr: IpAddr,
        /// Where.
        owner: PeerName,
    },
    /// Its owner cannot be asked.
    #[error("{addr} belongs to {owner}, {}", if *.up { "which did not answer in time" } else { "which cannot be asked" })]
    OwnerUnreachable {
        /// Which.
        addr: IpAddr,
        /// Whose.
        owner: PeerName,
        /// Whether the mesh sees it.
        up: bool,
    },
    /// Somebody uses it, whom nobody has leased it to.
    #[error("somebody uses {0} without a lease")]
    InUse(IpAddr),
    /// Not of the range, or not to be leased.
    #[error("{addr} is not an address of {subnet} in the range {range} that can be leased")]
    OutOfRange {
        /// Which.
        addr: IpAddr,
        /// In which network.
        subnet: Subnet,
        /// Of all.
        range: Range,
    },
    /// Not a part of the range, or one without addresses that could be leased.
    #[error("{0} is no part of the range {1} with addresses to lease: a network needs at least 4")]
    NoSubnet(Subnet, Range),
    /// There is no such lease.
    #[error("{0:?} has no such address on this node")]
    Unknown(String),
    /// The ring knows no such peer.
    #[error("no peer {0} owns addresses, or did")]
    UnknownPeer(PeerName),
    /// It is up.
    #[error("{0} is up")]
    Alive(PeerName),
    /// It is this node.
    #[error("{0} is this node")]
    Oneself(PeerName),
    /// It could not be made durable.
    #[error("the state cannot be saved: {0}")]
    Unsaved(String),
    /// This node has given all away.
    #[error("this node has left, and leases no more addresses")]
    Left,
    /// Who is to have what is given away has not yet taken it.
    #[error("{0} has not yet taken over this node's addresses")]
    NotTaken(PeerName),
    /// Nobody took what was to be given away.
    #[error("no other node took over this node's addresses in time")]
    NoHeir,
}

fn recovering(waiting_for: &[PeerName], needed: &usize, known: &usize) -> String {
    if waiting_for.is_empty() && known < needed {
        format!("nobody owns addresses any more, and {needed} nodes must be there, {known} are")
    } else {
        format!("waiting for {}", some_names(waiting_for))
    }
}

fn names(owners: &[(PeerName, u64)]) -> String {
    some_names(&owners.iter().map(|(name, _)| *name).collect::<Vec<_>>())
}

/// The first few of them.
fn some_names(names: &[PeerName]) -> String {
    let mut text: Vec<_> = names.iter().take(5).map(PeerName::to_string).collect();
    match names.len() {
        0 => "any peer".to_owned(),
        1..=5 => text.join(", "),
        many => {
            text.push(format!("{} more", many - 5));
            text.join(", ")
        }
    }
}
