//! Requests about addresses.

use std::net::IpAddr;
use std::time::Duration;

use api::{
    Allocate, Awaited, Cidr, Claim, Expose, Exposed, Free, Hide, Leased, Leases, Left, Lookup,
    Removal, RemovePeer,
};
use peer_mesh::PeerName;
use peer_mesh::shell::Snapshot;
use router::ipam::{Answer, Lease, Reach, Subnet, Wish};
use router::pods::Key;
use router::serve::{Addresses, Because, OwnerLook, Refusal};
use tokio::sync::mpsc;

use super::{Desk, refusal, stopped};
use crate::addresses::{Office, Question, awaited, remedy};
use crate::args::Addressing;
use crate::exposed::ID;
use crate::look::timestamp;
use crate::tick;

/// An office that is open: whom to ask, and of which addresses.
type Counter<'a> = (&'a Addressing, &'a mpsc::Sender<Question>);

impl Addresses for Desk {
    async fn allocate(&self, request: Allocate) -> Result<Leased, Refusal> {
        let what = "lease an address";
        not_ours(what, &request.id)?;
        let (addressing, asks) = self.counter(what)?;
        let subnet = match request.subnet {
            Some(subnet) => network(what, subnet)?,
            None => addressing.subnet,
        };
        let wish = Wish::Allocate { id: request.id.clone(), subnet };
        let answer = wish_for(what, asks, wish).await?;
        let address = leased(&answer).and_then(|addr| Cidr::new(addr, subnet.prefix()));
        self.renew_look().await;
        Ok(Leased { id: request.id, address: address.ok_or_else(|| mixed_up(what))? })
    }

    async fn claim(&self, request: Claim) -> Result<Leased, Refusal> {
        let what = "lease that address";
        not_ours(what, &request.id)?;
        let (_, asks) = self.counter(what)?;
        let Claim { id, address } = request;
        let (addr, subnet) = (address.addr(), network(what, address)?);
        wish_for(what, asks, Wish::Claim { id: id.clone(), addr, subnet }).await?;
        self.renew_look().await;
        Ok(Leased { id, address })
    }

    async fn lookup(&self, request: Lookup) -> Result<Leases, Refusal> {
        let what = "look addresses up";
        let (addressing, asks) = self.counter(what)?;
        let all = Office::leases(asks, Some(request.id.clone())).await;
        let mut all = all.ok_or_else(|| stopped(what))?;
        let subnet = request.subnet.map(|subnet| network(what, subnet)).transpose()?;
        if let Some(subnet) = subnet {
            all.retain(|(addr, _)| subnet.contains(*addr));
        }
        if all.is_empty() {
            let why = format!("{:?} has no address here", request.id);
            return Err(refusal(
                Because::Absent,
                what,
                why,
                "lease one first, or ask the node that it is on",
            ));
        }
        Ok(leases(addressing, subnet, all))
    }

    async fn free(&self, request: Free) -> Result<Leases, Refusal> {
        let what = "free addresses";
        not_ours(what, &request.id)?;
        let (addressing, asks) = self.counter(what)?;
        let Free { id, address } = request;
        let before = Office::leases(asks, Some(id.clone())).await.ok_or_else(|| stopped(what))?;
        let Answer::Freed(freed) = wish_for(what, asks, Wish::Free { id, addr: address }).await?
        else {
            return Err(mixed_up(what));
        };
        self.renew_look().await;
        let freed = before.into_iter().filter(|(addr, _)| freed.contains(addr)).collect();
        Ok(leases(addressing, None, freed))
    }

    async fn leases(&self) -> Result<Leases, Refusal> {
        let what = "tell which addresses are leased";
        let (addressing, asks) = self.counter(what)?;
        let all = Office::leases(asks, None).await.ok_or_else(|| stopped(what))?;
        Ok(leases(addressing, None, all))
    }

    async fn remove_peer(&self, request: RemovePeer) -> Result<Removal, Refusal> {
        let what = "remove the peer";
        let (_, asks) = self.counter(what)?;
        let mesh = self.mesh.snapshot().await.map_err(|_| stopped(what))?;
        let look = self.office.look().await.map_err(|_| stopped(what))?;
        let owners = look.map(|it| it.look.owners).unwrap_or_default();
        let name = named(what, (&mesh, &owners), &request.name)?;
        let wished = Office::wish(asks, Wish::Remove { name, force: request.force }).await;
        let wished = wished.ok_or_else(|| stopped(what))?;
        // That a peer that owns nothing is to be forgotten is news for the mesh alone.
        let owns_none = matches!(wished, Err(router::ipam::Refusal::UnknownPeer(_)));
        let forgotten = match &wished {
            Err(_) if !owns_none => false,
            Ok(_) | Err(_) => self.mesh.remove(name).await.map_err(|_| stopped(what))?,
        };
        let (epochs, addresses, waiting_for) = match wished {
            Ok(Answer::Removed { epochs, addresses, waiting_for }) => {
                (epochs, addresses, waiting_for)
            }
            Err(_) if owns_none && forgotten => (Vec::new(), 0, Vec::new()),
            Err(why) => return Err(refused(what, &why)),
            Ok(Answer::Leased(_) | Answer::Freed(_) | Answer::Left { .. }) => {
                return Err(mixed_up(what));
            }
        };
        self.renew_look().await;
        Ok(Removal {
            name: name.to_string(),
            nickname: nickname(&mesh, name).to_owned(),
            epochs: epochs.iter().map(|owner| owner.epoch.to_string()).collect(),
            addresses,
            waiting_for: waiting_for.iter().map(|owner| awaited_peer(&mesh, owner.name)).collect(),
        })
    }

    async fn leave(&self) -> Result<Left, Refusal> {
        let what = "hand the addresses over";
        let (_, asks) = self.counter(what)?;
        let Answer::Left { heir, addresses } = wish_for(what, asks, Wish::Leave).await? else {
            return Err(mixed_up(what));
        };
        self.renew_look().await;
        let mesh = self.mesh.recent().await.map_err(|_| stopped(what))?;
        Ok(Left {
            heir: heir.map(|name| name.to_string()),
            nickname: heir.map(|name| nickname(&mesh, name).to_owned()),
            addresses,
        })
    }

    async fn expose(&self, request: Expose) -> Result<Exposed, Refusal> {
        self.do_expose(request.address).await
    }

    async fn hide(&self, request: Hide) -> Result<Exposed, Refusal> {
        self.do_hide(request.address).await
    }
}

impl Desk {
    /// Whom to ask.
    pub(super) fn counter(&self, what: &str) -> Result<Counter<'_>, Refusal> {
        self.office.counter(what)
    }

    /// Who asks after a change is told of it.
    pub(super) async fn renew_look(&self) {
        self.last.lock().await.look = None;
    }
}

impl Office {
    /// Whom to ask.
    pub(crate) fn counter(&self, what: &str) -> Result<Counter<'_>, Refusal> {
        match self {
            Self::Open(addressing, asks, ..) => Ok((addressing, asks)),
            Self::Off => {
                let why = "this weftd manages no addresses".to_owned();
                Err(refusal(Because::NotReady, what, why, "start it without --ipalloc-range none"))
            }
            Self::Refused(_, why) => {
                let what_to_do = "see weft status ipam";
                Err(refusal(Because::NotReady, what, why.clone(), what_to_do))
            }
        }
    }
}

pub(crate) async fn wish_for(
    what: &str,
    asks: &mpsc::Sender<Question>,
    wish: Wish,
) -> Result<Answer, Refusal> {
    let outcome = Office::wish(asks, wish).await.ok_or_else(|| stopped(what))?;
    outcome.map_err(|why| refused(what, &why))
}

/// In the words of the API.
pub(crate) fn refused(what: &str, why: &router::ipam::Refusal) -> Refusal {
    let (because, what_to_do) = remedy(why);
    refusal(because, what, why.to_string(), &what_to_do)
}

pub(crate) fn mixed_up(what: &str) -> Refusal {
    let why = "the answer is one to another request".to_owned();
    refusal(Because::Failed, what, why, "please report this")
}

pub(crate) fn leased(answer: &Answer) -> Option<IpAddr> {
    match answer {
        Answer::Leased(addr) => Some(*addr),
        Answer::Freed(_) | Answer::Removed { .. } | Answer::Left { .. } => None,
    }
}

/// What the bridge has, or a pod that is plugged in, is not anybody's to lease or free.
fn not_ours(what: &str, id: &str) -> Result<(), Refusal> {
    let (why, what_to_do) = if id == ID {
        let why = format!("the id {ID:?} is that of the bridge's own addresses");
        (why, "use weft expose or weft hide, or give another id")
    } else if Key::of_lease(id).is_some() {
        let why = format!("the id {id:?} is that of a pod that weft plugs in");
        (why, "use weft attach or weft detach, or give another id")
    } else {
        return Ok(());
    };
    Err(refusal(Because::Senseless, what, why, what_to_do))
}

fn network(what: &str, cidr: Cidr) -> Result<Subnet, Refusal> {
    Subnet::of(cidr.addr(), cidr.prefix()).ok_or_else(|| {
        let why = format!("{cidr} is no subnet");
        refusal(Because::Senseless, what, why, "give one such as 10.32.0.0/12")
    })
}

/// With the prefix of the subnet that each was asked of. Earlier releases did not keep it: then of the smallest known one that it is in.
fn leases(
    addressing: &Addressing,
    subnet: Option<Subnet>,
    mut all: Vec<(IpAddr, Lease)>,
) -> Leases {
    all.sort_unstable_by_key(|(addr, _)| *addr);
    let prefix = |addr: IpAddr| {
        let known = [subnet, Some(addressing.subnet)].into_iter().flatten();
        let known = known.into_iter().find(|it| it.contains(addr));
        known.unwrap_or_else(|| addressing.range.subnet()).prefix()
    };
    let lease = |(addr, lease): (IpAddr, Lease)| {
        let address = Cidr::new(addr, lease.prefix.unwrap_or_else(|| prefix(addr)))?;
        let since = timestamp(Duration::from_micros(lease.since));
        Some(api::Lease { id: lease.id, address, since })
    };
    let now = timestamp(tick::wall());
    Leases { now, leases: all.into_iter().filter_map(lease).collect() }
}

/// The peer that is meant: by its name, also one that only the ring knows, or by its nickname.
fn named(
    what: &str,
    (mesh, owners): (&Snapshot, &[OwnerLook]),
    text: &str,
) -> Result<PeerName, Refusal> {
    if let Ok(name) = text.parse() {
        return Ok(name);
    }
    let own = mesh.own.iter().chain(&mesh.peers).map(|it| (it.name, it.nickname.as_str()));
    let gone = mesh.gone.iter().map(|it| (it.name, it.nickname.as_str()));
    // Of those that died before this daemon started only the ring tells.
    let known = |name: PeerName| nickname(mesh, name).is_empty();
    let of_ring = owners.iter().filter(|it| known(it.name));
    let of_ring = of_ring.map(|it| (it.name, it.nickname.as_str()));
    let all = own.chain(gone).chain(of_ring);
    let called = all.filter(|(_, nickname)| *nickname == text).map(|(name, _)| name);
    let mut called: Vec<PeerName> = called.collect();
    called.sort_unstable();
    called.dedup();
    match called.as_slice() {
        [one] => Ok(*one),
        [] => {
            let why = format!("nobody is called {text:?}");
            Err(refusal(Because::Absent, what, why, "name a peer of weft status ipam"))
        }
        several => {
            let names: Vec<_> = several.iter().map(PeerName::to_string).collect();
            let why = format!("several are called {text:?}: {}", names.join(", "));
            Err(refusal(Because::Senseless, what, why, "give the name of one of them"))
        }
    }
}

fn nickname(mesh: &Snapshot, name: PeerName) -> &str {
    let own = mesh.own.iter().chain(&mesh.peers).map(|it| (it.name, it.nickname.as_str()));
    let gone = mesh.gone.iter().map(|it| (it.name, it.nickname.as_str()));
    own.chain(gone).find(|(it, _)| *it == name).map_or("", |(_, nickname)| nickname)
}

fn awaited_peer(mesh: &Snapshot, name: PeerName) -> Awaited {
    let peer = mesh.peers.iter().find(|it| it.name == name);
    let reach = match peer.map(|it| it.state) {
        Some(peer_mesh::PeerState::Up) => Reach::Up,
        Some(peer_mesh::PeerState::Silent) => Reach::Silent,
        Some(peer_mesh::PeerState::Gone) | None => Reach::Gone,
    };
    // This node itself has everything still to do.
    let reach = if name == mesh.name { Reach::Up } else { reach };
    Awaited {
        name: name.to_string(),
        nickname: nickname(mesh, name).to_owned(),
        reason: awaited(reach),
    }
}
