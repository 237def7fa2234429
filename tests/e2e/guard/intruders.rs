//! What pods and users of the node itself send.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::{Capture, Direction, Lab, Node, Pod, Underlay, bin, pause};

use super::{Ears, SLEEVE, VXLAN, guarded, marked, packets, send};

const COUNT: usize = 10;
/// EtherType of probes, with octets that a frame of that length has.
const PROBE: &str = "88b5+46";
/// Tags that the kernel takes off: any, those that count as none, and two of them.
const TAGS: [&str; 4] = ["", "81000005", "81000000", "8100000081000000"];

#[test]
fn probes_of_pods_reach_neither_their_node_nor_another_and_those_of_nodes_arrive() {
    Lab::with("guard-probes", |lab| {
        let [one, two] = lab.nodes(&Underlay::default())?;
        one.kernel_vxlan(&[&two], VXLAN.into())?;
        two.kernel_vxlan(&[&one], VXLAN.into())?;
        let pod = one.pod("p", "10.32.0.1/24")?;
        one.plug(&pod)?;
        for (number, tags) in TAGS.iter().enumerate() {
            let [near, far] = probes_of(&pod, &one, &two, tags)?;
            eprintln!("unguarded, tags {tags:?}: {near} near, {far} far");
            ensure!(near == COUNT && far == COUNT, "it would get through: {number}");
        }

        let guards = (guarded(&one, &[two.addr()])?, guarded(&two, &[one.addr()])?);
        eprintln!("refused: {:?}", guards.0.probes_refused());
        for (number, tags) in TAGS.iter().enumerate() {
            let [near, far] = probes_of(&pod, &one, &two, tags)?;
            ensure!((near, far) == (0, 0), "tags {tags:?}: {near} near, {far} far");
            let tally = one.inside(async || Ok(guards.0.counters().await?))?;
            ensure!(packets(tally.pod_probes) == COUNT * (number + 1), "tags {tags:?}: {tally:?}");
        }

        // A node's own leave by the device itself.
        let seen = Capture::directed(&two, "weave", Direction::In, "ether proto 0x88b5")?;
        one.peer(WAIT, &format!("raw-send vxlan-6784 {COUNT} ffffffffffff020000000009{PROBE}"))?;
        let arrived = seen.stop()?.len();
        eprintln!("from the node: {arrived}");
        ensure!(arrived == COUNT);
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_users_of_the_node_send_to_its_own_tunnel_ports_is_dropped_and_what_has_the_mark_is_not() {
    for (underlay, loopback) in [(Underlay::default(), "127.0.0.1"), (Underlay::v6(), "::1")] {
        Lab::with("guard-users", |lab| {
            let [one] = lab.nodes(&underlay)?;
            let ears = Ears::of(&one)?;
            let targets = [loopback.parse()?, one.addr()];
            let all =
                |port| targets.iter().try_for_each(|addr| as_nobody(&one, &addr.to_string(), port));
            all(VXLAN)?;
            ensure!(ears.heard()? == [0, 2 * COUNT], "without a guard it is heard");

            let guard = guarded(&one, &[one.addr()])?;
            all(SLEEVE)?;
            all(VXLAN)?;
            let by_nobody = ears.heard()?;
            targets.iter().try_for_each(|addr| send(&one, *addr, VXLAN, COUNT))?;
            let by_root = ears.heard()?;
            targets.iter().try_for_each(|addr| marked(&one, *addr, COUNT))?;
            let by_mark = ears.heard()?;

            ensure!((by_nobody, by_root, by_mark) == ([0, 0], [0, 0], [0, 2 * COUNT]));
            let tally = one.inside(async || Ok(guard.counters().await?))?;
            ensure!(packets(tally.local_users) == 6 * COUNT, "{tally:?}");
            Ok(())
        })
        .unwrap();
    }
}

const WAIT: Duration = Duration::from_secs(10);

/// How many probes of a pod arrive at the bridges of its node and of another.
fn probes_of(pod: &Pod, near: &Node, far: &Node, tags: &str) -> Result<[usize; 2]> {
    // A tag that the kernel has taken off is put back in what is captured.
    let filter = "ether[12:2] == 0x88b5 or ether[16:2] == 0x88b5 or ether[20:2] == 0x88b5 or vlan";
    let captures = [
        Capture::directed(near, "weave", Direction::In, filter)?,
        Capture::directed(far, "weave", Direction::In, filter)?,
    ];
    pod.peer(WAIT, &format!("raw-send eth0 {COUNT} ffffffffffff020000000008{tags}{PROBE}"))?;
    pause(Duration::from_millis(100));
    let [near, far] = captures.map(|capture| capture.stop().map(|seen| seen.len()));
    Ok([near?, far?])
}

/// Sends as a user without rights.
fn as_nobody(node: &Node, addr: &str, port: u16) -> Result<()> {
    let program = bin("lab-peer")?;
    let (program, port, count) =
        (program.display().to_string(), port.to_string(), COUNT.to_string());
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let sends = [program.as_str(), "udp-post", addr, &port, &count];
    node.run(&[&nobody[..], &sends].concat()).map(drop)
}
