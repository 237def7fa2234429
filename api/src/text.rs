//! What the daemon reports, for people: in Weave's layouts, with why and since when.
//!
//! Invariant: whatever text a peer has sent, an entry is one line, and nothing in it acts on a
//! terminal. Columns are as wide as Weave's, or as the widest entry where that is wider (IPv6
//! addresses, long names), up to 64 characters.

mod describe;
mod ipam;
mod overview;

use std::fmt::{Display, Write};

use jiff::Timestamp;

use crate::{Connections, Fdb, Paths, Peer, Peers, Plugged, Pods, Station, Status, Targets};
use describe::{arrow, connection, path, span, station, target, who};
pub use ipam::{exposed, ipam, removal};

/// Weave's width of an address: `255.255.255.255:65535`.
const ADDRESS: usize = 21;
/// Weave's width of a peer: a name of 17 characters and a nickname of 18, in parentheses.
const PEER: usize = 37;
/// What is wider than this sticks out of its column, and moves the others of its line only.
const WIDEST: usize = 64;

/// `weft status`.
pub fn status(status: &Status) -> String {
    overview::status(status)
}

/// `weft status connections`: a line for each.
pub fn connections(it: &Connections) -> String {
    let address = width(ADDRESS, it.connections.iter().map(|it| it.addr));
    lines(it.connections.iter().map(|conn| {
        let arrow = arrow(Some(conn.outbound));
        let (addr, state) = (conn.addr.to_string(), plain(conn.state.as_str()));
        format!("{arrow} {addr:<address$} {state:<11} {}", connection(conn, it.now))
    }))
}

/// `weft status peers`: a line for each peer, and one, indented, for each of its connections.
pub fn peers(it: &Peers) -> String {
    let all = || it.peers.iter().flat_map(|it| &it.connections);
    let widths = Widths {
        address: width(ADDRESS, all().filter_map(|it| it.addr)),
        peer: width(PEER, all().map(|it| who(&it.name, &it.nickname))),
    };
    lines(it.peers.iter().flat_map(|peer| {
        let head = heading(peer, it.now);
        [head].into_iter().chain(links(peer, &widths))
    }))
}

/// `weft status targets`: a line for each.
pub fn targets(it: &Targets) -> String {
    let peer = width(ADDRESS, it.targets.iter().map(|it| plain(&it.peer)));
    lines(it.targets.iter().map(|of| format!("{:<peer$} {}", plain(&of.peer), target(of, it.now))))
}

/// `weft status paths`: a line for each.
pub fn paths(it: &Paths) -> String {
    let peer = width(PEER, it.paths.iter().map(|it| who(&it.peer.name, &it.peer.nickname)));
    lines(it.paths.iter().map(|of| {
        let to = who(&of.peer.name, &of.peer.nickname);
        format!("{to:<peer$} {}", path(of, it.now))
    }))
}

/// `weft fdb`: a line for each, and one that says so if there are more than are told.
pub fn fdb(it: &Fdb) -> String {
    let at = |of: &Station| match of.here {
        true => "here".to_owned(),
        false => who(&of.peer.name, &of.peer.nickname),
    };
    let peer = width(PEER, it.stations.iter().map(at));
    let mut text = lines(
        it.stations
            .iter()
            .map(|of| format!("{:<17} {:<peer$} {}", plain(&of.mac), at(of), station(of, it.now))),
    );
    let told = it.stations.len() as u64;
    if told < it.total {
        let _ = writeln!(text, "{told} of {} stations: the others are not told", it.total);
    }
    text
}

/// `weft ps`: a line for each.
pub fn pods(it: &Pods) -> String {
    let id = width(0, it.pods.iter().map(|it| plain(&it.id)));
    let addresses = |of: &Plugged| {
        let all: Vec<_> = of.addresses.iter().map(ToString::to_string).collect();
        plain(&all.join(","))
    };
    let column = width(0, it.pods.iter().map(addresses));
    lines(it.pods.iter().map(|of| {
        let name = of.pod.as_ref().map(|pod| format!("{}/{}", pod.namespace, pod.name));
        let name = name.or_else(|| of.netns.clone()).unwrap_or_default();
        let (ifname, mac, host) = (plain(&of.ifname), plain(&of.mac), plain(&of.host.name));
        let (who, addresses, name) = (plain(&of.id), addresses(of), plain(&name));
        format!("{who:<id$} {ifname:<15} {mac:<17} {addresses:<column$} {host:<15} {name}")
    }))
}

struct Widths {
    address: usize,
    peer: usize,
}

fn heading(peer: &Peer, now: Timestamp) -> String {
    let who = who(&peer.name, &peer.nickname);
    let mut line = format!("{who} {} since={}", plain(peer.state.as_str()), span(peer.since, now));
    if let Some(reason) = &peer.reason {
        let _ = write!(line, ": {}", plain(reason));
    }
    line
}

fn links(peer: &Peer, widths: &Widths) -> impl Iterator<Item = String> {
    let &Widths { address, peer: name } = widths;
    peer.connections.iter().map(move |it| {
        let addr = it.addr.map_or_else(|| "-".to_owned(), |addr| addr.to_string());
        let state = if it.established { "established" } else { "pending" };
        let (arrow, who) = (arrow(it.outbound), who(&it.name, &it.nickname));
        format!("   {arrow} {addr:<address$} {who:<name$} {state}")
    })
}

fn lines(each: impl Iterator<Item = String>) -> String {
    each.fold(String::new(), |mut text, line| {
        text.push_str(line.trim_end());
        text.push('\n');
        text
    })
}

fn width<T: Display>(least: usize, column: impl Iterator<Item = T>) -> usize {
    let widest = column.map(|it| it.to_string().chars().count()).filter(|&it| it <= WIDEST).max();
    widest.map_or(least, |widest| widest.max(least))
}

/// Text of a peer's: printable, one line, never empty, so that columns stay where they are.
fn plain(text: &str) -> String {
    let text = crate::printable(text).trim().to_owned();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
