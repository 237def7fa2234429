//! A daemon that sees neither the runtime's processes nor its namespaces, and may do no more than it must: as in a container of
//! its own that shares the node's network.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_tests::harness::runtime::{Container, add, address, call, code, del, network};
use weft_tests::harness::weftd::Daemon;
use weft_tests::harness::{Lab, Node, Underlay, beside};

use crate::{WAIT, nothing_left, pods};

/// CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN (linux/capability.h).
const CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 21;
/// Its own processes, its own mounts, and these capabilities.
const BARE: [&str; 10] = [
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount",
    "--mount-proc",
    "setpriv",
    "--inh-caps=-all",
    "--bounding-set=-all,+net_admin,+net_raw,+sys_admin",
    "--no-new-privs",
];

/// A daemon like that; `before` comes first.
fn bare(node: &Node, before: &[&str], options: &[&str]) -> Result<Daemon> {
    let daemon = Daemon::start_through(&[before, &BARE].concat(), node, options)?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid(&daemon)?))?;
    for of in ["CapEff:", "CapPrm:", "CapBnd:"] {
        let mask = status.lines().find_map(|line| line.strip_prefix(of)).context("no mask")?;
        let mask = u64::from_str_radix(mask.trim(), 16)?;
        ensure!(mask == CAPABILITIES, "{of} {mask:x}");
    }
    Ok(daemon)
}

/// Its number here: the process that was started only waits for it.
fn pid(daemon: &Daemon) -> Result<u32> {
    let outer = daemon.proc.pid();
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?;
    children.split_whitespace().next().context("no child")?.parse().context("no number")
}

/// Its path by name; [`Container::netns`] is by process.
fn named(container: &Container) -> String {
    format!("/run/netns/{}", container.host().netns())
}

fn add_at(node: &Node, id: &str, netns: &str) -> Result<Value> {
    let output = call(node, "ADD", (id, "eth0", netns), &network("1.1.0"))?;
    ensure!(output.status.success(), "ADD {id}: {output:?}");
    Ok(serde_json::from_str(&output.stdout)?)
}

fn check(node: &Node, (id, netns): (&str, &str), result: &Value) -> Result<()> {
    let mut config = network("1.1.0");
    config.as_object_mut().context("no object")?.insert("prevResult".into(), result.clone());
    let output = call(node, "CHECK", (id, "eth0", netns), &config)?;
    ensure!(output.status.success(), "CHECK {id}: {output:?}");
    Ok(())
}

#[test]
fn a_daemon_with_three_capabilities_plugs_in_what_it_cannot_see() {
    let _turn = beside().unwrap();
    Lab::with("cni-bare", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let (first, consensus) = (nodes[0].addr().to_string(), ["--ipalloc-init", "consensus=2"]);
        let daemons = [
            bare(&nodes[0], &[], &consensus)?,
            bare(&nodes[1], &[], &[&consensus[..], &[&first]].concat())?,
        ];
        daemons.iter().try_for_each(|daemon| daemon.wait_for_peers(2, WAIT))?;
        let [a, c] = [Container::new(&nodes[0], "a")?, Container::new(&nodes[0], "c")?];
        let b = Container::new(&nodes[1], "b")?;
        for path in [named(&a), a.netns()] {
            let unseen = json!({ "id": "unseen", "ifname": "eth0", "netns": path });
            let refused = daemons[0].post("/v1/pods/plug", &unseen)?;
            ensure!(refused.code == 400, "it sees {path}: {refused:?}");
        }

        let results = [add_at(&nodes[0], "a", &named(&a))?, add(&nodes[1], &b)?];
        check(&nodes[0], ("a", &named(&a)), &results[0])?;
        check(&nodes[1], ("b", &b.netns()), &results[1])?;
        let by_hand = daemons[0].weft(&format!("attach --netns {}", named(&c)))?;
        for to in [address(&results[0])?, by_hand.trim().parse()?] {
            let stats = b.host().ping(to, 5)?;
            ensure!(stats.perfect(), "{to}: {stats:?}");
        }

        del(&nodes[0], "a")?;
        daemons[0].weft(&format!("detach --netns {}", named(&c)))?;
        let netns = b.netns();
        b.delete()?;
        let gone = call(&nodes[1], "DEL", ("b", "eth0", &netns), &network("1.1.0"))?;
        ensure!(gone.status.success(), "{gone:?}");
        nothing_left(&nodes[0], &daemons[0])?;
        nothing_left(&nodes[1], &daemons[1])
    })
    .unwrap();
}

#[test]
fn a_daemon_with_three_capabilities_undoes_what_another_has_begun_before_it_died() {
    let _turn = beside().unwrap();
    Lab::with("cni-bare-crash", |lab| {
        let [node] = lab.nodes::<1>(&Underlay::default())?;
        let container = Container::new(&node, "a")?;
        let mut daemon = bare(&node, &["env", "WEFTD_CRASH_AT=made"], &[])?;
        let failed = call(&node, "ADD", ("a", "eth0", &named(&container)), &network("1.1.0"))?;
        ensure!(code(&failed)? == 11, "{failed:?}");
        daemon.proc.wait(WAIT)?;
        ensure!(daemon.proc.stderr().contains("made"), "it did not die there");
        let host = "ip -o link show type veth | grep -c vethweft";
        ensure!(node.sh(host)?.trim() == "1", "nothing was begun");

        daemon = bare(&node, &[], &[])?;
        nothing_left(&node, &daemon)?;
        let result = add_at(&node, "a", &named(&container))?;
        // Killed while it is plugged in.
        node.run(&["kill", "-9", &pid(&daemon)?.to_string()])?;
        daemon.proc.wait(WAIT)?;
        daemon = bare(&node, &[], &[])?;
        ensure!(pods(&daemon)?.len() == 1);
        check(&node, ("a", &named(&container)), &result)?;
        container.delete()?;
        del(&node, "a")?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}

#[test]
fn a_daemon_that_may_not_enter_a_namespace_says_what_it_lacks() {
    let _turn = beside().unwrap();
    Lab::with("cni-bare-less", |lab| {
        let [node] = lab.nodes::<1>(&Underlay::default())?;
        let less = ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_admin,+net_raw"];
        let daemon = Daemon::start_through(&less, &node, &[])?;
        let container = Container::new(&node, "a")?;

        let refused = call(&node, "ADD", ("a", "eth0", &container.netns()), &network("1.1.0"))?;

        ensure!(code(&refused)? == 102 && refused.stdout.contains("CAP_SYS_ADMIN"), "{refused:?}");
        nothing_left(&node, &daemon)
    })
    .unwrap();
}
