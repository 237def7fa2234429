//! libcni's own client, with the configuration of `weft setup-cni` in the versions that it knows.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weft_tests::harness::cnitool::{self, Cnitool};
use weft_tests::harness::runtime::{Container, address};
use weft_tests::harness::{Lab, beside};

use crate::{nothing_left, one, pods, two};

/// Puts the configuration into another version. Debian 12's plugins that follow weft-cni do not know 1.1.0.
fn in_version(runtime: &Cnitool, version: &str, alone: bool) -> Result<()> {
    runtime.configure(|all| {
        let Some(fields) = all.as_object_mut() else { return };
        fields.insert("cniVersion".to_owned(), json!(version));
        if let Some(plugins) = fields.get_mut("plugins").and_then(Value::as_array_mut) {
            plugins.truncate(if alone { 1 } else { plugins.len() });
        }
    })
}

#[test]
fn libcni_adds_checks_and_deletes_in_each_version() {
    cnitool::program().unwrap();
    let _turn = beside().unwrap();
    Lab::with("cni-cnitool", |lab| {
        let (nodes, daemons) = two(lab)?;
        let runtimes = [Cnitool::set_up(&daemons[0])?, Cnitool::set_up(&daemons[1])?];
        // Debian 12's bandwidth (1.1.1) dies of a CHECK without one.
        let limit = json!({ "bandwidth": { "ingressRate": 8_000_000, "ingressBurst": 800_000 } });
        // As it is written first.
        for version in [None, Some("0.3.1"), Some("0.4.0"), Some("1.0.0"), Some("1.1.0")] {
            for runtime in version.iter().flat_map(|_| &runtimes) {
                in_version(runtime, version.unwrap_or_default(), version == Some("1.1.0"))?;
            }
            let version = version.unwrap_or("1.0.0");
            let all = [Container::new(&nodes[0], "a")?, Container::new(&nodes[1], "b")?];
            let added = [runtimes[0].add(&all[0], &limit)?, runtimes[1].add(&all[1], &json!({}))?];

            ensure!(added[0].get("cniVersion") == Some(&json!(version)), "{}", added[0]);
            let stats = all[0].host().ping(address(&added[1])?, 5)?;
            ensure!(stats.perfect(), "{version}: {stats:?}");
            let check =
                || runtimes[0].call("check", &all[0].netns(), &[&format!("CAP_ARGS={limit}")]);
            let (fine, status) = (check()?, runtimes[0].call("status", "none", &[])?);
            all[0].host().sh("ip addr flush dev eth0 scope global")?;
            let taken = check()?;
            // 0.3.1 has no CHECK, which libcni says itself.
            ensure!(fine.status.success() == (version != "0.3.1"), "{version}: {fine:?}");
            ensure!(!taken.status.success(), "{version}: {taken:?}");
            ensure!(status.status.success(), "{version}: {status:?}");
            for _ in 0..2 {
                runtimes[0].del(&all[0], &limit)?;
            }
            // The second is asked for when its namespace has gone.
            let [first, second] = all;
            let netns = second.netns();
            second.delete()?;
            first.delete()?;
            for _ in 0..2 {
                let gone = runtimes[1].call("del", &netns, &[])?;
                ensure!(gone.status.success(), "{version}: {gone:?}");
            }
            nothing_left(&nodes[0], &daemons[0])?;
            nothing_left(&nodes[1], &daemons[1])?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn libcni_collects_garbage_and_asks_whether_a_network_can_be_had() {
    cnitool::program().unwrap();
    let _turn = beside().unwrap();
    Lab::with("cni-cnitool-gc", |lab| {
        let (node, mut daemon) = one(lab, &[])?;
        let runtime = Cnitool::set_up(&daemon)?;
        for version in ["1.0.0", "1.1.0"] {
            in_version(&runtime, version, version == "1.1.0")?;
            let all = [Container::new(&node, "a")?, Container::new(&node, "b")?];
            for container in &all {
                runtime.add(container, &json!({}))?;
            }
            ensure!(pods(&daemon)?.len() == 2);

            // It is asked for with nobody who stays: libcni deletes all whom it has added, and then has GC done without a list.
            let done = runtime.call("gc", "none", &[])?;

            nothing_left(&node, &daemon)?;
            let refused = done.stderr.contains("cni.dev/valid-attachments is missing");
            let told = if version == "1.1.0" { refused } else { done.status.success() };
            ensure!(told, "{version}: {done:?}");
            let [a, b] = all;
            a.delete()?;
            b.delete()?;
        }
        let status = || runtime.call("status", "none", &[]);
        ensure!(status()?.status.success());
        daemon.stop()?;
        let down = status()?;
        ensure!(!down.status.success() && down.stderr.contains("weftd"), "{down:?}");
        Ok(())
    })
    .unwrap();
}
