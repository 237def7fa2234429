//! Parts of lines.

use std::fmt::Write;

use jiff::Timestamp;

use super::plain;
use crate::{Connection, ConnectionState, Path, PeerRef, Station, Target};

/// What follows the state of a connection.
pub(super) fn connection(it: &Connection, now: Timestamp) -> String {
    match it.state {
        ConnectionState::Established | ConnectionState::Pending => standing(it, now),
        ConnectionState::Retrying
        | ConnectionState::Failed
        | ConnectionState::Connecting
        | ConnectionState::Other(_) => wanted(it, now),
    }
}

fn standing(it: &Connection, now: Timestamp) -> String {
    let encrypted = if it.encrypted { "encrypted" } else { "unencrypted" };
    let path = it.path.as_ref().map_or_else(|| "-".to_owned(), |path| plain(path.as_str()));
    let mut line = format!("{encrypted:<11} {path:<6} {}", peer(it).unwrap_or_else(|| "-".into()));
    relays(&mut line, &it.via);
    if let Some(mtu) = it.mtu {
        let _ = write!(line, " mtu={mtu}");
    }
    let _ = write!(line, " since={}", span(it.since, now));
    if let Some(reason) = &it.reason {
        let _ = write!(line, ": {}", plain(reason));
    }
    line
}

fn wanted(it: &Connection, now: Timestamp) -> String {
    let mut parts: Vec<String> = it.reason.iter().map(|reason| plain(reason)).collect();
    match &it.state {
        ConnectionState::Failed | ConnectionState::Retrying => parts.push(retry(it.next_try, now)),
        ConnectionState::Connecting
        | ConnectionState::Established
        | ConnectionState::Pending
        | ConnectionState::Other(_) => {
            parts.extend(it.next_try.map(|_| retry(it.next_try, now)));
        }
    }
    let mut line = parts.join(", ");
    if let Some(peer) = peer(it) {
        let _ = write!(line, " peer={peer}");
    }
    if it.attempts > 0 {
        let _ = write!(line, " attempts={}", it.attempts);
    }
    let _ = write!(line, " since={}", span(it.since, now));
    line.trim_start().to_owned()
}

/// What follows the host of a target.
pub(super) fn target(it: &Target, now: Timestamp) -> String {
    let mut parts = vec![if it.given { "given  " } else { "learned" }.to_owned()];
    if !it.resolved.is_empty() {
        parts.push(joined(it.resolved.iter().map(ToString::to_string)));
    }
    if let Some(error) = &it.last_error {
        parts.push(format!("{}, {}", plain(error), retry(it.next_try, now)));
        if it.attempts > 0 {
            parts.push(format!("attempts={}", it.attempts));
        }
    }
    parts.join(" ")
}

/// What follows the peer of a path.
pub(super) fn path(it: &Path, now: Timestamp) -> String {
    let mut line = format!("{:<6}", plain(it.path.as_str()));
    relays(&mut line, &it.via);
    if let Some(mtu) = it.mtu {
        let _ = write!(line, " mtu={mtu}");
    }
    if let Some(rtt) = it.rtt_us {
        let _ = write!(line, " rtt={}.{:03}ms", rtt / 1000, rtt % 1000);
    }
    let _ = write!(line, " since={} switches={}", span(it.since, now), it.switches);
    if !it.lines.is_empty() {
        let lines = it.lines.iter();
        let lines = lines.map(|(on, is)| format!("{}:{}", plain(on.as_str()), plain(is.as_str())));
        let _ = write!(line, " lines={}", lines.collect::<Vec<_>>().join(","));
    }
    let (sent, received) = (it.sent, it.received);
    let _ = write!(line, " sent={}/{}", sent.frames, sent.octets);
    let _ = write!(line, " received={}/{} drops={}", received.frames, received.octets, it.drops);
    if let Some(next) = it.next_probe {
        let _ = write!(line, " next_probe={}", soon(next, now));
    }
    if let Some(reason) = &it.reason {
        let _ = write!(line, ": {}", plain(reason));
    }
    line
}

/// What follows the peer of a station.
pub(super) fn station(it: &Station, now: Timestamp) -> String {
    let path = it.path.as_ref().map_or_else(|| "-".to_owned(), |path| plain(path.as_str()));
    let mut line = format!("{path:<6}");
    if let Some(since) = it.since {
        let _ = write!(line, " since={}", span(since, now));
    }
    if !it.addresses.is_empty() {
        let addresses: Vec<_> = it.addresses.iter().map(ToString::to_string).collect();
        let _ = write!(line, " addresses={}", addresses.join(","));
    }
    if !it.announced {
        line += " (heard of in frames only)";
    }
    line
}

fn relays(line: &mut String, via: &[PeerRef]) {
    if !via.is_empty() {
        let hops = via.iter().map(|it| who(&it.name, &it.nickname));
        let _ = write!(line, " via={}", hops.collect::<Vec<_>>().join(","));
    }
}

fn peer(it: &Connection) -> Option<String> {
    let name = it.name.as_deref()?;
    Some(who(name, it.nickname.as_deref().unwrap_or_default()))
}

/// `NAME(NICKNAME)`.
pub(super) fn who(name: &str, nickname: &str) -> String {
    format!("{}({})", plain(name), crate::printable(nickname).trim())
}

/// From which end the connection was made; neither where that is not known.
pub(super) fn arrow(outbound: Option<bool>) -> &'static str {
    match outbound {
        Some(true) => "->",
        Some(false) => "<-",
        None => "--",
    }
}

/// A list as Weave prints it.
pub(super) fn joined(each: impl Iterator<Item = String>) -> String {
    each.collect::<Vec<_>>().join(", ")
}

/// Weave's words for when something is tried again.
fn retry(next: Option<Timestamp>, now: Timestamp) -> String {
    match next {
        Some(next) if next <= now => "retry: now".to_owned(),
        Some(next) => format!("retry: in {}", until(next, now)),
        None => "retry: never".to_owned(),
    }
}

fn until(then: Timestamp, now: Timestamp) -> String {
    span(now, then)
}

/// The same in tenths of a second, where it is less than ten of them.
fn soon(then: Timestamp, now: Timestamp) -> String {
    let tenths = then.duration_since(now).as_millis().max(0) / 100;
    if tenths < 100 { format!("{}.{}s", tenths / 10, tenths % 10) } else { until(then, now) }
}

/// How long from one time to another, in its two largest units. Clocks that were set give 0s.
pub(super) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..86400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}
