//! Where stations are, as control core and frame path have it.

use std::collections::BTreeMap;
use std::time::Duration;

use router::Node;
use router::node::Whereabouts;
use switch::{Mac, MacTable, Port};

/// Stations that are told at a time; as many as the frame path has room for.
const MOST: usize = 65_536;

/// Where stations are, by MAC address, as far as they are told, and how many there are.
#[derive(Clone, Debug)]
pub(crate) struct Stations {
    /// When, by the loop's clock.
    pub(crate) now: Duration,
    pub(crate) rows: Vec<Whereabouts>,
    pub(crate) total: usize,
}

impl Stations {
    /// Those that nodes have announced, and those that only frames have told of.
    pub(crate) fn of(
        node: &Node,
        learned: &BTreeMap<Mac, Port>,
        table: &MacTable,
        now: Duration,
    ) -> Self {
        let (mut rows, mut total) = node.whereabouts(MOST);
        if !learned.is_empty() {
            let learned: Vec<_> = heard_of(node, learned, table).collect();
            total += learned.len();
            rows.extend(learned);
            rows.sort_unstable_by_key(|row| row.mac);
            rows.truncate(MOST);
        }
        Self { now, rows, total }
    }
}

fn heard_of(
    node: &Node,
    learned: &BTreeMap<Mac, Port>,
    table: &MacTable,
) -> impl Iterator<Item = Whereabouts> {
    let peers: BTreeMap<_, _> = node.paths().map(|(name, path)| (path.chosen.id, name)).collect();
    let unannounced = learned.keys().filter(|mac| node.stations().owner(**mac).is_none());
    unannounced.filter_map(move |mac| {
        let Some(Port::Peer(id)) = table.lookup(*mac) else { return None };
        let peer = *peers.get(&id)?;
        let addresses = Box::default();
        Some(Whereabouts { mac: *mac, peer, addresses, since: None, announced: false })
    })
}
