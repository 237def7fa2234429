//! What others may ask the mesh.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::Mesh;
use super::conn::Stage;
use crate::directory::{Directory, Entry, Standing};
use crate::relay::{DataGraph, Says};
use crate::wire::Record;
use crate::{CloseReason, ConnId, GoneReason, PeerName, PeerState, PeerUid, Saved};

/// Where a control message goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The neighbour.
    pub via: PeerName,
    /// Hops to the end.
    pub hops: u16,
}

/// A peer, as its own record describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer<'a> {
    /// Its name.
    pub name: PeerName,
    /// This start of it.
    pub uid: PeerUid,
    /// Its nickname.
    pub nickname: &'a str,
    /// How it is seen.
    pub state: PeerState,
    /// Since when.
    pub since: Duration,
    /// Its neighbours, by links that both ends state.
    pub links: Vec<PeerName>,
    /// Those with whom it says it has a link, and who do not say so, or not of its present start.
    pub one_sided: Vec<PeerName>,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Everything it says.
    pub record: &'a Record,
}

/// A peer that is gone, while it is remembered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GonePeer {
    /// Its name.
    pub name: PeerName,
    /// Its last start that we know of.
    pub uid: PeerUid,
    /// Its nickname.
    pub nickname: String,
    /// How often it had started.
    pub incarnation: u64,
    /// Why.
    pub reason: GoneReason,
    /// Since when.
    pub since: Duration,
}

/// A connection that is no link, or not yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pending {
    /// The far end.
    pub addr: SocketAddr,
    /// Whether we dialled.
    pub outbound: bool,
    /// Who is there, once it has said so.
    pub name: Option<PeerName>,
    /// How far it has come.
    pub progress: Progress,
    /// Since when.
    pub since: Duration,
}

/// How far a connection has come on its way to be a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The TCP connection is being made.
    Dialling,
    /// The ends find out whether they have the same password, and who they are.
    Handshake,
    /// A live peer may have the newcomer's name: waiting whether it says something.
    Contested,
    /// We want the link, and wait for the other end's word.
    Welcomed,
    /// It is no link, and is told what it may need elsewhere.
    Parting,
}

/// A link of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkView {
    /// To whom.
    pub name: PeerName,
    /// The far end of the connection.
    pub addr: SocketAddr,
    /// Whether we dialled.
    pub outbound: bool,
    /// Since when.
    pub since: Duration,
}

/// An address we dial.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Where.
    pub addr: SocketAddr,
    /// Whether the operator named it.
    pub given: bool,
    /// Who was there.
    pub name: Option<PeerName>,
    /// Why the last attempt failed.
    pub last: Option<CloseReason>,
    /// Attempts that have failed since the last one that did not.
    pub attempts: u32,
    /// When the last connection there ended, or failed to be made.
    pub ended: Option<Duration>,
    /// When it may be tried again; `None` while a connection stands or is being made.
    pub next: Option<Duration>,
}

/// Counters, each of which only grows, and at the end sizes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Octets of TCP payload sent.
    pub sent_octets: u64,
    /// Sealed batches sent.
    pub sent_batches: u64,
    /// Octets received.
    pub received_octets: u64,
    /// Records that changed what we know.
    pub merged: u64,
    /// Records and patches that told nothing new.
    pub stale: u64,
    /// Connections closed because what came made no sense.
    pub malformed: u64,
    /// Messages that found no way or no room.
    pub dropped: u64,
    /// Records not taken because there are too many.
    pub overflow: u64,
    /// Links that have ended, for whatever reason.
    pub links_ended: u64,
    /// Records held: our own, and of peers up, silent and gone.
    pub records: usize,
    /// Connections, links among them.
    pub connections: usize,
    /// Addresses in the book.
    pub addresses: usize,
}

/// What is relayed may go by next hops that are this old: links change faster than the whole graph is walked.
const OUTDATED: Duration = Duration::from_millis(100);

/// Next hops, computed when asked for and kept while the counted links stay the same.
#[derive(Debug, Default)]
pub(super) struct Routes {
    generation: Option<u64>,
    at: Duration,
    hops: BTreeMap<PeerName, NextHop>,
}

impl Mesh {
    /// Our name now.
    pub fn name(&self) -> PeerName {
        self.own.name
    }

    /// This start of us.
    pub fn uid(&self) -> PeerUid {
        self.own.uid
    }

    /// What to store.
    pub fn saved(&self) -> Saved {
        Saved { incarnation: self.own.incarnation, book: self.book.saved() }
    }

    /// Whether we left, or our name was refused: there is nothing more to do once the outputs are performed.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Ourselves, as we last said. Our name is always in the directory.
    pub fn own(&self) -> Option<Peer<'_>> {
        self.directory.get(self.own.name).and_then(|entry| peer(self.own.name, entry))
    }

    /// Every peer but ourselves that is up or silent, by name.
    pub fn peers(&self) -> impl Iterator<Item = Peer<'_>> {
        self.directory
            .iter()
            .filter(|&(name, _)| name != self.own.name)
            .filter_map(|(name, entry)| peer(name, entry))
    }

    /// Our links, by name.
    pub fn links(&self) -> impl Iterator<Item = LinkView> {
        self.links.iter().filter_map(|(&name, id)| {
            let conn = self.conns.get(id)?;
            Some(LinkView { name, addr: conn.remote, outbound: conn.outbound, since: conn.opened })
        })
    }

    /// Connections that are no links, the oldest first.
    pub fn pending(&self) -> impl Iterator<Item = Pending> {
        self.conns.values().filter_map(|conn| {
            let progress = match conn.stage {
                Stage::Dialling => Progress::Dialling,
                Stage::Handshake => Progress::Handshake,
                Stage::Contested => Progress::Contested,
                Stage::Welcomed => Progress::Welcomed,
                Stage::Parting => Progress::Parting,
                Stage::Linked => return None,
            };
            Some(Pending {
                addr: conn.remote,
                outbound: conn.outbound,
                name: conn.peer(),
                progress,
                since: conn.opened,
            })
        })
    }

    /// Peers that are gone, by name.
    pub fn gone(&self) -> impl Iterator<Item = GonePeer> {
        self.directory.iter().filter_map(|(name, entry)| match entry.standing {
            Standing::Gone(reason) => Some(GonePeer {
                name,
                uid: entry.record.uid(),
                nickname: entry.record.nickname().to_owned(),
                incarnation: entry.record.stamp().incarnation,
                reason,
                since: entry.since,
            }),
            Standing::Heard | Standing::Up | Standing::Silent => None,
        })
    }

    /// What we dial and might dial, and how it goes.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.book.iter().map(|(addr, place)| Target {
            addr,
            given: place.given,
            name: place.name,
            last: place.last.clone(),
            attempts: place.attempts,
            ended: place.ended,
            next: (!place.busy).then_some(place.next),
        })
    }

    /// The neighbour through which control messages to a peer go: on a shortest way over counted links, by the lowest names.
    pub fn next_hop(&mut self, to: PeerName, now: Duration) -> Option<NextHop> {
        let generation = Some(self.directory.generation());
        if self.routes.generation != generation {
            let hops = hops(&self.directory, self.own.name);
            self.routes = Routes { generation, at: now, hops };
        }
        self.routes.hops.get(&to).copied()
    }

    /// The connection through which what is relayed to a peer goes on.
    pub(super) fn relay_to(&mut self, to: PeerName, now: Duration) -> Option<ConnId> {
        if now < self.routes.at + OUTDATED
            && let Some(hop) = self.routes.hops.get(&to)
            && let Some(id) = self.links.get(&hop.via)
        {
            return Some(*id);
        }
        let hop = self.next_hop(to, now)?;
        self.links.get(&hop.via).copied()
    }

    /// The peers through which frames go to a peer, first hop first: empty if they go directly, `None` if there is no way of at most four hops.
    pub fn data_route(&self, to: PeerName) -> Option<Vec<PeerName>> {
        self.data_graph().route(self.own.name, to)
    }

    /// The same for every peer to which there is a way, at little more than the cost of one.
    pub fn data_routes(&self) -> BTreeMap<PeerName, Vec<PeerName>> {
        self.data_graph().routes(self.own.name)
    }

    fn data_graph(&self) -> DataGraph {
        let says = |entry: &Entry| Says {
            unreached: entry.record.unreached().collect(),
            isolated: entry.record.isolated(),
            neighbours: entry.neighbours.clone(),
        };
        let mut says: BTreeMap<_, _> =
            self.directory.up().map(|(name, entry)| (name, says(entry))).collect();
        // What we have found out ourselves counts for us before the others are told.
        if let Some(own) = says.get_mut(&self.own.name) {
            own.unreached = self.exceptions.keys().copied().collect();
            own.isolated = false;
        }
        DataGraph::new(says)
    }

    /// A hash of all we believe of the peers that are up: equal at peers that believe the same.
    pub fn root(&self) -> u64 {
        self.directory.digest().root()
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        Stats {
            records: self.directory.len(),
            connections: self.conns.len(),
            addresses: self.book.iter().count(),
            ..self.stats
        }
    }
}

fn peer(name: PeerName, entry: &Entry) -> Option<Peer<'_>> {
    let state = match entry.standing {
        Standing::Up => PeerState::Up,
        Standing::Silent => PeerState::Silent,
        Standing::Heard | Standing::Gone(_) => return None,
    };
    Some(Peer {
        name,
        uid: entry.record.uid(),
        nickname: entry.record.nickname(),
        state,
        since: entry.since,
        links: entry.neighbours.iter().copied().collect(),
        one_sided: entry.one_sided().collect(),
        addresses: entry.record.addresses().collect(),
        record: &entry.record,
    })
}

/// Breadth first from ourselves, neighbours in the order of their names, so that all peers that know the same links choose alike.
fn hops(directory: &Directory, own: PeerName) -> BTreeMap<PeerName, NextHop> {
    let mut hops: BTreeMap<PeerName, NextHop> = BTreeMap::new();
    let mut edge = VecDeque::from([(own, None::<NextHop>)]);
    while let Some((at, way)) = edge.pop_front() {
        let far = directory.get(at).into_iter().flat_map(|entry| &entry.neighbours);
        for &far in far {
            if far == own || hops.contains_key(&far) {
                continue;
            }
            let hop = NextHop {
                via: way.map_or(far, |way| way.via),
                hops: way.map_or(1, |way| way.hops + 1),
            };
            hops.insert(far, hop);
            edge.push_back((far, Some(hop)));
        }
    }
    hops
}
