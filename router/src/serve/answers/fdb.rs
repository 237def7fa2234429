//! Where stations are.

use api::{Fdb, Station};

use crate::node::Whereabouts;
use crate::serve::look::FdbLook;

/// Where stations are, by MAC address.
pub fn fdb(look: &FdbLook) -> Fdb {
    Fdb {
        now: look.look.now,
        total: look.total as u64,
        stations: look.rows.iter().map(|row| station(look, row)).collect(),
    }
}

fn station(at: &FdbLook, row: &Whereabouts) -> Station {
    let here = row.peer == at.look.mesh.name;
    let path = at.look.paths.get(&row.peer).filter(|_| !here);
    Station {
        mac: row.mac.to_string(),
        here,
        peer: at.look.refer(row.peer),
        path: path.map(super::kind),
        addresses: row.addresses.to_vec(),
        since: row.since.map(|since| at.look.ago(at.now.saturating_sub(since))),
        announced: row.announced,
    }
}
