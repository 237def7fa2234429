//! The mesh's topology as inputs of the control core: what has changed since the last look.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use peer_mesh::shell::{Handle, PeerView, Snapshot, Stopped};
use peer_mesh::{PeerName, PeerState};
use router::node::{self, LABEL, LEAST, RING};
use router::plan::Standing;
use router::{Input, label_of, probe};
use switch::options::MtuChoice;
use switch::{Mtu, path_mtu};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::addresses::Office;
use crate::control::Inbox;
use crate::keyring::Keyring;

/// Changes come in crowds: so long they are waited for.
const GATHER: Duration = Duration::from_millis(20);
/// How often snapshot and routes are asked for, until they are of one moment.
const TRIES: usize = 5;
/// How often what paths carry is measured.
const MEASURE: Duration = Duration::from_secs(1);

/// How paths are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ruler {
    pub(crate) local: IpAddr,
    pub(crate) mtu: MtuChoice,
}

/// Looks whenever `refresh` says so, and once a second, until the mesh has stopped.
pub(crate) async fn follow(
    mesh: Handle,
    refresh: Arc<Notify>,
    ruler: Ruler,
    inbox: Inbox,
    (mtu, keyring, office): (watch::Sender<Mtu>, Keyring, Office),
) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    let mut measure_at = Instant::now();
    loop {
        let called = timeout_at(measure_at, refresh.notified()).await.is_ok();
        if called {
            sleep(GATHER).await;
        }
        let due = Instant::now() >= measure_at;
        if due {
            measure_at = Instant::now() + MEASURE;
        }
        let look = look(&mesh, called).await?;
        if let Some((snapshot, _)) = &look {
            seen.note_keys(snapshot, &keyring);
            office.show(snapshot);
        }
        let inputs = seen.update(look, ruler, due);
        for input in inputs {
            let sent = inbox.send(input).await;
            sent.map_err(|_| anyhow::anyhow!("the control loop has ended: please report this"))?;
        }
        if let Some(least) = seen.least(ruler) {
            mtu.send_replace(least);
        }
    }
}

type Routes = BTreeMap<PeerName, Vec<PeerName>>;

/// The mesh's view, if there is reason to look.
async fn look(mesh: &Handle, wanted: bool) -> Result<Option<(Arc<Snapshot>, Routes)>, Stopped> {
    if !wanted {
        return Ok(None);
    }
    let mut snapshot = mesh.snapshot().await?;
    for _ in 0..TRIES {
        let routes = mesh.data_routes().await?;
        let later = mesh.snapshot().await?;
        if states(&snapshot).eq(states(&later)) {
            return Ok(Some((later, routes)));
        }
        snapshot = later;
    }
    Ok(Some((snapshot, mesh.data_routes().await?)))
}

/// A peer that is up, with the routes of a moment in which it was not, would seem to be out of reach.
fn states(snapshot: &Snapshot) -> impl Iterator<Item = (PeerName, PeerState)> {
    snapshot.peers.iter().map(|view| (view.name, view.state))
}

/// What the core was told.
#[derive(Debug, Default)]
struct Seen {
    name: Option<PeerName>,
    peers: BTreeMap<PeerName, node::Peer>,
    carries: BTreeMap<PeerName, Option<Mtu>>,
}

impl Seen {
    fn update(
        &mut self,
        look: Option<(Arc<Snapshot>, Routes)>,
        ruler: Ruler,
        measure: bool,
    ) -> Vec<Input> {
        let mut inputs = Vec::new();
        if let Some((snapshot, routes)) = look {
            // At the first look, too: the mesh may have had to rename itself before that.
            if self.name.replace(snapshot.name) != Some(snapshot.name) {
                inputs.push(Input::Renamed(snapshot.name));
            }
            let peers = peers(&snapshot, &routes);
            let gone = self.peers.keys().filter(|name| !peers.contains_key(name));
            inputs.extend(gone.map(|name| Input::PeerGone(*name)));
            for (name, peer) in &peers {
                let before = self.peers.get(name);
                let elsewhere = before.is_none_or(|before| before.addresses != peer.addresses);
                let changed = before != Some(peer);
                if elsewhere {
                    self.carries.remove(name);
                    inputs.extend(self.measure(*name, peer, ruler));
                }
                if changed {
                    inputs.push(Input::Peer(*name, peer.clone()));
                }
            }
            self.carries.retain(|name, _| peers.contains_key(name));
            self.peers = peers;
        }
        if measure {
            let peers = std::mem::take(&mut self.peers);
            inputs.extend(peers.iter().filter_map(|(name, it)| self.measure(*name, it, ruler)));
            self.peers = peers;
        }
        inputs
    }

    /// Before probes of a peer are looked at, or sent to it.
    fn note_keys(&self, snapshot: &Snapshot, keyring: &Keyring) {
        for view in snapshot.peers.iter().filter(|view| view.state != PeerState::Gone) {
            keyring.note(view.name, view.labels.get(probe::KEY).map(String::as_str));
        }
        let there = |name: &PeerName| snapshot.peers.iter().any(|view| view.name == *name);
        let gone = self.peers.keys().filter(|name| !there(name));
        gone.for_each(|name| keyring.note(*name, None));
    }

    /// What all paths carry, once there is one.
    fn least(&self, ruler: Ruler) -> Option<Mtu> {
        match ruler.mtu {
            MtuChoice::Auto => self.carries.values().flatten().min().copied(),
            MtuChoice::Fixed(mtu) => Some(mtu),
        }
    }

    /// What the path to a peer carries, if that has changed.
    fn measure(&mut self, name: PeerName, peer: &node::Peer, ruler: Ruler) -> Option<Input> {
        let family = |addr: &&SocketAddr| addr.is_ipv6() == ruler.local.is_ipv6();
        let addr = peer.addresses.iter().filter(family).find(|addr| switch::is_host(addr.ip()))?;
        // Without a route for the moment there is nothing new to know.
        let underlay = path_mtu(ruler.local, addr.ip()).ok()?;
        let carried = Mtu::over(underlay, addr.ip()).unwrap_or(Mtu::MIN);
        let mtu = match ruler.mtu {
            MtuChoice::Auto => carried,
            MtuChoice::Fixed(mtu) => carried.min(mtu),
        };
        let before = self.carries.insert(name, Some(mtu));
        (before != Some(Some(mtu))).then_some(Input::Carries(name, Some(mtu)))
    }
}

fn peers(snapshot: &Snapshot, routes: &Routes) -> BTreeMap<PeerName, node::Peer> {
    let others = snapshot.peers.iter().filter(|peer| peer.name != snapshot.name);
    let peer = |view: &PeerView| {
        let link = snapshot.links.iter().find(|link| link.name == view.name);
        let standing = match view.state {
            PeerState::Up => Standing::Up,
            PeerState::Silent => Standing::Silent,
            PeerState::Gone => return None,
        };
        let mut addresses = view.addresses.clone();
        // It may send from where its connection comes from, whatever it says.
        if let Some(ip) = link.map(|link| link.addr.ip())
            && !addresses.iter().any(|addr| addr.ip() == ip)
        {
            let port = addresses.first().map_or(peer_mesh::Config::PORT, SocketAddr::port);
            addresses.push(SocketAddr::new(ip, port));
        }
        let peer = node::Peer {
            uid: view.uid.to_u64(),
            standing,
            addresses,
            label: view.labels.get(LABEL).and_then(|text| label_of(text)),
            least: view.labels.get(LEAST).and_then(|text| Mtu::new(text.parse().ok()?)),
            route: routes.get(&view.name).cloned(),
            neighbour: link.is_some(),
            ring: view.labels.get(RING).and_then(|text| u64::from_str_radix(text, 16).ok()),
        };
        Some((view.name, peer))
    };
    others.filter_map(peer).collect()
}
