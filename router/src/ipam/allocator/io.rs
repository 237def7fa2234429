//! What goes into the allocator, and what comes out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};

pub use super::refusal::Refusal;
use crate::ipam::wire::BadMessage;
use crate::ipam::{Offset, Owner, Range, RingId, Subnet};

/// How the first ring comes to be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Init {
    /// More than half of so many nodes agree.
    Consensus(u32),
    /// The same, of those that are there, if they are more.
    Majority(u32),
    /// It is divided among these.
    Seed(BTreeSet<PeerName>),
    /// Others make it; this node may ask them to.
    Observer(u32),
}

/// What the daemon was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this node is called.
    pub name: PeerName,
    /// What is divided.
    pub range: Range,
    /// Where addresses come from when nobody says.
    pub subnet: Subnet,
    /// How the first ring comes to be.
    pub init: Init,
    /// Chance: nobody else has the same.
    pub seed: u64,
    /// None but in simulations, which must notice.
    pub flaw: Option<Flaw>,
}

/// A rule that is left out, so that a simulation can prove that it would notice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// Gaps are taken without waiting until all agree.
    NoBarrier,
    /// What is offered is leased from before it is taken up.
    NoTakeUp,
    /// Who removes a peer takes all that it owned, as in Weave.
    CallerTakesAll,
}

/// How a peer is seen by the mesh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// It can be told things.
    Up,
    /// It is there, and manages no addresses, or those of another range.
    Apart,
    /// It cannot, at the moment.
    Silent,
    /// It is not there.
    Gone,
}

/// What somebody on this node wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wish {
    /// An address of this network, or the one that `id` has there.
    Allocate {
        /// For whom.
        id: String,
        /// Where from.
        subnet: Subnet,
    },
    /// This address.
    Claim {
        /// For whom.
        id: String,
        /// Which.
        addr: IpAddr,
        /// In which network of the range.
        subnet: Subnet,
    },
    /// An address of `id` is no longer used, or all of them.
    Free {
        /// Whose.
        id: String,
        /// Which; `None`: all.
        addr: Option<IpAddr>,
    },
    /// That peer is no more, and others are to have what it owned.
    Remove {
        /// Which.
        name: PeerName,
        /// Although it is up.
        force: bool,
    },
    /// This node gives all that it owns to another, and takes no more.
    Leave,
}

/// A wish, and until when somebody waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// What the answer will be known by. Used once.
    pub token: u64,
    /// What.
    pub wish: Wish,
    /// When it must be answered.
    pub until: Duration,
    /// What the clock on the wall says, in microseconds since 1970.
    pub wall: u64,
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The mesh sees a peer like that.
    Peer(PeerName, Reach),
    /// A peer that is there divides another range. Holds until it is seen otherwise.
    Divides(PeerName, Subnet),
    /// A peer has this nickname.
    Called(PeerName, String),
    /// The mesh has given this node another name.
    Renamed(PeerName),
    /// A neighbour tells all.
    Gossip {
        /// The neighbour.
        via: PeerName,
        /// As on the wire.
        message: Vec<u8>,
    },
    /// A peer tells this node.
    Message {
        /// Which peer.
        from: PeerName,
        /// As on the wire.
        message: Vec<u8>,
    },
    /// A neighbour may not know what is known here.
    StateWanted(PeerName),
    /// Somebody wants something.
    Request(Request),
    /// What was said to be saved up to this number is durable.
    Saved(u64),
    /// It could not be saved, for this reason. It is being tried again.
    Unsaved(String),
    /// Whether somebody uses an address.
    Probed(Offset, bool),
}

/// Something that is to be durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edit {
    /// Of what.
    pub key: Vec<u8>,
    /// What it is now; `None`: it is no more.
    pub value: Option<Vec<u8>>,
}

/// Something that is to be done. In order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Make this durable, all or nothing, in the order of the numbers; then say [`Input::Saved`].
    Save(u64, Vec<Edit>),
    /// Tell the neighbours, but for one.
    Broadcast {
        /// What.
        message: Vec<u8>,
        /// Who told us.
        except: Option<PeerName>,
    },
    /// Tell one neighbour.
    Tell {
        /// Whom.
        to: PeerName,
        /// What.
        message: Vec<u8>,
    },
    /// Tell a peer, however it is reached.
    Send {
        /// Whom.
        to: PeerName,
        /// What.
        message: Vec<u8>,
    },
    /// The digest of all that is known.
    Digest(u64),
    /// The answer to a request.
    Reply(u64, Result<Answer, Refusal>),
    /// Find out whether somebody uses an address.
    Probe(Offset, IpAddr),
    /// Something that an operator may want to know.
    Say(Word),
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// That address is leased.
    Leased(IpAddr),
    /// Those are free.
    Freed(Vec<IpAddr>),
    /// Those epochs are removed.
    Removed {
        /// Which.
        epochs: Vec<Owner>,
        /// What they owned.
        addresses: u64,
        /// Who has not yet shown that it knows.
        waiting_for: Vec<Owner>,
    },
    /// All is given away.
    Left {
        /// To whom, unless there was nothing or nobody.
        heir: Option<PeerName>,
        /// How much.
        addresses: u64,
    },
}

/// What an operator may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Word {
    /// This node has a part in a ring.
    Ring(RingId),
    /// Somebody's message makes no sense. Nothing of it was taken up.
    Malformed(PeerName, BadMessage),
    /// A peer divides another range.
    OtherRange(PeerName, Subnet),
    /// A peer has a ring that was begun separately. The first of the two is kept.
    OtherRing {
        /// Who has it.
        with: PeerName,
        /// Which is kept,
        kept: RingId,
        /// and which is not.
        dropped: RingId,
    },
    /// A peer counts the nodes that make the ring otherwise.
    OtherCount(PeerName, u32),
    /// This node's epoch was removed by others: it claims its leases again, under a new one.
    Reborn(Owner, Owner),
    /// The state on disk is older than what others know of it.
    RolledBack,
    /// An address leased here is another's.
    Lost {
        /// Which.
        addr: IpAddr,
        /// To whom it is leased here.
        id: String,
        /// Whose it is.
        owner: PeerName,
    },
    /// A lease of before was claimed again.
    Regained(IpAddr),
    /// Two say that they own the same; the other one keeps it.
    Usurped {
        /// From which address on.
        from: IpAddr,
        /// How many.
        count: u64,
        /// Who keeps it.
        by: Owner,
    },
    /// What a removed peer owned is this node's now.
    Recovered {
        /// From which address on.
        from: IpAddr,
        /// How many.
        count: u64,
    },
    /// Somebody uses an address that nobody has leased.
    InUse(IpAddr),
    /// All have agreed that these are removed.
    RemovalDone(usize),
    /// Saving fails, or works again.
    Saving(Option<String>),
}
