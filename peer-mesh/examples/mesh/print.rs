//! Events and snapshots as lines, for people or as JSON.
#![expect(clippy::wildcard_enum_match_arm, reason = "each function has its kind of events")]

use std::time::{SystemTime, UNIX_EPOCH};

use peer_mesh::shell::{Notice, Origin, PeerView, Snapshot};
use peer_mesh::{Event, GoneReason, PeerState, Stats, is_control, printable};
use serde_json::{Value, json};

use crate::lines::Lines;

/// Prints.
pub(crate) struct Printer<'a> {
    lines: &'a Lines,
    json: bool,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(lines: &'a Lines, json: bool) -> Self {
        Self { lines, json }
    }

    /// The first line.
    pub(crate) fn started(&self, seen: &Snapshot, nickname: &str, origin: Origin) {
        let (name, uid) = (seen.name, seen.uid);
        let mut object = json!({ "event": "started", "name": name, "uid": uid.to_string(), "nickname": nickname });
        let because = match origin {
            Origin::Given => "given".to_owned(),
            Origin::Stored => "stored".to_owned(),
            Origin::Machine => "machine".to_owned(),
            Origin::Random => "random".to_owned(),
            Origin::Copied { from } => {
                merge(&mut object, json!({ "copied_from": from }));
                format!("the state is a copy of {from}'s, from another machine")
            }
        };
        let text = format!("started as {name} ({because}), uid {uid}, {nickname:?}");
        merge(&mut object, json!({ "origin": because }));
        self.line(object, &text);
    }

    /// The last line.
    pub(crate) fn stopped(&self) {
        self.line(json!({ "event": "stopped" }), "left the mesh");
    }

    pub(crate) fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Event(event) => self.event(event),
            Notice::Lost(count) => {
                self.line(
                    json!({ "event": "lost", "count": count }),
                    &format!("{count} events lost"),
                );
            }
        }
    }

    pub(crate) fn event(&self, event: &Event) {
        let (object, text) = match event {
            Event::Up { .. }
            | Event::Silent { .. }
            | Event::Gone { .. }
            | Event::Changed { .. } => of_peer(event),
            Event::LinkUp { .. } | Event::LinkDown { .. } | Event::Refused { .. } => of_link(event),
            Event::NameContested { .. } | Event::Renamed { .. } | Event::NameRefused { .. } => {
                of_name(event)
            }
            // Nobody here takes part in a channel, and the shell keeps the state.
            Event::Save
            | Event::Broadcast { .. }
            | Event::StateWanted { .. }
            | Event::Unicast { .. } => return,
        };
        self.line(object, &text);
    }

    /// Everything there is to see.
    pub(crate) fn status(&self, seen: &Snapshot) {
        let mut object = json!({
            "event": "status",
            "uptime_ms": seen.now.as_millis(),
            "name": seen.name,
            "uid": seen.uid.to_string(),
            "root": format!("{:016x}", seen.root),
            "up": by_state(seen, PeerState::Up),
            "silent": by_state(seen, PeerState::Silent),
            "links": seen.links.iter().map(|link| json!({
                "name": link.name, "addr": link.addr, "outbound": link.outbound,
            })).collect::<Vec<_>>(),
            "targets": seen.targets.iter().map(|target| json!({
                "addr": target.addr, "given": target.given, "name": target.name,
                "last": target.last.as_ref().map(ToString::to_string), "attempts": target.attempts,
                "next_ms": target.next.map(|next| next.as_millis()),
            })).collect::<Vec<_>>(),
            "pending": seen.pending.iter().map(|conn| json!({
                "addr": conn.addr, "outbound": conn.outbound, "name": conn.name,
                "progress": format!("{:?}", conn.progress).to_lowercase(),
                "since_ms": conn.since.as_millis(),
            })).collect::<Vec<_>>(),
            "stats": stats(&seen.stats),
        });
        let shell = seen.shell;
        merge(
            &mut object,
            json!({ "shell": {
                "refused_too_many": shell.refused.too_many, "refused_too_fast": shell.refused.too_fast,
                "refused_full": shell.refused.full, "refused_by_core": shell.refused.by_core,
                "displaced": shell.refused.displaced, "accept_errors": shell.accept_errors,
                "events_lost": shell.events_lost, "refusals_untold": shell.refusals_untold,
                "state_failures": shell.state_failures, "overruns": shell.overruns,
                "unfinished": shell.unfinished,
            }}),
        );
        self.line(object, &table(seen));
    }

    fn line(&self, mut object: Value, text: &str) {
        if !self.json {
            return self.lines.send(text);
        }
        merge(&mut object, json!({ "time_ms": time_ms() }));
        self.lines.send(&escaped(&object.to_string()));
    }
}

/// JSON means the same with any character in a string written as an escape: of a peer's nickname nothing is
/// lost, and nothing of it acts on a terminal.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_control(c) {
            text += &format!("\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// A snapshot for people: a line for the whole, then one for each peer.
fn table(seen: &Snapshot) -> String {
    let count = |state| seen.peers.iter().filter(|peer| peer.state == state).count();
    let (up, silent) = (count(PeerState::Up), count(PeerState::Silent));
    let (links, root) = (seen.links.len(), seen.root);
    let mut text = format!("{up} up, {silent} silent, {links} links, root {root:016x}");
    for peer in &seen.peers {
        let state = if peer.state == PeerState::Up { "up" } else { "silent" };
        let since = seen.now.saturating_sub(peer.since).as_secs();
        let direct = seen.links.iter().find(|link| link.name == peer.name);
        let reached = match direct {
            Some(link) => format!("at {}", link.addr),
            None if peer.state == PeerState::Up => "over others".into(),
            None => "not reached".into(),
        };
        let nickname = format!("{:?}", printable(&peer.nickname));
        let name = peer.name;
        text += &format!("\n  {name}  {nickname:<16}  {state:<6}  {since:>6} s  {reached}");
    }
    text
}

fn of_peer(event: &Event) -> (Value, String) {
    match event {
        Event::Up { name, uid } => (
            json!({ "event": "up", "name": name, "uid": uid.to_string() }),
            format!("{name} is up, uid {uid}"),
        ),
        Event::Silent { name } => {
            (json!({ "event": "silent", "name": name }), format!("{name} is silent"))
        }
        Event::Gone { name, reason } => {
            let (code, why) = match reason {
                GoneReason::Left => ("left", "it left"),
                GoneReason::Removed => ("removed", "somebody removed it"),
                GoneReason::Silence => ("silence", "it was silent for too long"),
            };
            (
                json!({ "event": "gone", "name": name, "reason": code }),
                format!("{name} is gone: {why}"),
            )
        }
        Event::Changed { name } => {
            (json!({ "event": "changed", "name": name }), format!("{name} has changed"))
        }
        _ => other(event),
    }
}

fn of_link(event: &Event) -> (Value, String) {
    match event {
        Event::LinkUp { name, addr, outbound } => (
            json!({ "event": "link_up", "name": name, "addr": addr, "outbound": outbound }),
            format!("link with {name} at {addr}"),
        ),
        Event::LinkDown { name, reason } => (
            json!({ "event": "link_down", "name": name, "reason": reason.to_string() }),
            format!("link with {name} ended: {reason}"),
        ),
        Event::Refused { addr, outbound, reason } => (
            json!({ "event": "refused", "addr": addr, "outbound": outbound, "reason": reason.to_string() }),
            format!("no link with {addr}: {reason}"),
        ),
        _ => other(event),
    }
}

fn of_name(event: &Event) -> (Value, String) {
    match event {
        Event::NameContested { name, uid } => (
            json!({ "event": "name_contested", "name": name, "uid": uid.to_string() }),
            format!("another live peer (uid {uid}) has our name {name}; it gives way"),
        ),
        Event::Renamed { from, to, uid } => (
            json!({ "event": "renamed", "from": from, "to": to, "uid": uid.to_string() }),
            format!("another live peer (uid {uid}) has our name {from}: we are {to} now"),
        ),
        Event::NameRefused { name, uid } => (
            json!({ "event": "name_refused", "name": name, "uid": uid.to_string() }),
            format!("another live peer (uid {uid}) has our name {name}"),
        ),
        _ => other(event),
    }
}

/// What the caller sorted wrong is printed all the same.
fn other(event: &Event) -> (Value, String) {
    (json!({ "event": "other", "what": format!("{event:?}") }), format!("{event:?}"))
}

fn by_state(seen: &Snapshot, state: PeerState) -> Vec<Value> {
    let view = |peer: &PeerView| {
        json!({
            "name": peer.name, "uid": peer.uid.to_string(), "nickname": peer.nickname,
            "since_ms": peer.since.as_millis(), "links": peer.links, "addresses": peer.addresses,
            "incarnation": peer.incarnation, "explicit": peer.explicit, "labels": peer.labels,
            "unreached": peer.unreached, "isolated": peer.isolated,
        })
    };
    seen.peers.iter().filter(|peer| peer.state == state).map(view).collect()
}

fn stats(stats: &Stats) -> Value {
    json!({
        "sent_octets": stats.sent_octets, "sent_batches": stats.sent_batches,
        "received_octets": stats.received_octets, "merged": stats.merged, "stale": stats.stale,
        "malformed": stats.malformed, "dropped": stats.dropped, "overflow": stats.overflow,
        "records": stats.records, "connections": stats.connections,
    })
}

/// Adds the second object's fields to the first.
fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a program: lines say when")]
fn time_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
