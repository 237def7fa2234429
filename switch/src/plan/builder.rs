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
}

impl PlanBuilder {
    pub(super) const fn new(vni: Vni) -> Self {
        Self { vni, label: None, entries: Vec::new() }
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
        if let Some(entry) = self.entries.get_mut(id.slot()) {
            *entry = Some((peer, route));
        }
        self
    }

    /// The plan.
    pub fn build(self) -> Plan {
        let entries: Box<[_]> = self.entries.iter().map(|it| it.map(|it| self.entry(it))).collect();
        let present = || {
            let slots = (0..=u16::MAX).map(PeerId).zip(&entries);
            slots.filter_map(|(id, entry)| Some((id, entry.as_ref()?)))
        };
        let mut vteps: Vec<_> = present().map(|(id, it)| (it.peer.addr.ip(), id)).collect();
        vteps.sort_unstable();
        let sleeves = present().filter_map(|(_, it)| it.route.sleeve);
        let mut sources: Vec<IpAddr> = vteps.iter().map(|(addr, _)| *addr).collect();
        sources.extend(sleeves.map(|addr| addr.ip()));
        sources.sort_unstable();
        sources.dedup();
        let labels = present().filter_map(|(id, it)| Some((it.route.label?, id)));
        Plan {
            vni: self.vni,
            label: self.label,
            flood: present().filter(|(_, it)| it.way.is_some()).map(|(id, _)| id).collect(),
            labels: unambiguous(labels.collect(), self.label),
            vteps: vteps.into(),
            sources: sources.into(),
            entries,
        }
    }

    fn entry(&self, (peer, route): (Peer, Route)) -> Entry {
        let hop = match route.path {
            Path::User | Path::Sleeve => route.sleeve,
            Path::Relay(relay) => self.direct(relay),
            Path::Down => None,
        };
        let header = vxlan::header(self.vni);
        let way = match route.path {
            Path::User => Some(Way { tunnel: Tunnel::Vxlan, to: peer.addr, header }),
            Path::Sleeve | Path::Relay(_) => hop
                .zip(self.label.zip(route.label))
                .map(|(to, (own, far))| Way::sleeve(to, own, far)),
            Path::Down => None,
        };
        Entry { peer, route, way, hop }
    }

    /// Where UDP 6783 of a peer is that is reached without others' help.
    fn direct(&self, id: PeerId) -> Option<SocketAddr> {
        let (_, route) = self.entries.get(id.slot()).copied().flatten()?;
        match route.path {
            Path::User | Path::Sleeve => route.sleeve,
            Path::Relay(_) | Path::Down => None,
        }
    }
}

/// The labels in order, without those that stand for more than one peer: until control has put
/// that right, nobody can say whose frames these are.
fn unambiguous(mut labels: Vec<(Label, PeerId)>, own: Option<Label>) -> Box<[(Label, PeerId)]> {
    labels.sort_unstable();
    let same = |a: &(Label, PeerId), b: &(Label, PeerId)| a.0 == b.0;
    let groups = labels.chunk_by(same).filter(|group| group.len() == 1);
    groups.flatten().filter(|(label, _)| Some(*label) != own).copied().collect()
}
