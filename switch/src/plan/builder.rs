use std::net::{IpAddr, SocketAddr};

use super::{Entry, Path, Peer, PeerId, Plan, Route, Tunnel, Way};
use crate::sleeve::Label;
use crate::{Vni, vxlan};

/// Puts a [`Plan`] together.
#[derive(Clone, Debug)]
pub struct PlanBuilder {
    vni: Vni,
    label: Option<Label>,
    entries: Vec<Option<(Peer, Route)>>,
    aliases: Vec<(IpAddr, PeerId)>,
}

impl PlanBuilder {
    pub(super) const fn new(vni: Vni) -> Self {
        Self { vni, label: None, entries: Vec::new(), aliases: Vec::new() }
    }

    /// This node's own label. Without one UDP 6783 is not sent to.
    #[must_use]
    pub const fn label(mut self, own: Label) -> Self {
        self.label = Some(own);
        self
    }

    /// Puts a peer into a slot; who was there before is not any more. Slots may stay empty: the
    /// MAC table knows peers by their slots, so that those who stay keep theirs when others leave.
    #[must_use]
    pub fn peer(mut self, id: PeerId, peer: Peer, route: Route) -> Self {
        if self.entries.len() <= id.slot() {
            self.entries.resize(id.slot() + 1, None);
        }
        if let Some(entry) = self.entries.get_mut(id.slot())
            && entry.replace((peer, route)).is_some()
        {
            self.aliases.retain(|(_, owner)| *owner != id);
        }
        self
    }

    /// Another address that a peer sends from: datagrams from there, on either tunnel, are its own,
    /// too. An address that several claim is the one's whose [`Peer::addr`] it is, else that of the
    /// lowest slot. Of a slot that stays empty nothing is taken note of.
    #[must_use]
    pub fn alias(mut self, id: PeerId, addr: IpAddr) -> Self {
        self.aliases.push((addr, id));
        self
    }

    /// The plan.
    pub fn build(self) -> Plan {
        let entry = |(id, it): (_, &Option<_>)| it.map(|it| self.entry(id, it));
        let entries: Box<[_]> = slots().zip(&self.entries).map(entry).collect();
        let present =
            || slots().zip(&entries).filter_map(|(id, entry)| Some((id, entry.as_ref()?)));
        let vteps = self.vteps();
        let sleeves = present().filter_map(|(_, it)| it.route.sleeve);
        let mut sources: Vec<IpAddr> = vteps.iter().map(|(addr, _)| *addr).collect();
        sources.extend(sleeves.map(|addr| addr.ip()));
        sources.sort_unstable();
        sources.dedup();
        let labels = present().filter_map(|(id, it)| Some((it.route.label?, id)));
        Plan {
            vni: self.vni,
            label: self.label,
            flood: present().filter(|(_, it)| it.is_flooded()).map(|(id, _)| id).collect(),
            kernel_floods: present().any(|(_, it)| it.route.path == Path::Fast),
            labels: unambiguous(labels.collect(), self.label),
            vteps,
            sources: sources.into(),
            entries,
        }
    }

    fn entry(&self, id: PeerId, (peer, route): (Peer, Route)) -> Entry {
        let hop = match route.path {
            Path::Fast | Path::User | Path::Sleeve => route.sleeve.map(|addr| (id, addr)),
            Path::Relay(relay) => self.direct(relay).map(|addr| (relay, addr)),
            Path::Down => None,
        };
        let header = vxlan::header(self.vni);
        let way = match route.path {
            Path::Fast | Path::User => Some(Way { tunnel: Tunnel::Vxlan, to: peer.addr, header }),
            Path::Sleeve | Path::Relay(_) => hop
                .zip(self.label.zip(route.label))
                .map(|((_, to), (own, far))| Way::sleeve(to, own, far)),
            Path::Down => None,
        };
        Entry { peer, route, way, hop }
    }

    /// Whose each address is, in order of address.
    fn vteps(&self) -> Box<[(IpAddr, PeerId)]> {
        let present = slots().zip(&self.entries).filter_map(|(id, it)| Some((id, it.as_ref()?)));
        let mut claims: Vec<_> =
            present.map(|(id, (peer, _))| (peer.addr.ip(), false, id)).collect();
        let occupied = |id: &PeerId| self.entries.get(id.slot()).is_some_and(Option::is_some);
        let aliases = self.aliases.iter().filter(|(_, id)| occupied(id));
        claims.extend(aliases.map(|(addr, id)| (*addr, true, *id)));
        // Of one address, first whose main one it is, then the lowest slot.
        claims.sort_unstable();
        claims.dedup_by_key(|(addr, ..)| *addr);
        claims.into_iter().map(|(addr, _, id)| (addr, id)).collect()
    }

    /// Where UDP 6783 of a peer is that is reached without others' help.
    fn direct(&self, id: PeerId) -> Option<SocketAddr> {
        let (_, route) = self.entries.get(id.slot()).copied().flatten()?;
        route.sleeve.filter(|_| route.path.is_direct())
    }
}

fn slots() -> impl Iterator<Item = PeerId> {
    (0..=u16::MAX).map(PeerId)
}

/// The labels in order, without those that stand for more than one peer: until control has put
/// that right, nobody can say whose frames these are.
fn unambiguous(mut labels: Vec<(Label, PeerId)>, own: Option<Label>) -> Box<[(Label, PeerId)]> {
    labels.sort_unstable();
    let same = |a: &(Label, PeerId), b: &(Label, PeerId)| a.0 == b.0;
    let groups = labels.chunk_by(same).filter(|group| group.len() == 1);
    groups.flatten().filter(|(label, _)| Some(*label) != own).copied().collect()
}
