//! What must hold, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use router::ipam::{Kept, LeaseState, Offset, Owner, Stage};

use super::world::{Use, World};

impl World {
    /// A lease was answered: it is durable, its node owns it, and nobody else has it.
    pub(crate) fn check_lease(&mut self, node: usize, owner: Owner, id: &str, at: Offset) {
        if self.nodes[node].pods.get(id).is_some_and(|it| it.at == at) {
            return;
        }
        let it = &self.nodes[node];
        let kept = Kept::read(&it.disk, it.name, self.plan.range).unwrap();
        let durable = kept.leases.get(&at).is_some_and(|lease| lease.id == id);
        let record = kept.ring.as_ref().and_then(|ring| ring.record(owner));
        let owned = record.is_some_and(|record| record.segment_at(at).is_some());
        if !durable || !owned {
            return self.fail(format!(
                "node {node} answers {at} for {id}: durable {durable}, owned {owned}"
            ));
        }
        let ring = kept.ring.map_or(0, |ring| ring.id().0);
        let mine = Use { at, owner, ring, lost: false, tainted: it.tainted };
        let mut clash = None;
        for (other, node) in self.nodes.iter().enumerate() {
            for (pod, use_) in node.pods.iter().filter(|(_, it)| it.at == at) {
                if !self.may_clash(&mine, use_) {
                    clash = Some(format!("{pod} on node {other} ({use_:?})"));
                }
            }
        }
        if let Some(clash) = clash {
            self.fail(format!("node {node} leases {at} to {id} ({owner}), which {clash} has"));
        }
    }

    /// Two have an address: one of both belongs to the side that loses it.
    fn may_clash(&self, a: &Use, b: &Use) -> bool {
        a.ring != b.ring || self.loses(a) || self.loses(b)
    }

    /// Its epoch was removed while its pods ran, or its node's disk was rolled back.
    fn loses(&self, it: &Use) -> bool {
        let contested = self.contested.iter().any(|span| span.contains(it.at));
        it.tainted || contested || self.is_removed(it.owner)
    }

    /// Who has rightly lost what was contested has lost it for good, also when nothing is contested any more.
    pub(crate) fn remember_losers(&mut self) {
        for node in 0..self.nodes.len() {
            let pods = self.nodes[node].pods.iter();
            let lost: Vec<_> = pods
                .filter(|(_, it)| it.lost && self.loses(it))
                .map(|(id, _)| id.clone())
                .collect();
            for id in lost {
                if let Some(it) = self.nodes[node].pods.get_mut(&id) {
                    it.tainted = true;
                }
            }
        }
    }

    fn is_removed(&self, owner: Owner) -> bool {
        let rings = self.nodes.iter().filter_map(|node| node.alloc.as_ref()?.ring());
        self.removed.contains(&owner) || rings.into_iter().any(|ring| ring.is_removed(owner))
    }

    /// Everything has settled: nothing is lost, and nobody has what another has.
    pub(crate) fn check_settled(&mut self) {
        let running: Vec<usize> = (0..self.nodes.len()).filter(|it| self.runs(*it)).collect();
        let digests: BTreeSet<u64> = running.iter().map(|it| self.nodes[*it].digest).collect();
        let rings: Vec<_> = running
            .iter()
            .filter_map(|it| self.nodes[*it].alloc.as_ref()?.ring().cloned())
            .collect();
        let Some(ring) = rings.first().cloned() else { return };
        if digests.len() != 1 || rings.len() != running.len() {
            let text = rings.iter().map(|it| format!("\n    {it:?}")).collect::<String>();
            return self.fail(format!("nodes disagree: {digests:x?}{text}"));
        }
        let (gaps, removed) = (ring.gaps(), ring.removed().count());
        let owned: u64 = ring.owners().map(|(_, record)| record.owned()).sum();
        let offers: usize = ring.owners().map(|(_, record)| record.offers.len()).sum();
        if !gaps.is_empty() || removed > 0 || offers > 0 || owned != self.plan.range.span().len() {
            return self.fail(format!(
                "gaps {gaps:?}, removed {removed}, offers {offers}, owned {owned}: {ring:?}"
            ));
        }
        self.check_counts(&running);
        self.check_doubles();
    }

    fn check_counts(&mut self, running: &[usize]) {
        for node in running {
            let Some(alloc) = &self.nodes[*node].alloc else { continue };
            let view = alloc.view();
            let settled = alloc.leases().filter(|(_, it)| it.state == LeaseState::Owned).count();
            let record = alloc.ring().and_then(|ring| ring.record(alloc.own()));
            let owned = record.map_or(0, |it| it.owned());
            let last = self.plan.range.span().end() - 1;
            let ends = [0, last].into_iter().filter(|it| {
                let at = Offset::try_from(*it).unwrap();
                record.is_some_and(|record| record.segment_at(at).is_some())
            });
            let sum = view.free + view.occupied + u64::try_from(settled + ends.count()).unwrap();
            let all = self.nodes[*node]
                .pods
                .values()
                .all(|it| it.lost || alloc.leases().any(|(at, _)| at == it.at));
            let reclaiming = view.lost.iter().any(|(_, _, owner)| owner.is_none());
            let stuck = matches!(view.stage, Stage::Waiting(_));
            if sum != owned || !all || reclaiming || stuck {
                let text = format!(
                    "node {node}: free and leased {sum}, owned {owned}, pods' leases kept {all}, reclaiming {reclaiming}, {:?}",
                    view.stage
                );
                return self.fail(text);
            }
        }
    }

    /// Of two who have an address one was told that it has lost it, and it is the right one.
    fn check_doubles(&mut self) {
        let mut by: BTreeMap<Offset, Vec<Use>> = BTreeMap::new();
        for it in self.nodes.iter().filter(|it| !it.dead).flat_map(|it| it.pods.values()) {
            by.entry(it.at).or_default().push(*it);
        }
        for uses in by.into_values() {
            let kept = uses.iter().filter(|it| !it.lost).count();
            let wrong = uses.iter().any(|it| {
                it.lost && !self.loses(it) && uses.iter().all(|other| other.ring == it.ring)
            });
            if kept > 1 || wrong {
                return self.fail(format!("doubles that nobody names, or wrongly: {uses:?}"));
            }
        }
    }
}
