//! From ADD to DEL.

use anyhow::ensure;
use serde_json::json;
use weft_tests::harness::runtime::{self, Container, add, address, call_with, code, del, network};
use weft_tests::harness::{Lab, Ping, Stopwatch, beside, wait_until};

use crate::{WAIT, mac_of, nothing_left, one, pods, two};

#[test]
fn pods_of_two_nodes_reach_each_other_and_leave_nothing() {
    let _turn = beside().unwrap();
    Lab::with("cni-life", |lab| {
        let (nodes, daemons) = two(lab)?;
        let containers = [Container::new(&nodes[0], "a")?, Container::new(&nodes[1], "b")?];
        let (one, other) = (add(&nodes[0], &containers[0])?, add(&nodes[1], &containers[1])?);

        let (here, there) = (address(&one)?, address(&other)?);
        let stats = containers[0].host().ping_with(&Ping::new(there, 20))?;
        ensure!(stats.perfect(), "{here} to {there}: {stats:?}");
        let expected = json!({
            "sandbox": containers[0].netns(),
            "name": "eth0",
            "mac": mac_of(containers[0].host(), "eth0")?,
        });
        let interface = one.pointer("/interfaces/2").cloned().unwrap_or_default();
        for field in ["sandbox", "name", "mac"] {
            ensure!(interface.get(field) == expected.get(field), "{interface} is not {expected}");
        }
        let route = containers[0].host().run(&["ip", "route", "show", "default"])?;
        ensure!(route.starts_with("default via 10."), "{route:?}");
        let shown = &pods(&daemons[0])?[0];
        ensure!(shown.pointer("/network") == Some(&json!("weft")), "{shown}");

        del(&nodes[0], "a")?;
        del(&nodes[1], "b")?;
        ensure!(containers[0].host().run(&["ip", "-br", "link"])?.lines().count() == 1);
        nothing_left(&nodes[0], &daemons[0])?;
        nothing_left(&nodes[1], &daemons[1])
    })
    .unwrap();
}

#[test]
fn a_pod_with_a_mac_address_of_its_own_is_found_at_once_by_who_knew_another_there() {
    let _turn = beside().unwrap();
    Lab::with("cni-greets", |lab| {
        let (nodes, _daemons) = two(lab)?;
        let client = Container::new(&nodes[0], "client")?;
        add(&nodes[0], &client)?;
        let plug = |id: &str, mac: &str| {
            let container = Container::new(&nodes[1], id)?;
            let args = format!("CNI_ARGS=IgnoreUnknown=1;MAC={mac};IP=10.32.77.7/12");
            let of = (id, "eth0", &*container.netns());
            let output = call_with(&nodes[1], "ADD", of, &network("1.0.0"), &[&args])?;
            ensure!(output.status.success(), "{output:?}");
            Ok((address(&serde_json::from_str(&output.stdout)?)?, container))
        };
        let (addr, old) = plug("old", "02:00:00:00:0a:01")?;
        wait_until(WAIT, "the first answers", || {
            client.host().ping(addr, 1).is_ok_and(|stats| stats.received == 1)
        })?;
        del(&nodes[1], "old")?;
        old.delete()?;

        let (_, _new) = plug("new", "02:00:00:00:0a:02")?;
        let watch = Stopwatch::start();
        let stats = client.host().ping_with(&Ping::new(addr, 5))?;

        println!("{addr} answered {stats:?} within {:?} of another ADD", watch.elapsed());
        ensure!(stats.perfect(), "{stats:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn without_a_daemon_add_fails_at_once_and_del_is_done_when_it_is_back() {
    let _turn = beside().unwrap();
    Lab::with("cni-down", |lab| {
        let (node, mut daemon) = one(lab, &[])?;
        let [first, second] = [Container::new(&node, "a")?, Container::new(&node, "b")?];
        add(&node, &first)?;
        daemon.kill()?;

        let watch = Stopwatch::start();
        let of = ("b", "eth0", &*second.netns());
        let failed = runtime::call(&node, "ADD", of, &network("1.1.0"))?;
        let took = watch.elapsed();
        del(&node, "a")?;
        first.delete()?;
        let status = runtime::call(&node, "STATUS", ("", "", ""), &network("1.1.0"))?;

        ensure!(code(&failed)? == 11 && took.as_secs() < 1, "{failed:?} after {took:?}");
        ensure!(code(&status)? == 50, "{status:?}");
        daemon.restart()?;
        nothing_left(&node, &daemon)?;
        let left = node.run(&["sh", "-c", "ls -A /var/lib/weft/unplug"])?;
        ensure!(left.trim().is_empty(), "left in the queue: {left}");
        add(&node, &second)?;
        let status = runtime::call(&node, "STATUS", ("", "", ""), &network("1.1.0"))?;
        ensure!(status.status.success() && status.stdout.is_empty(), "{status:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn pods_outlive_the_daemon_and_their_ports_are_put_back() {
    let _turn = beside().unwrap();
    Lab::with("cni-outlive", |lab| {
        let (nodes, mut daemons) = two(lab)?;
        let containers = [Container::new(&nodes[0], "a")?, Container::new(&nodes[1], "b")?];
        let there = address(&add(&nodes[1], &containers[1])?)?;
        add(&nodes[0], &containers[0])?;
        let before = pods(&daemons[1])?;
        let answers = || containers[0].host().ping(there, 1).is_ok_and(|stats| stats.received == 1);
        wait_until(WAIT, "it answers", answers)?;

        daemons[1].kill()?;
        daemons[1].restart()?;
        ensure!(pods(&daemons[1])? == before);
        wait_until(WAIT, "it answers after a restart", answers)?;
        let host = before[0].pointer("/host/name").and_then(|it| it.as_str()).unwrap_or_default();
        nodes[1].run(&["ip", "link", "set", host, "nomaster"])?;
        wait_until(WAIT, "its port is put back", answers)?;
        let flags = nodes[1].run(&["bridge", "-d", "link", "show", "dev", host])?;
        ensure!(flags.contains("locked on") && flags.contains("learning off"), "{flags}");
        Ok(())
    })
    .unwrap();
}
