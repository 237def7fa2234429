//! The table of the bridge family: pods send nothing that passes for a probe of ours.
//!
//! Probes go from bridge to bridge as frames of an EtherType of their own. One that a pod forges is not believed, as it is not sealed;
//! but it does not even leave the port of a pod that weft has plugged in.

use switch::{POD_PREFIX, PROBE};

/// Family and name of the table.
pub(super) const TABLE: [&str; 2] = ["bridge", "weft"];
/// Its chain.
pub(super) const CHAIN: &str = "ports";
/// Before all others.
const FIRST: i32 = -300;

/// The commands that make the table, or make it anew.
pub(super) fn compile() -> String {
    let table = TABLE.join(" ");
    format!(
        "add table {table}
add chain {table} {CHAIN} {{ type filter hook prerouting priority {FIRST}; policy accept; }}
flush chain {table} {CHAIN}
add rule {table} {CHAIN} iifname \"{POD_PREFIX}*\" ether type {PROBE:#06x} counter drop
"
    )
}
