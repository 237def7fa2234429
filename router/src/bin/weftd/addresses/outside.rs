//! Where the rest of the daemon meets address management: who asks, and what the mesh tells.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Context;
use peer_mesh::shell::{PeerView, Snapshot};
use peer_mesh::{PeerName, PeerState, PeerUid};
use router::ipam::{Allocator, Answer, Input, Lease, Range, Reach, Refusal, RingId, Subnet, Wish};
use router::node::RING;
use router::serve::Gone;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Question, Seen};
use crate::args::Addressing;
use crate::control::Inbox;
use crate::courier::Labeller;

/// Questions that may wait: the API serves 64 at once.
const QUESTIONS: usize = 128;
/// Messages that may wait; more are let go: neighbours compare digests, and what has no answer is said again.
const MESSAGES: usize = 1024;
/// What a peer says of itself in the mesh when it manages addresses: of which range.
const LABEL: &str = "ipam";

/// Address management, for who wants something of it. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) enum Office {
    /// None is wanted.
    Off,
    /// What is stored cannot be used, for this reason.
    Refused(Addressing, String),
    /// The task.
    Open(Addressing, mpsc::Sender<Question>, Mesh),
}

/// The mesh, as the task is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    said: mpsc::Sender<Input>,
    seen: watch::Sender<Option<Arc<Snapshot>>>,
    dropped: Arc<AtomicU64>,
}

/// What the task is told by.
pub(crate) struct Ends {
    pub(super) questions: mpsc::Receiver<Question>,
    /// Messages on the channel.
    pub(super) said: mpsc::Receiver<Input>,
    /// Who is there.
    pub(super) seen: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Messages for which there was no room.
    pub(crate) dropped: Arc<AtomicU64>,
}

impl Office {
    /// One with a task, and what that hears by.
    pub(super) fn with_task(addressing: Addressing) -> (Self, Ends) {
        let ((asks, questions), (tells, said)) =
            (mpsc::channel(QUESTIONS), mpsc::channel(MESSAGES));
        let ((shows, seen), dropped) = (watch::channel(None), Arc::<AtomicU64>::default());
        let mesh = Mesh { said: tells, seen: shows, dropped: Arc::clone(&dropped) };
        (Self::Open(addressing, asks, mesh), Ends { questions, said, seen, dropped })
    }

    /// What peers are to know of this node: whether it manages addresses, and in which ring its leases began.
    pub(crate) fn labels(&self, home: Option<RingId>) -> BTreeMap<String, String> {
        let open = if let Self::Open(addressing, ..) = self { Some(addressing) } else { None };
        let range = open.map(|it| (LABEL.to_owned(), it.range.to_string()));
        let ring = home.map(|ring| (RING.to_owned(), format!("{:016x}", ring.0)));
        range.into_iter().chain(ring).collect()
    }

    /// Somebody says something on the channel. Nobody waits for the task: it may wait for the disk.
    pub(crate) fn hear(&self, message: Input) {
        if let Self::Open(_, _, mesh) = self
            && mesh.said.try_send(message).is_err()
        {
            mesh.dropped.fetch_add(1, Relaxed);
        }
    }

    /// So the peers are now.
    pub(crate) fn show(&self, snapshot: &Arc<Snapshot>) {
        if let Self::Open(_, _, mesh) = self {
            mesh.seen.send_replace(Some(Arc::clone(snapshot)));
        }
    }

    /// What comes of a wish; `None`: the daemon is stopping.
    pub(crate) async fn wish(
        asks: &mpsc::Sender<Question>,
        wish: Wish,
    ) -> Option<Result<Answer, Refusal>> {
        let (to, answer) = oneshot::channel();
        asks.send(Question::Wish(wish, to)).await.ok()?;
        answer.await.ok()
    }

    /// What is leased, to all or to one.
    pub(crate) async fn leases(
        asks: &mpsc::Sender<Question>,
        id: Option<String>,
    ) -> Option<Vec<(IpAddr, Lease)>> {
        let (to, answer) = oneshot::channel();
        asks.send(Question::Leases(id, to)).await.ok()?;
        answer.await.ok()
    }

    /// How it stands; `None`: none is wanted.
    pub(crate) async fn look(&self) -> Result<Option<Seen>, Gone> {
        match self {
            Self::Off => Ok(None),
            Self::Refused(addressing, why) => {
                let look = super::look::refused(addressing, why);
                Ok(Some(Seen { look, counters: BTreeMap::new() }))
            }
            Self::Open(_, asks, ..) => {
                let (to, answer) = oneshot::channel();
                asks.send(Question::Look(to)).await.map_err(|_| Gone)?;
                answer.await.map(Some).map_err(|_| Gone)
            }
        }
    }
}

/// What others are told of address management here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Standing {
    /// The ring that the leases began in.
    pub(super) home: Option<RingId>,
    /// Whether it can save what it is told.
    pub(super) saves: bool,
    /// Whether there are leases.
    pub(super) leases: bool,
}

impl Standing {
    pub(super) fn of(allocator: &Allocator) -> Self {
        let leases = allocator.leases().next().is_some();
        Self { home: allocator.home(), saves: !allocator.is_failing(), leases }
    }
}

/// Tells control loop and peers in which ring the leases here began, and peers whether this node takes part, whenever that
/// changes. Who can save nothing answers nobody: others are not to wait for it, as if it managed no addresses.
pub(crate) async fn tell_standing(
    mut standing: watch::Receiver<Standing>,
    range: Range,
    inbox: Inbox,
    labeller: Labeller,
) -> anyhow::Result<()> {
    let mut told_to_save = true;
    loop {
        let Standing { home, saves, leases } = *standing.borrow_and_update();
        labeller.leases(leases);
        if let Some(ring) = home {
            labeller.label(RING, format!("{:016x}", ring.0));
        }
        if std::mem::replace(&mut told_to_save, saves) != saves {
            labeller.label(LABEL, if saves { range.to_string() } else { String::new() });
        }
        let told = inbox.send(router::Input::Ring(home.map(|it| it.0))).await;
        told.map_err(|_| anyhow::anyhow!("the control loop has ended: please report this"))?;
        standing.changed().await.context("addresses are managed no more: please report this")?;
    }
}

/// The peers, as the allocator was told of them.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<PeerName, Stand>);

/// How one is seen, in which of its lives, and which other range it divides.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Stand {
    uid: PeerUid,
    reach: Reach,
    divides: Option<Subnet>,
    nickname: String,
}

impl Stand {
    fn of(peer: &PeerView, range: Subnet) -> Self {
        let label = peer.labels.get(LABEL).and_then(|text| text.parse::<Subnet>().ok());
        let reach = match peer.state {
            PeerState::Up if label == Some(range) => Reach::Up,
            PeerState::Up => Reach::Apart,
            PeerState::Silent => Reach::Silent,
            PeerState::Gone => Reach::Gone,
        };
        let divides = label.filter(|_| reach == Reach::Apart);
        Self { uid: peer.uid, reach, divides, nickname: peer.nickname.clone() }
    }

    /// What it means for the allocator, after this.
    fn inputs(&self, name: PeerName, before: Option<&Self>) -> Vec<Input> {
        if before == Some(self) {
            return Vec::new();
        }
        let called = Input::Called(name, self.nickname.clone());
        if before.is_some_and(|it| {
            (it.uid, it.reach, it.divides) == (self.uid, self.reach, self.divides)
        }) {
            return vec![called];
        }
        // Who has started anew has to be seen to have been away, and who divides another range to be there.
        let anew = before.is_some_and(|it| it.reach == self.reach);
        let away = anew.then_some(Input::Peer(name, Reach::Silent));
        let divides = self.divides.map(|subnet| Input::Divides(name, subnet));
        away.into_iter().chain([called, Input::Peer(name, self.reach)]).chain(divides).collect()
    }
}

impl Peers {
    /// What has changed since the last look, for the allocator of a node that divides this range.
    pub(super) fn look(&mut self, snapshot: &Snapshot, range: Subnet) -> Vec<Input> {
        let others = snapshot.peers.iter().filter(|it| it.name != snapshot.name);
        let others = others.map(|it| (it.name, Stand::of(it, range)));
        let now: BTreeMap<_, _> = others.filter(|(_, it)| it.reach != Reach::Gone).collect();
        let before = std::mem::replace(&mut self.0, now);
        let gone = before.keys().filter(|it| !self.0.contains_key(it));
        let gone = gone.map(|name| Input::Peer(*name, Reach::Gone));
        let seen = self.0.iter().flat_map(|(name, it)| it.inputs(*name, before.get(name)));
        [Input::Renamed(snapshot.name)].into_iter().chain(gone).chain(seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OWN: PeerName = PeerName::local(1);
    const PEER: PeerName = PeerName::local(7);
    const UP: PeerState = PeerState::Up;

    /// One other peer, in this life, that says this of itself.
    fn snapshot(state: PeerState, life: u64, label: Option<&str>) -> Snapshot {
        let uid = |raw| PeerUid::new(raw).unwrap();
        let labels = label.map(|it| (LABEL.to_owned(), it.to_owned())).into_iter().collect();
        let peer = PeerView {
            name: PEER,
            uid: uid(life),
            nickname: String::new(),
            state,
            since: Duration::ZERO,
            links: Vec::new(),
            one_sided: Vec::new(),
            addresses: Vec::new(),
            incarnation: 1,
            started: 0,
            explicit: false,
            leases: false,
            labels,
            capabilities: 0,
            unreached: Vec::new(),
            isolated: false,
        };
        Snapshot { peers: vec![peer], ..Snapshot::empty(OWN, uid(9)) }
    }

    /// What the last of these looks says of the peer.
    fn last(looks: &[(PeerState, u64, Option<&str>)]) -> Vec<(Reach, Option<Subnet>)> {
        let (mut peers, mut said) = (Peers::default(), Vec::new());
        for (state, life, label) in looks {
            said = peers.look(&snapshot(*state, *life, *label), "10.32.0.0/12".parse().unwrap());
        }
        assert!(matches!(said.first(), Some(Input::Renamed(name)) if *name == OWN));
        let mut all = Vec::new();
        for input in said {
            if let Input::Peer(name, reach) = input {
                assert_eq!(name, PEER);
                all.push((reach, None));
            } else if let (Input::Divides(_, subnet), Some(last)) = (input, all.last_mut()) {
                last.1 = Some(subnet);
            }
        }
        all
    }

    #[test]
    fn a_peer_that_has_started_anew_without_having_been_silent_was_away() {
        let range = Some("10.32.0.0/12");

        assert_eq!(last(&[(UP, 1, range)]), [(Reach::Up, None)]);
        assert_eq!(last(&[(UP, 1, range), (UP, 1, range)]), []);
        let anew = last(&[(UP, 1, range), (UP, 2, range)]);
        assert_eq!(anew, [(Reach::Silent, None), (Reach::Up, None)]);
        assert_eq!(last(&[(UP, 1, range), (PeerState::Gone, 1, range)]), [(Reach::Gone, None)]);
    }

    #[test]
    fn who_manages_no_addresses_is_not_waited_for_and_who_divides_another_range_is_known() {
        let other: Subnet = "10.0.0.0/8".parse().unwrap();

        assert_eq!(last(&[(UP, 1, None)]), [(Reach::Apart, None)]);
        assert_eq!(last(&[(UP, 1, Some("what?"))]), [(Reach::Apart, None)]);
        assert_eq!(last(&[(UP, 1, Some("10.0.0.0/8"))]), [(Reach::Apart, Some(other))]);
        let mended = last(&[(UP, 1, Some("10.0.0.0/8")), (UP, 2, Some("10.32.0.0/12"))]);
        assert_eq!(mended, [(Reach::Up, None)]);
    }
}
