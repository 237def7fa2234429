//! What there is to tell of the daemon, put together: pure but for the wall clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::Timestamp;
use peer_mesh::shell::Snapshot;
use router::guard::{Count, Receive, Tally};
use router::plan::Reason;
use router::serve::{Look, PathLook, counters};
use switch::{Counters, FastState, PeerId, Quirk, TableEvents};

use crate::control::{PathView, View};
use crate::data::Sight;
use crate::tick;

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) started: Timestamp,
    pub(crate) nickname: String,
    pub(crate) password: bool,
    pub(crate) discovery: bool,
    pub(crate) release: String,
    pub(crate) quirks: Vec<&'static Quirk>,
    /// Peers that are counted one by one.
    pub(crate) slots: usize,
}

type Groups = BTreeMap<String, BTreeMap<String, u64>>;

/// Everything, at this moment.
pub(crate) fn look(
    facts: &Facts,
    view: &View,
    mesh: &Arc<Snapshot>,
    sight: &Sight,
    tally: Option<&Tally>,
) -> Look {
    let counted = Counters::total(sight.counters.iter().map(Arc::as_ref), facts.slots);
    // The mesh has a clock of its own.
    let moment = |at: Duration| {
        let (ago, ahead) = (view.now.saturating_sub(at), at.saturating_sub(view.now));
        (mesh.now + ahead).saturating_sub(ago)
    };
    let path = |view: &PathView| path_look(view, &counted, moment);
    let mut groups = counters(&counted);
    groups.extend(router_groups(view, sight));
    groups.extend(tally.map(|tally| ("guard".to_owned(), guard_group(tally))));
    let threads = (!sight.running).then(|| "the frame threads".to_owned());
    let waiting_for: Vec<String> = threads.into_iter().chain(sight.trouble.clone()).collect();
    Look {
        now: timestamp(tick::wall()),
        started: facts.started,
        ready: waiting_for.is_empty(),
        waiting_for,
        password: facts.password,
        discovery: facts.discovery,
        nickname: facts.nickname.clone(),
        fast: fast(sight.fast),
        receive: receive(sight.receive).to_owned(),
        mesh: Arc::clone(mesh),
        paths: view.paths.iter().map(|(name, it)| (*name, path(it))).collect(),
        ipam: None,
        counters: groups,
        kernel: kernel(facts, sight),
        control: view.latency,
    }
}

/// Who receives UDP 6784.
fn receive(who: Option<Receive>) -> &'static str {
    match who {
        Some(Receive::Kernel) => "kernel",
        Some(Receive::User) => "process",
        None => "process, plain socket",
    }
}

/// How the kernel's fast path is.
fn fast(state: FastState) -> String {
    match state {
        FastState::Up(_) => "on".to_owned(),
        FastState::Off => "off".to_owned(),
        FastState::Unsupported | FastState::Busy | FastState::Denied | FastState::Refused(_) => {
            format!("off: {state}")
        }
    }
}

fn path_look(
    view: &PathView,
    counted: &Counters,
    moment: impl Fn(Duration) -> Duration,
) -> PathLook {
    let PathView { path: it, rtt, next_probe, lines, stations } = view;
    let path = if it.stranded { switch::Path::Down } else { it.chosen.route.path };
    let reason = if it.stranded { Reason::RelayLost } else { it.chosen.reason };
    let traffic = |of: fn(&switch::PeerCounters) -> &switch::Traffic, id: PeerId| {
        let traffic = counted.peer(id).map(of);
        traffic.map_or_else(api::Traffic::default, |it| api::Traffic {
            frames: it.frames.load(),
            octets: it.octets.load(),
        })
    };
    PathLook {
        path,
        via: it.via.clone(),
        since: moment(it.since),
        reason: (reason != Reason::Direct).then(|| reason.to_string()),
        switches: it.switches,
        mtu: (path != switch::Path::Down).then(|| it.chosen.peer.mtu.octets()),
        rtt: *rtt,
        next_probe: next_probe.map(moment),
        lines: lines.clone(),
        stations: *stations,
        counted: counted.peer(it.chosen.id).is_some(),
        sent: traffic(|it| &it.sent, it.chosen.id),
        received: traffic(|it| &it.received, it.chosen.id),
        drops: 0,
    }
}

fn router_groups(view: &View, sight: &Sight) -> Groups {
    let router::node::Counts {
        merged,
        known,
        full,
        malformed,
        announced,
        withdrawn,
        frozen,
        claimed,
        moved_here,
        addresses_moved,
        plans,
        probes_sent,
        probes_heard,
    } = view.counts;
    let stations = [
        ("now", view.stations as u64),
        ("merged", merged),
        ("known", known),
        ("full", full),
        ("malformed", malformed),
        ("announced", announced),
        ("withdrawn", withdrawn),
        ("frozen", frozen),
        ("claimed", claimed),
        ("moved_here", moved_here),
        ("addresses_moved", addresses_moved),
        ("messages_dropped", view.messages_dropped),
    ];
    let control = [
        ("plans", plans),
        ("probes_sent", probes_sent),
        ("probes_heard", probes_heard),
        ("probes_bad", view.probes_bad),
        ("steps_recorded", view.steps),
    ];
    let switch = [
        ("restarts", sight.restarts),
        ("repairs", sight.repairs),
        ("steering_fallbacks", sight.steering_fallbacks),
    ];
    let lost = [
        ("tap_queue_full", sight.drops.tap_queue_full),
        ("socket_buffer_full", sight.drops.socket_buffer_full),
    ];
    let lost = lost.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?)));
    [
        ("stations".to_owned(), group(stations)),
        ("control".to_owned(), group(control)),
        ("engine".to_owned(), group(switch)),
        ("table".to_owned(), table_group(view)),
        ("kernel_drops".to_owned(), lost.collect()),
    ]
    .into()
}

fn table_group(view: &View) -> BTreeMap<String, u64> {
    let (entries, TableEvents { learned, moved, frozen, refused, evicted, aged }) = view.table;
    group([
        ("entries", entries as u64),
        ("learned", learned),
        ("moved", moved),
        ("frozen", frozen),
        ("refused", refused),
        ("evicted", evicted),
        ("aged", aged),
    ])
}

fn guard_group(tally: &Tally) -> BTreeMap<String, u64> {
    let dropped = [
        ("sleeve_strangers", tally.sleeve_strangers),
        ("vxlan_strangers", tally.vxlan_strangers),
        ("pods_to_node", tally.pods_to_node),
        ("pods_to_peers", tally.pods_to_peers),
        ("to_receiver", tally.to_receiver),
        ("local_users", tally.local_users),
        ("pods_too_big", tally.pods_too_big),
    ];
    let let_in = tally.peers.values().map(|Count { packets, .. }| packets).sum();
    group(
        dropped.map(|(name, count)| (name, count.packets)).into_iter().chain([("let_in", let_in)]),
    )
}

fn kernel(facts: &Facts, sight: &Sight) -> api::Kernel {
    let quirk = |quirk: &&'static Quirk| api::Quirk {
        name: quirk.name.to_owned(),
        what: quirk.what.to_owned(),
        mitigated: true,
    };
    let supports = serde_json::to_value(sight.supports).ok();
    let supports = supports.and_then(|it| serde_json::from_value(it).ok()).unwrap_or_default();
    api::Kernel {
        release: facts.release.clone(),
        quirks: facts.quirks.iter().map(quirk).collect(),
        supports,
    }
}

fn group<'a>(of: impl IntoIterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    of.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// A time since 1970.
pub(crate) fn timestamp(wall: Duration) -> Timestamp {
    let millis = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use switch::engine::{KernelDrops, Supports};

    use super::*;

    #[test]
    fn a_fast_path_that_is_off_says_why_unless_nobody_asked_for_it() {
        assert_eq!(fast(FastState::Up(7)), "on");
        assert_eq!(fast(FastState::Off), "off");
        assert_eq!(fast(FastState::Unsupported), "off: this kernel has no vxlan devices");
    }

    #[test]
    fn every_group_of_counters_is_documented_with_the_names_in_it() {
        let doc = include_str!("../../../../docs/API.md");
        let (_, section) = doc.split_once("\n### Counters\n").unwrap();
        let (section, _) = section.split_once("\n#").unwrap();
        let view = View {
            now: Duration::ZERO,
            paths: BTreeMap::new(),
            counts: router::node::Counts::default(),
            stations: 0,
            table: (0, TableEvents::default()),
            latency: api::Control::default(),
            messages_dropped: 0,
            steps: 0,
            probes_bad: 0,
        };
        let drops = KernelDrops { tap_queue_full: Some(0), socket_buffer_full: Some(0) };
        let sight = Sight {
            counters: Vec::new(),
            supports: Supports::default(),
            drops,
            restarts: 0,
            repairs: 0,
            steering_fallbacks: 0,
            fast: FastState::Off,
            running: true,
            receive: None,
            trouble: None,
        };

        let mut groups = router_groups(&view, &sight);
        groups.insert("guard".to_owned(), guard_group(&Tally::default()));
        groups.insert("pods".to_owned(), crate::pods::Counts::default().group());

        for (name, group) in groups {
            let row = section.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("no row for {name}"));
            for counter in group.keys() {
                assert!(row.contains(&format!("`{counter}`")), "{name}: {counter}");
            }
        }
    }
}
