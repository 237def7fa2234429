//! What `nft -j list table` says about the guard: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::ruleset::{CHAINS, DROPS, PEERS, QUOTED, TARGETS};
use super::{fence, pods};

/// Elements, by the name of their set.
pub(super) type Sets = BTreeMap<String, BTreeSet<IpAddr>>;

/// Packets and octets, of the IP packets with their headers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// How many packets.
    pub packets: u64,
    /// How many octets.
    pub octets: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.octets += other.octets;
    }
}

/// What the guard has counted since its table was made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Dropped: UDP to the sleeve's port from no peer.
    pub sleeve_strangers: Count,
    /// Dropped: UDP to the VXLAN port from no peer.
    pub vxlan_strangers: Count,
    /// Dropped: from pods, to a port of this node.
    pub pods_to_node: Count,
    /// Dropped: from pods, to a port of a peer.
    pub pods_to_peers: Count,
    /// Dropped: sent straight to the port of the transparent socket.
    pub to_receiver: Count,
    /// Dropped: from users of this node, by `lo`.
    pub local_users: Count,
    /// Dropped: from pods, that packets between nodes are too big.
    pub pods_too_big: Count,
    /// Let in, by peer, both ports.
    pub peers: BTreeMap<IpAddr, Count>,
}

impl Tally {
    /// Adds what the table of [`pods`] counts.
    pub(super) fn add_pods(&mut self, other: &Self) {
        self.pods_to_peers += other.pods_to_peers;
        self.pods_too_big += other.pods_too_big;
    }
}

/// A table that was read.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) tally: Tally,
    pub(super) sets: Sets,
    /// All that is not counted nor an element: two of them are equal if nobody has changed anything,
    pub(super) shape: Vec<Value>,
    /// and the rules that name the peers.
    pub(super) quoted: Vec<Value>,
}

impl Listing {
    /// The peers of either kind of set.
    pub(super) fn all_peers(&self) -> BTreeSet<IpAddr> {
        self.sets.values().flatten().copied().collect()
    }

    /// Reads what nft has printed. What is not the guard's is left out.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, String> {
        let root: Value = serde_json::from_slice(octets).map_err(|error| error.to_string())?;
        let items = root.get("nftables").and_then(Value::as_array).ok_or("no `nftables` in it")?;
        let mut listing = Self::default();
        for item in items.iter().filter_map(Value::as_object).flatten() {
            if let (kind, Value::Object(fields)) = item {
                listing.take(kind, fields)?;
            }
        }
        Ok(listing)
    }

    fn take(&mut self, kind: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let text = |key| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        let ours = match kind {
            "table" => true,
            "counter" => DROPS.contains(&name),
            "chain" => is_ours(name),
            "set" => PEERS.contains(&name) || TARGETS.contains(&name),
            "rule" => is_ours(text("chain")),
            _ => false,
        };
        if !ours {
            return Ok(());
        }
        if kind == "counter" {
            *self.drop_named(name) = count(fields);
        }
        let elements = fields.get("elem").filter(|_| kind == "set");
        if let Some(elements) = elements {
            self.take_elements(name, elements)?;
        }
        let names_peers = kind == "rule" && text("chain") == QUOTED;
        let to = if names_peers { &mut self.quoted } else { &mut self.shape };
        to.push(shape(kind, fields));
        Ok(())
    }

    fn take_elements(&mut self, set: &str, elements: &Value) -> Result<(), String> {
        for element in elements.as_array().ok_or("elements that are no list")? {
            // An element with a counter is an object, one without is its value.
            let counted = element.get("elem");
            let value = counted.and_then(|it| it.get("val")).unwrap_or(element);
            let addr = value.as_str().and_then(|it| it.parse::<IpAddr>().ok());
            let addr = addr.ok_or_else(|| format!("an element that is no address: {value}"))?;
            self.sets.entry(set.to_owned()).or_default().insert(addr);
            if PEERS.contains(&set) {
                let counter = counted.and_then(|it| it.get("counter")).and_then(Value::as_object);
                self.tally.peers.insert(addr, counter.map(count).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn drop_named(&mut self, name: &str) -> &mut Count {
        let [
            sleeve_strangers,
            vxlan_strangers,
            pods_to_node,
            pods_to_peers,
            to_receiver,
            local_users,
            _,
        ] = DROPS;
        match name {
            _ if name == sleeve_strangers => &mut self.tally.sleeve_strangers,
            _ if name == vxlan_strangers => &mut self.tally.vxlan_strangers,
            _ if name == pods_to_node => &mut self.tally.pods_to_node,
            _ if name == pods_to_peers => &mut self.tally.pods_to_peers,
            _ if name == to_receiver => &mut self.tally.to_receiver,
            _ if name == local_users => &mut self.tally.local_users,
            _ => &mut self.tally.pods_too_big,
        }
    }
}

fn is_ours(chain: &str) -> bool {
    CHAINS.contains(&chain) || pods::CHAINS.contains(&chain) || chain == fence::CHAIN
}

fn count(fields: &Map<String, Value>) -> Count {
    let number = |key| fields.get(key).and_then(Value::as_u64).unwrap_or_default();
    Count { packets: number("packets"), octets: number("bytes") }
}

/// Handles change with every reload, counts with every packet, and elements are compared as sets.
fn shape(kind: &str, fields: &Map<String, Value>) -> Value {
    let passing = ["handle", "packets", "bytes", "elem"];
    let lasting = fields.iter().filter(|(key, _)| !passing.contains(&key.as_str()));
    let lasting = lasting.map(|(key, value)| (key.clone(), value.clone())).collect();
    Value::Object(Map::from_iter([(kind.to_owned(), Value::Object(lasting))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"{"nftables": [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "inet", "name": "weft", "handle": 3}},
        {"counter": {"family": "inet", "name": "vxlan_strangers", "table": "weft", "handle": 2,
                     "packets": 7, "bytes": 700}},
        {"counter": {"family": "inet", "name": "masquerade", "table": "weft", "handle": 9,
                     "packets": 1, "bytes": 1}},
        {"set": {"family": "inet", "name": "peers4", "table": "weft", "type": "ipv4_addr",
                 "handle": 3, "stmt": [{"counter": null}], "elem": [
                 {"elem": {"val": "10.0.0.1", "counter": {"packets": 5, "bytes": 500}}}]}},
        {"set": {"family": "inet", "name": "targets4", "table": "weft", "type": "ipv4_addr",
                 "handle": 4, "elem": ["10.0.0.1"]}},
        {"rule": {"family": "inet", "table": "weft", "chain": "tunnel", "handle": 4,
                  "expr": [{"drop": null}]}}
    ]}"#;

    #[test]
    fn counters_and_elements_are_read() {
        let it = Listing::parse(LISTING.as_bytes()).unwrap();

        let addr: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(it.tally.vxlan_strangers, Count { packets: 7, octets: 700 });
        assert_eq!(it.tally.peers, [(addr, Count { packets: 5, octets: 500 })].into());
        assert_eq!(it.sets.keys().collect::<Vec<_>>(), ["peers4", "targets4"]);
        assert_eq!(it.all_peers(), [addr].into());
    }

    #[test]
    fn counts_handles_and_what_is_not_the_guards_do_not_change_its_shape() {
        let other = LISTING.replace("\"packets\": 7", "\"packets\": 8").replace(
            "\"handle\": 4,\n                  \"expr\"",
            "\"handle\": 5,\n                  \"expr\"",
        );
        let other = other.replace("masquerade", "something");

        let [one, other] = [LISTING, &other].map(|it| Listing::parse(it.as_bytes()).unwrap());

        assert_eq!(one.shape, other.shape);
    }

    #[test]
    fn a_rule_that_was_changed_changes_the_shape() {
        let other = LISTING.replace("\"drop\"", "\"accept\"");

        let [one, other] = [LISTING, &other].map(|it| Listing::parse(it.as_bytes()).unwrap());

        assert_ne!(one.shape, other.shape);
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        for text in ["", "{}", "[]", r#"{"nftables": 1}"#] {
            assert!(Listing::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
