//! docs/API.md and the types say the same: its examples are read and written again unchanged, and its
//! tables have the fields of the types, no more and no fewer.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where it cannot go on")]

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const DOC: &str = include_str!("../../docs/API.md");

#[test]
fn every_example_is_what_its_type_writes() {
    for (name, example) in examples() {
        let again = rewrite(&name, example.clone());

        assert_eq!(again, example, "the example of {name} lacks fields, or has too many");
    }
}

#[test]
fn every_type_has_an_example() {
    let names: BTreeSet<String> = examples().into_iter().map(|(name, _)| name).collect();

    let expected = [
        "Allocate",
        "Check",
        "Claim",
        "Connect",
        "Connections",
        "Expose",
        "Exposed",
        "Fdb",
        "Forget",
        "Free",
        "Gc",
        "Given",
        "Hide",
        "Ipam",
        "Leased",
        "Leases",
        "Leave",
        "Left",
        "Lookup",
        "Paths",
        "Peers",
        "Plug",
        "Plugged",
        "Pods",
        "Problem",
        "Removal",
        "RemovePeer",
        "Report",
        "Status",
        "Targets",
        "Unplug",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
}

#[test]
fn every_table_has_the_fields_of_its_type() {
    for &(name, example, pointer) in TABLES {
        let fields = fields_of(example, pointer);

        let rows = table(name);
        assert_eq!(rows.len(), fields.len(), "the table of {name}: {rows:?}");
        assert_eq!(BTreeSet::from_iter(rows), fields, "the table of {name}");
    }
}

#[test]
fn every_word_is_in_its_table() {
    let words = |all: &[&str]| all.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let connection: Vec<_> = api::ConnectionState::ALL.iter().map(|it| it.as_str()).collect();
    let peer: Vec<_> = api::PeerState::ALL.iter().map(|it| it.as_str()).collect();
    let path: Vec<_> = api::PathKind::ALL.iter().map(|it| it.as_str()).collect();

    assert_eq!(table("ConnectionState"), words(&connection));
    assert_eq!(table("PeerState"), words(&peer));
    let line: Vec<_> = api::LineState::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(table("PathKind"), words(&path));
    assert_eq!(table("LineState"), words(&line));
    let ipam: Vec<_> = api::IpamState::ALL.iter().map(|it| it.as_str()).collect();
    let owner: Vec<_> = api::OwnerState::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(table("IpamState"), words(&ipam));
    assert_eq!(table("OwnerState"), words(&owner));
}

#[test]
fn every_path_is_in_the_table_with_its_method() {
    let read = api::paths::READ.map(|path| ("GET", path));
    let posted = api::paths::POSTED.map(|path| ("POST", path));
    assert_eq!(DOC.matches("\n| `GET` | `").count(), read.len());
    assert_eq!(DOC.matches("\n| `POST` | `").count(), posted.len());
    for (method, path) in read.into_iter().chain(posted) {
        let row = format!("\n| `{method}` | `{path}` |");

        assert!(DOC.contains(&row), "{row}");
    }
}

#[test]
fn every_link_leads_to_a_heading() {
    let headings: BTreeSet<String> = DOC
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches(['#', ' ']).to_lowercase())
        .collect();
    for (_, rest) in DOC.match_indices("](#").map(|(at, it)| DOC.split_at(at + it.len())) {
        let (anchor, _) = rest.split_once(')').unwrap();

        assert!(headings.contains(anchor), "{anchor}");
    }
}

#[test]
fn fields_that_were_added_may_be_absent_and_unknown_ones_present() {
    let mut status = example("Status");
    status["dns"] = serde_json::json!({ "domain": "weave.local." });
    status["router"].as_object_mut().unwrap().remove("password");
    status.as_object_mut().unwrap().remove("ipam");

    let read: api::Status = serde_json::from_value(status).unwrap();

    assert!(!read.router.password && read.ipam.is_none());
}

#[test]
fn a_word_that_is_not_known_stays_what_it_was() {
    let word: api::PathKind = serde_json::from_str("\"teleport\"").unwrap();

    assert_eq!(word, api::PathKind::Other("teleport".into()));
    assert_eq!(serde_json::to_string(&word).unwrap(), "\"teleport\"");
}

/// What a type makes of an example.
fn rewrite(name: &str, example: Value) -> Value {
    fn through<T: DeserializeOwned + Serialize>(example: Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(example).unwrap()).unwrap()
    }
    let through = match name {
        "Status" => through::<api::Status>,
        "Connections" => through::<api::Connections>,
        "Peers" => through::<api::Peers>,
        "Targets" => through::<api::Targets>,
        "Paths" => through::<api::Paths>,
        "Fdb" => through::<api::Fdb>,
        "Report" => through::<api::Report>,
        "Ipam" => through::<api::Ipam>,
        "Leases" => through::<api::Leases>,
        "Allocate" => through::<api::Allocate>,
        "Claim" => through::<api::Claim>,
        "Leased" => through::<api::Leased>,
        "Lookup" => through::<api::Lookup>,
        "Free" => through::<api::Free>,
        "RemovePeer" => through::<api::RemovePeer>,
        "Removal" => through::<api::Removal>,
        "Leave" => through::<api::Leave>,
        "Left" => through::<api::Left>,
        "Expose" => through::<api::Expose>,
        "Hide" => through::<api::Hide>,
        "Exposed" => through::<api::Exposed>,
        "Connect" => through::<api::Connect>,
        "Forget" => through::<api::Forget>,
        "Given" => through::<api::Given>,
        "Pods" => through::<api::Pods>,
        "Plug" => through::<api::Plug>,
        "Plugged" => through::<api::Plugged>,
        "Unplug" => through::<api::Unplug>,
        "Check" => through::<api::Check>,
        "Gc" => through::<api::Gc>,
        "Problem" => through::<api::Problem>,
        other => panic!("an example of {other}, which is no type"),
    };
    through(example)
}

/// The blocks that begin with "```json NAME".
fn examples() -> Vec<(String, Value)> {
    let blocks = DOC.split("```json ").skip(1);
    blocks
        .map(|block| {
            let (name, rest) = block.split_once('\n').unwrap();
            let (json, _) = rest.split_once("\n```").unwrap();
            (name.to_owned(), serde_json::from_str(json).unwrap())
        })
        .collect()
}

fn example(name: &str) -> Value {
    examples().into_iter().find(|(it, _)| it == name).unwrap().1
}

/// The fields of an object in an example.
fn fields_of(name: &str, pointer: &str) -> BTreeSet<String> {
    let example = example(name);
    example.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
}

/// The first column of the table under a heading.
fn table(heading: &str) -> Vec<String> {
    let section =
        DOC.split(&format!("# {heading}\n")).nth(1).unwrap_or_else(|| panic!("{heading}"));
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split_once('`').unwrap().0.to_owned()).collect()
}

/// Tables, and where in the examples there is one of each type.
const TABLES: &[(&str, &str, &str)] = &[
    ("Status", "Status", ""),
    ("Router", "Status", "/router"),
    ("Protocol", "Status", "/router/protocol"),
    ("IpamStatus", "Status", "/ipam"),
    ("ConnectionCounts", "Status", "/router/connections"),
    ("Connections", "Connections", ""),
    ("Connection", "Connections", "/connections/0"),
    ("PeerRef", "Connections", "/connections/0/via/0"),
    ("Peers", "Peers", ""),
    ("Peer", "Peers", "/peers/0"),
    ("PeerConnection", "Peers", "/peers/0/connections/0"),
    ("Targets", "Targets", ""),
    ("Target", "Targets", "/targets/0"),
    ("Paths", "Paths", ""),
    ("Path", "Paths", "/paths/0"),
    ("Traffic", "Paths", "/paths/0/sent"),
    ("Fdb", "Fdb", ""),
    ("Station", "Fdb", "/stations/0"),
    ("Ipam", "Ipam", ""),
    ("Here", "Ipam", "/here"),
    ("Consensus", "Ipam", "/consensus"),
    ("Owner", "Ipam", "/owners/0"),
    ("Removing", "Ipam", "/removals/0"),
    ("Awaited", "Ipam", "/removals/0/waiting_for/0"),
    ("Conflict", "Ipam", "/conflicts/0"),
    ("LostLease", "Ipam", "/lost/0"),
    ("PendingRequest", "Ipam", "/pending/0"),
    ("Leases", "Leases", ""),
    ("Lease", "Leases", "/leases/0"),
    ("Allocate", "Allocate", ""),
    ("Claim", "Claim", ""),
    ("Leased", "Leased", ""),
    ("Lookup", "Lookup", ""),
    ("Free", "Free", ""),
    ("RemovePeer", "RemovePeer", ""),
    ("Removal", "Removal", ""),
    ("Leave", "Leave", ""),
    ("Left", "Left", ""),
    ("Expose", "Expose", ""),
    ("Hide", "Hide", ""),
    ("Exposed", "Exposed", ""),
    ("Report", "Report", ""),
    ("Kernel", "Report", "/kernel"),
    ("Quirk", "Report", "/kernel/quirks/0"),
    ("Control", "Report", "/control"),
    ("MeshStats", "Report", "/mesh"),
    ("Connect", "Connect", ""),
    ("Forget", "Forget", ""),
    ("Given", "Given", ""),
    ("Pods", "Pods", ""),
    ("Plug", "Plug", ""),
    ("PodAddresses", "Plug", "/addresses"),
    ("PodAddress", "Plug", "/addresses/claimed/0"),
    ("PodName", "Plug", "/pod"),
    ("PodRoute", "Plug", "/routes/0"),
    ("Plugged", "Plugged", ""),
    ("HostEnd", "Plugged", "/host"),
    ("Unplug", "Unplug", ""),
    ("Check", "Check", ""),
    ("Gc", "Gc", ""),
    ("Valid", "Gc", "/valid/0"),
    ("Problem", "Problem", ""),
];
