//! From what is known to what is to be done about it: only changes are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blake2::{Blake2s256, Digest as _};
use peer_mesh::PeerName;
use serde::Serialize;
use switch::sleeve::{HOPS, Header};
use switch::{Label, Mac, Mtu, PeerId};

use super::{HOUSEKEEPING, Node, Output, Path, Peer, Placement, Told, Word};
use crate::choose_label;
use crate::liveness::{Line, Packet};
use crate::plan::{Chosen, Fact, Folded, Known, Own, Reason, Topology, fold};

/// Between two times that stations are placed, as each looks at all of them: this,
const REST: Duration = Duration::from_millis(10);
/// and for each station this, a few times what it takes.
const REST_EACH: Duration = Duration::from_micros(5);
/// How long it is remembered whose an address was: a pod that goes on sending keeps to what it knows
/// for longer than its own timeouts (Linux: `gc_stale_time`, 60 s).
pub(super) const REMEMBERED: Duration = Duration::from_secs(600);
/// How long it is remembered that somebody has asked: it asks again only when it gets no answer from whom it knows.
const ASKED: Duration = Duration::from_secs(3600);
/// And of how many, each.
pub(super) const REMEMBERED_MAX: usize = 65_536;

/// Who is asked to pass on a question to a peer that does not answer itself.
const BYSTANDERS: usize = 3;

impl Node {
    /// Brings the outside up to date.
    pub(super) fn settle(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        self.stations.set_present(self.own, true, now);
        self.stations.set_ring(self.own, self.ring, now);
        if self.topology_changed {
            self.tell_mesh(outputs);
            self.assign_slots(outputs);
        }
        let rested = self.settled_at.is_none_or(|at| now >= at + self.rest());
        if self.topology_changed {
            let topology = self.topology();
            let folded = self.fold(&topology);
            self.tell_sources(&topology, outputs);
            self.tell_paths(&folded, &topology, now, outputs);
            self.tell_alone(outputs);
        }
        if self.topology_changed || self.stations_changed && rested {
            self.tell_placements(now, outputs);
            let lost = self.tell_answers(now, outputs);
            self.release_slots(outputs);
            self.settled_at = Some(now);
            (self.topology_changed, self.stations_changed) = (false, false);
            lost.into_iter().for_each(|(mac, addr)| self.give_up(mac, addr, now));
        }
        let digest = self.stations.digest();
        if digest != self.told.digest {
            self.told.digest = digest;
            outputs.push(Output::Digest(digest));
        }
    }

    pub(super) fn keep_house(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        self.housekeeping_at = now + HOUSEKEEPING;
        self.stations.age(now);
        self.local.age(now);
        self.told.had.retain(|_, (_, since)| now < *since + REMEMBERED);
        self.told.asked.retain(|_, at| now < *at + ASKED);
        self.stations_changed = true;
        // The mesh forgets it of a peer that it thought gone for a moment.
        outputs.extend(self.told.unreached.iter().map(|name| Output::DataPath(*name, false)));
    }

    pub(super) fn rest(&self) -> Duration {
        REST + REST_EACH * u32::try_from(self.stations.len()).unwrap_or(u32::MAX)
    }

    /// Label, MTU, and whom we do not reach.
    fn tell_mesh(&mut self, outputs: &mut Vec<Output>) {
        let others = self.peers.iter().filter_map(|(name, peer)| Some((*name, peer.label?)));
        self.label = choose_label(self.own, Some(self.label), others);
        let least = self.sizes.least().unwrap_or(self.config.plan.mtu);
        let labels = labels(self.label, least);
        if labels != self.told.labels {
            self.told.labels.clone_from(&labels);
            outputs.push(Output::Labels(labels));
        }
        let unreached: BTreeSet<PeerName> = self
            .peers
            .iter()
            .filter(|(name, peer)| !self.goes_directly(**name, peer))
            .map(|(name, _)| *name)
            .collect();
        let told = std::mem::replace(&mut self.told.unreached, unreached.clone());
        outputs.extend(unreached.difference(&told).map(|name| Output::DataPath(*name, false)));
        outputs.extend(told.difference(&unreached).map(|name| Output::DataPath(*name, true)));
    }

    fn goes_directly(&self, name: PeerName, peer: &Peer) -> bool {
        self.liveness.choice(name).line.is_some() && self.may_go_directly(peer)
    }

    pub(super) fn may_go_directly(&self, peer: &Peer) -> bool {
        self.config.discovery || peer.neighbour
    }

    fn assign_slots(&mut self, outputs: &mut Vec<Output>) {
        for name in self.peers.keys() {
            if self.slots.assign(*name).is_none() && self.told.no_slot.insert(*name) {
                outputs.push(Output::Say(Word::NoSlot(*name)));
            }
        }
    }

    fn topology(&self) -> Topology {
        let fact = |(name, peer): (&PeerName, &Peer)| {
            let fact = Fact {
                standing: peer.standing,
                addresses: peer.addresses.clone(),
                label: peer.label,
                route: peer.route.clone(),
                allowed: self.may_go_directly(peer),
                choice: self.liveness.choice(*name),
                mtu: self.sizes.get(*name),
                narrow: self.is_narrow(*name),
                least: peer.least,
            };
            (*name, fact)
        };
        self.peers.iter().map(fact).collect()
    }

    fn fold(&self, topology: &Topology) -> Folded {
        let before: BTreeMap<PeerName, Chosen> =
            self.told.paths.iter().map(|(name, path)| (*name, path.chosen)).collect();
        let own = Own { name: self.own, label: self.label, fast: self.fast };
        let Self { slots, config, .. } = self;
        fold(&Known { own, topology, slots, config: &config.plan }, &before)
    }

    /// Whose datagrams are to be let in: before the plan, which sends them ours.
    fn tell_sources(&mut self, topology: &Topology, outputs: &mut Vec<Output>) {
        let all = topology.values().flat_map(|fact| &fact.addresses).map(|addr| addr.ip());
        let all: BTreeSet<IpAddr> = all.filter(|addr| switch::is_host(*addr)).collect();
        let sources: Vec<_> = all.into_iter().collect();
        if sources != self.told.sources {
            self.told.sources.clone_from(&sources);
            outputs.push(Output::Sources(sources));
        }
    }

    fn tell_paths(
        &mut self,
        folded: &Folded,
        topology: &Topology,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) {
        self.counts.plans += 1;
        self.told.hash ^= hash_of(&self.told.paths);
        outputs.push(Output::Install(folded.plan.clone()));
        let mut before = std::mem::take(&mut self.told.paths);
        for (name, chosen) in &folded.paths {
            let (was, stranded) = (before.remove(name), folded.stranded.contains(name));
            let via = via(chosen, topology.get(name), was.as_ref());
            let kept = was.as_ref().filter(|was| same_way(&was.chosen, chosen) && was.via == via);
            let path = match kept {
                Some(kept) => Path { chosen: *chosen, stranded, ..kept.clone() },
                None => {
                    let switches = was.as_ref().map_or(0, |was| was.switches + 1);
                    let from = was.map(|was| was.chosen);
                    let word = Word::Path { name: *name, from, to: *chosen, via: via.clone() };
                    outputs.push(Output::Say(word));
                    Path { chosen: *chosen, via, since: now, stranded, switches }
                }
            };
            self.told.paths.insert(*name, path);
        }
        self.told.hash ^= hash_of(&self.told.paths);
    }

    /// Where most peers answer nowhere, the fault is likely here.
    fn tell_alone(&mut self, outputs: &mut Vec<Output>) {
        let (doubtful, of) = self.liveness.doubtful();
        let alone = of > 2 && doubtful * 2 > of;
        if std::mem::replace(&mut self.told.alone, alone) != alone {
            outputs.push(Output::Say(Word::Alone(doubtful, of)));
        }
    }

    fn tell_placements(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let Told { placements: told, paths, hash, .. } = &mut self.told;
        let slot = |owner| paths.get(&owner).map(|path| path.chosen.id);
        let placed = self.stations.placed().filter(|(_, owner, _)| *owner != self.own);
        let placed: BTreeMap<Mac, PeerId> =
            placed.filter_map(|(mac, owner, _)| Some((mac, slot(owner)?))).collect();
        for (mac, was) in told.extract_if(.., |mac, _| !placed.contains_key(mac)) {
            *hash ^= hash_of(&(mac, was.id));
            outputs.push(Output::Displace(mac, was.id));
        }
        for (mac, id) in placed {
            let was = told.get(&mac).map(|was| was.id);
            if was != Some(id) {
                *hash ^= hash_of(&(mac, id)) ^ was.map_or(0, |was| hash_of(&(mac, was)));
                told.insert(mac, Placement { id, since: now });
                outputs.push(Output::Place(mac, id));
            }
        }
    }

    /// Which station has an address: the one that has said so last; of several that did at once the one with the highest
    /// number. Where clusters have met that leased separately, one of our own ring comes first.
    ///
    /// Returns the addresses that stations of this node have lost to others.
    fn tell_answers(&mut self, now: Duration, outputs: &mut Vec<Output>) -> Vec<(Mac, IpAddr)> {
        let mut claims: BTreeMap<IpAddr, Vec<Claim>> = BTreeMap::new();
        for (mac, owner, addresses) in self.stations.placed() {
            let sequence = self.stations.get(owner, mac).map_or(0, |said| said.sequence);
            let of_home = self.stations.is_of_home(owner);
            for addr in addresses {
                let new = !self.told.claims.contains(&(*addr, mac));
                let claim = Claim { of_home, new, sequence, mac, here: owner == self.own };
                claims.entry(*addr).or_default().push(claim);
            }
        }
        let told = std::mem::take(&mut self.told.answers);
        let all = claims.iter().flat_map(|(addr, all)| all.iter().map(|it| (*addr, it.mac)));
        self.told.claims = all.collect();
        for (addr, (mac, _)) in told.iter().filter(|(addr, _)| !claims.contains_key(addr)) {
            outputs.push(Output::Answer(*addr, None));
            if self.told.had.len() < REMEMBERED_MAX {
                self.told.had.insert(*addr, (*mac, now));
            }
        }
        let mut lost = Vec::new();
        for (addr, mut claims) in claims {
            let of_home = claims.iter().any(|claim| claim.of_home);
            claims.retain(|claim| claim.of_home == of_home);
            let before = told.get(&addr).copied();
            let had = self.told.had.remove(&addr).map(|(mac, _)| mac);
            let asked = self.told.asked.remove(&addr).is_some();
            let new = claims.iter().filter(|claim| claim.new).max();
            let kept = || claims.iter().find(|claim| before.is_some_and(|it| it.0 == claim.mac));
            let Some(claim) = new.or_else(kept).or_else(|| claims.iter().max()) else { continue };
            let answer = (claim.mac, claim.here);
            self.told.answers.insert(addr, answer);
            if before == Some(answer) {
                continue;
            }
            // Of those that are here, too: with that the bridge keeps what is asked for them off the TAP.
            outputs.push(Output::Answer(addr, Some(claim.mac)));
            // Only its owner can say that a station has it no longer; should it come back, that is news.
            lost.extend(
                before.filter(|(mac, here)| *here && *mac != claim.mac).map(|it| (it.0, addr)),
            );
            if before.map(|(mac, _)| mac).or(had).is_some_and(|mac| mac != claim.mac) {
                self.counts.addresses_moved += 1;
                outputs.push(Output::Moved(addr, claim.mac));
            } else if asked && before.is_none() {
                outputs.push(Output::Moved(addr, claim.mac));
            }
        }
        lost
    }

    pub(super) fn send_probe(&mut self, name: PeerName, packet: Packet, outputs: &mut Vec<Output>) {
        let path = self.told.paths.get(&name);
        let Some(chosen) = path.map(|it| it.chosen).filter(|it| it.reason != Reason::NoAddress)
        else {
            return;
        };
        let header = chosen
            .route
            .label
            .map(|destination| Header { source: self.label, destination, hops: HOPS }.emit());
        let sleeves = match packet.line {
            Line::Fast | Line::User | Line::Sleeve => chosen.route.sleeve.into_iter().collect(),
            // The mesh's own way may be cut and not know it yet.
            Line::Mesh => self.bystanders(name, packet.seq),
        };
        self.counts.probes_sent += 1;
        let vxlan = chosen.peer.addr;
        outputs.push(Output::Probe { to: name, packet, vxlan, sleeves, header });
    }

    /// Others that may reach a peer, and are reached themselves: with each number some other ones.
    fn bystanders(&self, name: PeerName, seq: u64) -> Vec<SocketAddr> {
        let reached = self.told.paths.iter().filter(|(other, path)| {
            **other != name && path.chosen.route.path.is_direct() && self.liveness.is_sure(**other)
        });
        let all: Vec<SocketAddr> =
            reached.filter_map(|(_, path)| path.chosen.route.sleeve).collect();
        let skipped = usize::try_from(seq).unwrap_or(0).wrapping_mul(BYSTANDERS);
        let skipped = skipped.checked_rem(all.len()).unwrap_or(0);
        all.iter().cycle().skip(skipped).take(BYSTANDERS.min(all.len())).copied().collect()
    }

    fn release_slots(&mut self, outputs: &mut Vec<Output>) {
        for name in std::mem::take(&mut self.leaving) {
            outputs.extend(self.slots.release(name).map(Output::Flush));
        }
    }
}

/// A station that says that it has an address. In order of how far it is believed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Claim {
    /// Its node began in the ring of addresses that this one began in.
    of_home: bool,
    /// It has not said so before.
    new: bool,
    sequence: u64,
    mac: Mac,
    here: bool,
}

fn hash_of(it: &impl Serialize) -> u64 {
    // What is in memory can be written to memory.
    let octets = rmp_serde::to_vec(it).unwrap_or_default();
    Blake2s256::digest(&octets).first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Through whom frames go. The mesh knows no way to a peer that is silent: it keeps the one it had.
fn via(chosen: &Chosen, fact: Option<&Fact>, was: Option<&Path>) -> Vec<PeerName> {
    if !matches!(chosen.route.path, switch::Path::Relay(_)) {
        return Vec::new();
    }
    let route = fact.and_then(|fact| fact.route.as_ref()).filter(|route| !route.is_empty());
    route.or_else(|| was.map(|was| &was.via)).cloned().unwrap_or_default()
}

/// Whether frames leave the same way as before, for the same reason: the MTU may differ.
fn same_way(a: &Chosen, b: &Chosen) -> bool {
    (a.id, a.peer.addr, a.route.path, a.reason) == (b.id, b.peer.addr, b.route.path, b.reason)
}

/// What others are to know of our data plane.
pub(super) fn labels(label: Label, least: Mtu) -> BTreeMap<String, String> {
    [(super::LABEL, label.to_string()), (super::LEAST, least.to_string())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}
