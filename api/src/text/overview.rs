//! The daemon at a glance: labels right-aligned, so that the colon is in column 16.

use super::describe::{joined, span, who};
use super::{ipam, plain};
use crate::{ConnectionCounts, IpamStatus, Protocol, Router, Status};

pub(super) fn status(it: &Status) -> String {
    let up = span(it.started, it.now);
    let mut text = line("Version", &format!("{} (up {up})", plain(&it.version)));
    if !it.ready {
        text += &line("Status", &not_ready(&it.waiting_for));
    }
    text += "\n";
    text += &router(&it.router);
    if let Some(of) = &it.ipam {
        text += "\n";
        text += &addresses(of);
    }
    text
}

fn router(it: &Router) -> String {
    let rows = [
        ("Service", "router".to_owned()),
        ("Protocol", protocol(it.protocol)),
        ("Name", who(&it.name, &it.nickname)),
        ("FastPath", plain(&it.fast)),
        ("Receive", plain(&it.receive)),
        ("Encryption", enabled(it.encryption)),
        ("PeerDiscovery", enabled(it.discovery)),
        ("Targets", it.targets.to_string()),
        ("Connections", connections(&it.connections)),
        ("Peers", peers(it)),
        ("TrustedSubnets", list_or_none(&it.trusted_subnets)),
    ];
    rows.into_iter().map(|(label, value)| line(label, &value)).collect()
}

fn addresses(it: &IpamStatus) -> String {
    let rows = [
        ("Service", "ipam".to_owned()),
        ("Status", ipam::state(&it.state, it.reason.as_deref(), it.consensus)),
        ("Range", it.range.to_string()),
        ("DefaultSubnet", it.default_subnet.to_string()),
    ];
    rows.into_iter().map(|(label, value)| line(label, &value)).collect()
}

fn line(label: &str, value: &str) -> String {
    format!("{label:>15}: {value}\n")
}

fn not_ready(waiting_for: &[String]) -> String {
    if waiting_for.is_empty() {
        return "not ready".to_owned();
    }
    format!("not ready: waiting for {}", joined(waiting_for.iter().map(|it| plain(it))))
}

fn protocol(Protocol { min, max }: Protocol) -> String {
    if min == max { format!("weft {min}") } else { format!("weft {min}..{max}") }
}

fn enabled(it: bool) -> String {
    if it { "enabled" } else { "disabled" }.to_owned()
}

fn connections(it: &ConnectionCounts) -> String {
    let total = it.total();
    let counts = counts(&[
        (it.established, "established"),
        (it.pending, "pending"),
        (it.retrying, "retrying"),
        (it.failed, "failed"),
        (it.connecting, "connecting"),
    ]);
    if counts.is_empty() { total.to_string() } else { format!("{total} ({counts})") }
}

fn peers(it: &Router) -> String {
    let counts = counts(&[(it.established, "established"), (it.pending, "pending")]);
    let mut notes = Vec::new();
    if !counts.is_empty() {
        notes.push(format!("with {counts} connections"));
    }
    if it.silent > 0 {
        notes.push(format!("{} silent", it.silent));
    }
    let total = it.peers;
    if notes.is_empty() { total.to_string() } else { format!("{total} ({})", notes.join("; ")) }
}

/// Those that are not zero, in Weave's order.
fn counts(each: &[(u64, &str)]) -> String {
    joined(each.iter().filter(|(count, _)| *count > 0).map(|(count, of)| format!("{count} {of}")))
}

fn list_or_none(list: &[String]) -> String {
    if list.is_empty() {
        return "none".to_owned();
    }
    joined(list.iter().map(|it| plain(it)))
}
