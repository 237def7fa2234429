//! The same asked again, and what is not the same.

use anyhow::ensure;
use weft_tests::harness::runtime::{Container, add, address, call, code, del, network};
use weft_tests::harness::{Lab, beside};

use crate::{nothing_left, one, pods};

#[test]
fn what_is_asked_twice_is_done_once_and_what_is_there_stays() {
    let _turn = beside().unwrap();
    Lab::with("cni-again", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let [a, b] = [Container::new(&node, "a")?, Container::new(&node, "b")?];
        // DEL before ADD.
        del(&node, "a")?;
        let first = add(&node, &a)?;
        ensure!(add(&node, &a)? == first, "not the same again");
        let before = pods(&daemon)?;

        let elsewhere = call(&node, "ADD", ("a", "eth0", &b.netns()), &network("1.1.0"))?;
        ensure!(code(&elsewhere)? >= 100, "{elsewhere:?}");
        b.host().run(&["ip", "link", "add", "eth0", "type", "bridge"])?;
        let taken = call(&node, "ADD", ("b", "eth0", &b.netns()), &network("1.1.0"))?;
        ensure!(code(&taken)? >= 100 && taken.stdout.contains("eth0"), "{taken:?}");
        ensure!(pods(&daemon)? == before, "something has changed");
        ensure!(daemon.leases()?.len() == 2, "{:?}", daemon.leases()?);
        b.host().run(&["ip", "link", "del", "eth0"])?;
        add(&node, &b)?;

        del(&node, "a")?;
        del(&node, "a")?;
        // Its namespace goes first.
        b.delete()?;
        del(&node, "b")?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}

#[test]
fn what_was_taken_away_meanwhile_is_there_after_the_same_add() {
    let _turn = beside().unwrap();
    Lab::with("cni-again-damaged", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let [a, b] = [Container::new(&node, "a")?, Container::new(&node, "b")?];
        add(&node, &b)?;
        for taken in ["ip addr flush dev eth0", "ip route del default", "ip link set eth0 down"] {
            add(&node, &a)?;
            a.host().sh(taken)?;

            let result = add(&node, &a)?;

            let addr = address(&result)?;
            let pinged = b.host().run(&["ping", "-c", "1", "-W", "3", &addr.to_string()]);
            ensure!(pinged.is_ok(), "{taken}: {pinged:?}");
            ensure!(a.host().run(&["ip", "route"])?.contains("default"), "{taken}");
            // Each has one, and the bridge.
            ensure!(daemon.leases()?.len() == 3, "{:?}", daemon.leases()?);
        }
        del(&node, "a")?;
        del(&node, "b")?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}

#[test]
fn a_second_interface_is_as_it_was_added_where_the_first_has_the_default_route() {
    let _turn = beside().unwrap();
    Lab::with("cni-second", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let container = Container::new(&node, "a")?;
        let netns = container.netns();
        let [first, second] = ["eth0", "net1"]
            .map(|ifname| call(&node, "ADD", ("a", ifname, &netns), &network("1.1.0")).unwrap());
        ensure!(first.status.success() && second.status.success(), "{first:?} {second:?}");

        for (ifname, added) in [("eth0", &first), ("net1", &second)] {
            let mut config = network("1.1.0");
            let previous: serde_json::Value = serde_json::from_str(&added.stdout)?;
            config["prevResult"] = previous;
            let checked = call(&node, "CHECK", ("a", ifname, &netns), &config)?;
            ensure!(checked.status.success(), "{ifname}: {checked:?}");
        }
        for ifname in ["eth0", "net1"] {
            let deleted = call(&node, "DEL", ("a", ifname, &netns), &network("1.1.0"))?;
            ensure!(deleted.status.success(), "{deleted:?}");
        }
        nothing_left(&node, &daemon)
    })
    .unwrap();
}

#[test]
fn a_full_range_is_told_and_leaves_nothing() {
    let _turn = beside().unwrap();
    Lab::with("cni-full", |lab| {
        let (node, daemon) = one(lab, &["--ipalloc-range", "10.32.0.0/29"])?;
        let mut all = Vec::new();
        for number in 0..5 {
            all.push(Container::new(&node, &format!("c{number}"))?);
            add(&node, &all[number])?;
        }
        let last = Container::new(&node, "last")?;

        let refused = call(&node, "ADD", ("last", "eth0", &last.netns()), &network("1.1.0"))?;

        ensure!(refused.stdout.contains("10.32.0.0/29"), "{refused:?}");
        ensure!(pods(&daemon)?.len() == 5);
        del(&node, "c0")?;
        add(&node, &last)?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_hostile_call_is_refused_and_changes_nothing() {
    let _turn = beside().unwrap();
    Lab::with("cni-hostile", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let container = Container::new(&node, "a")?;
        let (netns, config) = (container.netns(), network("1.1.0"));

        let own = call(&node, "ADD", ("a", "eth0", "/proc/self/ns/net"), &config)?;
        let none = call(&node, "ADD", ("a", "eth0", "/etc/passwd"), &config)?;
        let path = call(&node, "ADD", ("../../etc", "eth0", &netns), &config)?;
        let name = call(&node, "ADD", ("a", "a/b", &netns), &config)?;
        let format = call(&node, "ADD", ("a", "veth%d", &netns), &config)?;
        ensure!(code(&own)? == 8 && code(&none)? == 8, "{own:?} {none:?}");
        ensure!(code(&path)? == 4 && code(&name)? == 4, "{path:?} {name:?}");
        ensure!(code(&format)? > 0, "{format:?}");
        let mut small = config.clone();
        small["mtu"] = 5.into();
        let small = call(&node, "ADD", ("a", "eth0", &netns), &small)?;
        ensure!(code(&small)? == 7 && small.stdout.contains("68"), "{small:?}");
        // A link to it is as good, as runtimes have /var/run.
        node.run(&["ln", "-s", &netns, "/run/link"])?;
        let linked = call(&node, "ADD", ("a", "eth0", "/run/link"), &config)?;
        ensure!(linked.status.success(), "{linked:?}");
        del(&node, "a")?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}
