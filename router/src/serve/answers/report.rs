//! Everything at one moment.

use std::collections::BTreeMap;

use api::{MeshStats, Report};
use peer_mesh::Stats;
use peer_mesh::shell::{Refused, ShellStats, Snapshot};

use super::{VERSION, connections, peers, status, targets};
use crate::serve::look::Look;

/// Everything there is to tell.
pub fn report(look: &Look) -> Report {
    Report {
        now: look.now,
        version: VERSION.to_owned(),
        status: status(look),
        connections: connections::all(look),
        peers: peers::all(look),
        targets: targets::all(look),
        paths: super::paths(look).paths,
        ipam: look.ipam.is_some().then(|| super::ipam(look)),
        counters: look.counters.clone(),
        kernel: look.kernel.clone(),
        control: look.control,
        mesh: mesh(look),
    }
}

/// The mesh's counters. Taken apart field by field, so that one that is added is not left out.
pub(super) fn mesh(look: &Look) -> MeshStats {
    let Snapshot { root, stats, shell, .. } = &*look.mesh;
    let &Stats {
        sent_octets,
        sent_batches,
        received_octets,
        merged,
        stale,
        malformed,
        dropped,
        overflow,
        links_ended,
        records,
        connections,
        addresses,
    } = stats;
    let &ShellStats {
        refused: Refused { too_many, too_fast, full, displaced, by_core },
        accept_errors,
        events_lost,
        refusals_untold,
        state_failures,
        overruns,
        unfinished,
    } = shell;
    let counters = [
        ("sent_octets", sent_octets),
        ("sent_batches", sent_batches),
        ("received_octets", received_octets),
        ("merged", merged),
        ("stale", stale),
        ("malformed", malformed),
        ("dropped", dropped),
        ("overflow", overflow),
        ("links_ended", links_ended),
        ("refused_too_many", too_many),
        ("refused_too_fast", too_fast),
        ("refused_full", full),
        ("refused_displaced", displaced),
        ("refused_by_core", by_core),
        ("accept_errors", accept_errors),
        ("events_lost", events_lost),
        ("refusals_untold", refusals_untold),
        ("state_failures", state_failures),
        ("overruns", overruns),
    ];
    let sizes = [
        ("records", records),
        ("connections", connections),
        ("addresses", addresses),
        ("unfinished", unfinished),
    ];
    MeshStats {
        root: format!("{:016x}", root),
        counters: named(counters),
        sizes: named(sizes.map(|(name, size)| (name, size as u64))),
    }
}

fn named<const N: usize>(each: [(&str, u64); N]) -> BTreeMap<String, u64> {
    each.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
