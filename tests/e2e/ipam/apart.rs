//! Clusters that were begun apart, and ranges that are somebody else's.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use weft_tests::harness::weftd::{self, Daemon};
use weft_tests::harness::{Lab, Ping, Pod, PodSpec, Underlay, beside, wait_until};

use crate::{WAIT, ipam, number};

const NAMES: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];

fn conflict(daemon: &Daemon) -> Result<Option<(String, String)>> {
    let seen = ipam(daemon)?;
    let first = seen.pointer("/conflicts/0");
    first.map(|it| Ok((weftd::text(it, "/what")?, weftd::text(it, "/what_to_do")?))).transpose()
}

#[test]
fn two_clusters_that_meet_go_on_and_the_conflict_is_shown_with_a_remedy() {
    let _turn = beside().unwrap();
    Lab::with("ipam-apart", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let start = |number: usize| {
            let seed = format!("seed={}", NAMES[number]);
            Daemon::start(&nodes[number], &["--name", NAMES[number], "--ipalloc-init", &seed])
        };
        let daemons = [start(0)?, start(1)?];
        let before = [daemons[0].allocate("pod")?, daemons[1].allocate("pod")?];
        ensure!(before[0] == before[1], "each has begun with the first: {before:?}");

        daemons[1].weft(&format!("connect {}", nodes[0].addr()))?;
        daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(2, WAIT))?;

        wait_until(WAIT, "the conflict is seen, with what to do", || {
            let shown = daemons.iter().filter_map(|daemon| conflict(daemon).ok().flatten());
            shown.into_iter().any(|(what, what_to_do)| {
                let is = what.contains("begun separately") && what_to_do.contains("weft reset");
                is && what.contains("1 leases lost here")
            })
        })?;
        wait_until(WAIT, "who has lost the address says so", || {
            let lost = |daemon: &Daemon| {
                let seen = ipam(daemon).ok()?;
                seen.get("lost").and_then(Value::as_array).map(Vec::len)
            };
            daemons.iter().filter_map(lost).sum::<usize>() == 1
        })?;
        let after = [daemons[0].allocate("more")?, daemons[1].allocate("more")?];
        ensure!(after[0] != after[1], "{after:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn pods_of_one_address_in_two_clusters_that_meet_stay_what_they_were_in_their_half() {
    let _turn = beside().unwrap();
    Lab::with("ipam-halves", |lab| {
        let nodes = lab.nodes::<4>(&Underlay::default())?;
        let mut daemons = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let (half, first) = (number / 2, nodes[number / 2 * 2].addr().to_string());
            let seed = format!("seed={}", NAMES[half]);
            let mut args = vec!["--ipalloc-init", &seed];
            if number % 2 == 0 {
                args.extend(["--name", NAMES[half]])
            } else {
                args.push(&first)
            }
            daemons.push(Daemon::start(node, &args)?);
        }
        for number in [1, 3] {
            daemons[number].wait_for_peers(2, WAIT)?;
        }
        // In each half the first node has a pod, and the second asks for it. By their MAC addresses they are the same.
        let lease = |number: usize| {
            let addr = daemons[number].allocate("pod")?;
            let pod = nodes[number].add_pod(&PodSpec::new("pod", &format!("{addr}/12")))?;
            nodes[number].plug(&pod)?;
            anyhow::Ok(pod)
        };
        let pods = [lease(0)?, lease(1)?, lease(2)?, lease(3)?];
        ensure!(pods[0].addr() == pods[2].addr() && pods[0].mac() == pods[2].mac(), "not the same");
        let all_answer = || {
            for half in [0, 2] {
                let ping = Ping::new(pods[half].addr(), 20).interval(Duration::from_millis(50));
                let (before, stats) = (received(&pods[half])?, pods[half + 1].ping_with(&ping)?);
                ensure!(stats.perfect(), "{half}: {stats:?}");
                let heard = received(&pods[half])? - before;
                ensure!(heard >= 20, "pod {half} heard {heard} packets: others answered");
            }
            anyhow::Ok(())
        };
        weftd::all_answer(&pods[..2], WAIT)?;
        weftd::all_answer(&pods[2..], WAIT)?;
        all_answer()?;

        daemons[3].weft(&format!("connect {}", nodes[1].addr()))?;
        daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(4, WAIT))?;
        wait_until(WAIT, "the conflict is seen", || {
            daemons.iter().any(|daemon| conflict(daemon).is_ok_and(|it| it.is_some()))
        })?;

        for _ in 0..5 {
            all_answer()?;
        }
        // Also after a start in the midst of it.
        daemons[2].kill()?;
        daemons[2].restart()?;
        daemons[2].wait_for_peers(4, WAIT)?;
        all_answer()?;
        ensure!(daemons[0].count("/stations/frozen")? == 0);
        Ok(())
    })
    .unwrap();
}

/// Packets that a pod has got.
fn received(pod: &Pod) -> Result<u64> {
    let shown: Value =
        serde_json::from_str(&pod.run(&["ip", "-j", "-s", "link", "show", "eth0"])?)?;
    number(&shown, "/0/stats64/rx/packets")
}

#[test]
fn a_range_that_a_route_of_the_host_has_is_refused_with_the_route() {
    let _turn = beside().unwrap();
    Lab::with("ipam-overlap", |lab| {
        let [node, _] = lab.nodes::<2>(&Underlay::default())?;
        node.sh(
            "ip link add mine type bridge; ip link set mine up; ip route add 10.40.0.0/16 dev mine",
        )?;

        let mut refused = weftd::spawn(&node, &[])?;
        let status = refused.wait(Duration::from_secs(10))?;

        ensure!(status.code() == Some(1), "{status}");
        let said = refused.stderr();
        ensure!(
            said.contains("10.40.0.0/16 dev mine") && said.contains("--ipalloc-range"),
            "{said}"
        );
        let none = Daemon::start(&node, &["--ipalloc-range", "none"])?;
        ensure!(weftd::text(&ipam(&none)?, "/state")? == "off");
        let allocated = none.post("/v1/addresses/allocate", &serde_json::json!({ "id": "pod" }))?;
        ensure!(allocated.code == 503, "{allocated:?}");
        Ok(())
    })
    .unwrap();
}
