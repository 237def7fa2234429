//! What goes into the control core, and what comes out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::sleeve::HEADER_LEN;
use switch::{Label, Mac, Mtu, PeerId, Plan};

use crate::last::Last;
use crate::liveness::Packet;
use crate::plan::{Chosen, Standing};
use crate::pmtu::{Change, SizeProbe};
use crate::station::BadStations;

/// A peer, as the mesh sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Peer {
    /// This start of it.
    pub uid: u64,
    /// Whether it is there.
    pub standing: Standing,
    /// Where its mesh is.
    pub addresses: Vec<SocketAddr>,
    /// What stands for it on UDP 6783.
    pub label: Option<Label>,
    /// What all its paths carry, as it says.
    pub least: Option<Mtu>,
    /// Through whom frames go to it, as the mesh has it: empty for directly, `None` for no way.
    pub route: Option<Vec<PeerName>>,
    /// Whether there is a link to it.
    pub neighbour: bool,
    /// The ring of addresses that it began in, if it manages addresses.
    #[serde(default)]
    pub ring: Option<u64>,
}

/// Something that has happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Input {
    /// What the last run knew: the first input of a run. Peers that nobody confirms within that time go.
    Restored(Box<Last>, Duration),
    /// A peer is there, or has changed.
    Peer(PeerName, Peer),
    /// A peer is gone for good.
    PeerGone(PeerName),
    /// The mesh has given us another name.
    Renamed(PeerName),
    /// The ring of addresses that this node began in.
    Ring(Option<u64>),
    /// Stations that a neighbour tells us of.
    Stations {
        /// The neighbour.
        via: PeerName,
        /// As on the wire.
        #[serde(with = "octets")]
        message: Vec<u8>,
    },
    /// A neighbour may not know what we know.
    StateWanted(PeerName),
    /// All stations that the bridge has on this node.
    Local(Vec<Mac>),
    /// The bridge has learned a station on this node.
    Learned(Mac),
    /// It has forgotten one.
    Unlearned(Mac),
    /// A station on this node says that it has an address.
    Address(Mac, IpAddr),
    /// A station that the bridge has heard, here or elsewhere, says that it has an address.
    Heard(Mac, IpAddr),
    /// The bridge heard a station ask who has an address.
    Asked(Mac, IpAddr),
    /// A station that is said to be elsewhere has sent something on this node.
    Sighting(Mac),
    /// A peer sent this, and nobody else.
    Probe(PeerName, Packet),
    /// A peer sent a frame of this size, or has got ours.
    Size(PeerName, SizeProbe),
    /// Whether there is a kernel device to send with.
    Fast(bool),
    /// Frames go to a peer, or come from it.
    Traffic(PeerName),
    /// What the route to a peer says that it carries.
    Carries(PeerName, Option<Mtu>),
}

/// Something that is to be done. In order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell the neighbours, but for one.
    Broadcast {
        /// On the channel of stations.
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
    /// The digest of all stations.
    Digest(u64),
    /// What others are to know of our data plane.
    Labels(BTreeMap<String, String>),
    /// Whether frames reach a peer directly.
    DataPath(PeerName, bool),
    /// Send a probe on its line.
    Probe {
        /// To whom.
        to: PeerName,
        /// What.
        packet: Packet,
        /// Where its UDP 6784 is; nowhere, if that is not known.
        vxlan: SocketAddr,
        /// Where UDP 6783 is that it goes to, its own or others' that pass it on,
        sleeves: Vec<SocketAddr>,
        /// and what goes before the frame there. Without it there is no such way.
        header: Option<[u8; HEADER_LEN]>,
    },
    /// Send a size probe, unfragmented, or acknowledge one.
    Size {
        /// To whom.
        to: PeerName,
        /// What.
        probe: SizeProbe,
        /// Where it goes on its line,
        addr: SocketAddr,
        /// and on UDP 6783 what goes before the frame.
        header: Option<[u8; HEADER_LEN]>,
    },
    /// What fits on the way to that address, for an inner packet: the kernel is to know.
    Teach(SocketAddr, Mtu),
    /// The frame path goes by this from now on.
    Install(Plan),
    /// A station is behind a peer; it may have been elsewhere before.
    Place(Mac, PeerId),
    /// A station is behind that peer no longer.
    Displace(Mac, PeerId),
    /// An address is a station's, here or elsewhere; `None`: nobody's any more.
    Answer(IpAddr, Option<Mac>),
    /// An address has another station, or has one that pods here have asked for: tell them.
    Moved(IpAddr, Mac),
    /// Whose datagrams are to be let in.
    Sources(Vec<IpAddr>),
    /// A slot was left: what the frame path has learned there is to be forgotten.
    Flush(PeerId),
    /// Something that an operator may want to know.
    Say(Word),
}

/// What an operator may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Word {
    /// Frames to a peer go another way.
    Path {
        /// To whom.
        name: PeerName,
        /// How it was reached, unless it is new.
        from: Option<Chosen>,
        /// How it is reached.
        to: Chosen,
        /// Through whom.
        via: Vec<PeerName>,
    },
    /// A path carries more or less than before.
    Carries(Change),
    /// Most peers answer nowhere, or they do again: so many, of so many.
    Alone(usize, usize),
    /// There is no slot for a peer: frames do not go there.
    NoSlot(PeerName),
    /// A neighbour says something that makes no sense. Nothing of it was taken up.
    Malformed(PeerName, BadStations),
    /// A station moves too often: it is left where it is.
    Frozen(Mac),
    /// A station here sends with the address of a peer's bridge.
    Claimed(Mac),
    /// More stations than are kept.
    Full(PeerName),
}

/// Octets as octets, and not as a list of numbers.
mod octets {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(octets)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_byte_buf(Octets)
    }

    struct Octets;

    impl Visitor<'_> for Octets {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("octets")
        }

        fn visit_bytes<E: Error>(self, octets: &[u8]) -> Result<Vec<u8>, E> {
            Ok(octets.to_vec())
        }
    }
}
