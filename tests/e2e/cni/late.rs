//! What comes at another time than it should, and what is left of those who were there before.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weft_tests::harness::runtime::{Container, add, address, call, call_with, code, del, network};
use weft_tests::harness::weftd::Daemon;
use weft_tests::harness::{Capture, Lab, Node, Underlay, beside, pause, wait_until};

use crate::{WAIT, mac_of, nothing_left, one, pods, two};

/// Adds a container with this address.
fn add_at(node: &Node, id: &str, addr: &str) -> Result<Container> {
    let container = Container::new(node, id)?;
    let args = format!("CNI_ARGS=IgnoreUnknown=1;IP={addr}");
    let of = (id, "eth0", &*container.netns());
    let output = call_with(node, "ADD", of, &network("1.0.0"), &[&args])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(container)
}

#[test]
fn a_flow_of_udp_to_who_had_an_address_before_does_not_reach_who_has_it_now() {
    let _turn = beside().unwrap();
    Lab::with("cni-flows", |lab| {
        let (node, daemon) = one(lab, &["--expose", "10.32.0.1/12"])?;
        let old = add_at(&node, "old", "10.32.0.50/12")?;
        let other = add_at(&node, "other", "10.32.0.51/12")?;
        // A service, as kube-proxy has it: of one pod, and when that is gone of another.
        let serve = |addr: &str| {
            node.sh(&format!(
                "nft 'table ip service; flush table ip service; table ip service {{ chain output {{ type nat hook output priority -100; ip daddr 10.96.0.10 udp dport 53 dnat to {addr}; }}; }}'"
            ))
        };
        serve("10.32.0.50")?;
        node.run(&["ip", "route", "add", "10.96.0.0/16", "dev", "weave"])?;
        let seen = Capture::start(old.host(), "eth0", "udp port 53")?;
        let send = "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('10.32.0.1', 4000))\n\
                    while True:\n    s.sendto(b'weft', ('10.96.0.10', 53))\n    time.sleep(0.05)\n";
        let _client = node.spawn(&["python3", "-c", send])?;
        seen.wait_for("the first has it", WAIT, |_| true)?;

        del(&node, "old")?;
        serve("10.32.0.51")?;
        let moved = Capture::start(other.host(), "eth0", "udp port 53")?;
        pause(Duration::from_millis(300));
        ensure!(moved.count(|_| true)? == 0, "it moved by itself: this test shows nothing");
        let new = Container::new(&node, "new")?;
        let stray = Capture::start(new.host(), "any", "udp port 53")?;
        let of = ("new", "eth0", &*new.netns());
        let args = ["CNI_ARGS=IgnoreUnknown=1;IP=10.32.0.50/12"];
        let output = call_with(&node, "ADD", of, &network("1.0.0"), &args)?;
        ensure!(output.status.success(), "{output:?}");

        moved.wait_for("the service's other pod has it", WAIT, |_| true)?;
        // Packets that the kernel kept until somebody said where the address is come first.
        let (kept, had) = (stray.count(|_| true)?, moved.count(|_| true)?);
        moved.wait_for("more has", WAIT, |_| moved.count(|_| true).is_ok_and(|it| it > had + 9))?;
        let strayed = stray.stop()?.len();
        ensure!(strayed == kept, "the new pod gets what is not for it: {kept}, then {strayed}");
        let counted = || daemon.count("/pods/flows_forgotten").is_ok_and(|it| it >= 1);
        wait_until(WAIT, "they are counted", counted)
    })
    .unwrap();
}

#[test]
fn nobody_is_given_what_another_node_has() {
    let _turn = beside().unwrap();
    Lab::with("cni-elsewhere", |lab| {
        let (nodes, daemons) = two(lab)?;
        let [there, here] =
            [Container::new(&nodes[1], "there")?, Container::new(&nodes[0], "here")?];
        let far = add(&nodes[1], &there)?;
        let mac = mac_of(there.host(), "eth0")?;
        let known = || nodes[0].run(&["bridge", "fdb"]).is_ok_and(|it| it.contains(&mac));
        wait_until(WAIT, "the other node knows it", known)?;
        daemons[0].weft("expose")?;
        let own = nodes[0].run(&["ip", "-4", "-o", "addr", "show", "dev", "weave"])?;
        let own = own.split_whitespace().nth(3).context("no address")?.to_owned();
        let near = add(&nodes[0], &Container::new(&nodes[0], "near")?)?;
        let of = ("here", "eth0", &*here.netns());
        let add_with = |args: &str| {
            let args = format!("CNI_ARGS=IgnoreUnknown=1;{args}");
            call_with(&nodes[0], "ADD", of, &network("1.0.0"), &[&args])
        };
        let add_given = |addr: &str| {
            let mut config = network("1.0.0");
            config["ipam"] = json!({ "type": "static", "addresses": [{ "address": addr }] });
            call(&nodes[0], "ADD", of, &config)
        };

        let refused = [
            add_with(&format!("MAC={mac}"))?,
            add_with(&format!("MAC={}", daemons[1].name()))?,
            add_given(&own)?,
            add_given(&format!("{}/12", address(&far)?))?,
            add_given(&format!("{}/12", address(&near)?))?,
        ];

        for refused in refused {
            ensure!(code(&refused)? == 100, "{refused:?}");
            println!("{}", refused.stdout);
        }
        let given = add_given("10.40.0.9/12")?;
        ensure!(given.status.success(), "{given:?}");
        // What is no more can be had.
        del(&nodes[1], "there")?;
        del(&nodes[0], "here")?;
        wait_until(WAIT, "it is free", || {
            add_with(&format!("MAC={mac}")).is_ok_and(|it| it.status.success())
        })
    })
    .unwrap();
}

#[test]
fn a_del_that_comes_while_its_add_waits_leaves_nothing() {
    let _turn = beside().unwrap();
    Lab::with("cni-overtaken", |lab| {
        // Of two, one is up: addresses are not to be had yet.
        let [node, late] = lab.nodes::<2>(&Underlay::default())?;
        let init = ["--ipalloc-init", "consensus=2"];
        let daemon = Daemon::start(&node, &init)?;
        let container = Container::new(&node, "a")?;
        let of = ("a", "eth0", &*container.netns());
        let (added, deleted) = std::thread::scope(|scope| {
            let adding = scope.spawn(|| call(&node, "ADD", of, &network("1.1.0")));
            wait_until(WAIT, "ADD waits for the gateway's address", || {
                daemon.weft("status ipam").is_ok_and(|it| it.contains("weave:expose"))
            })?;
            let deleting = scope.spawn(|| del(&node, "a"));
            pause(Duration::from_millis(300));
            let _second = Daemon::start(&late, &[&init[..], &[&node.addr().to_string()]].concat())?;
            let joined = |_| anyhow::anyhow!("a thread has panicked");
            let added = adding.join().map_err(joined)?;
            let deleted = deleting.join().map_err(joined)?;
            anyhow::Ok((added, deleted))
        })?;

        deleted?;
        println!("ADD said {:?}", added?.stdout);
        nothing_left(&node, &daemon)
    })
    .unwrap();
}

#[test]
fn no_two_have_one_mac_address() {
    let _turn = beside().unwrap();
    Lab::with("cni-macs", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let [a, b] = [Container::new(&node, "a")?, Container::new(&node, "b")?];
        let with = |mac: &str, of: &Container| {
            let args = format!("CNI_ARGS=IgnoreUnknown=1;MAC={mac}");
            let container = (&*of.id, "eth0", &*of.netns());
            call_with(&node, "ADD", container, &network("1.0.0"), &[&args])
        };
        let first = with("02:00:00:00:0a:01", &a)?;
        ensure!(first.status.success(), "{first:?}");

        let second = with("02:00:00:00:0a:01", &b)?;
        let bridge = with(&mac_of(&node, "weave")?, &b)?;

        for refused in [second, bridge] {
            ensure!(code(&refused)? >= 100 && refused.stdout.contains("MAC"), "{refused:?}");
        }
        ensure!(pods(&daemon)?.len() == 1 && daemon.leases()?.len() == 2, "{:?}", daemon.leases()?);
        del(&node, "a")?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}

#[test]
fn a_pod_by_hand_is_freed_when_its_namespace_is_gone_and_one_of_a_runtime_is_not() {
    let _turn = beside().unwrap();
    Lab::with("cni-gone", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let [hand, runtime] = [Container::new(&node, "hand")?, Container::new(&node, "runtime")?];
        daemon.weft(&format!("attach --netns {}", hand.init.pid()))?;
        let addr = address(&add(&node, &runtime)?)?;
        hand.delete()?;
        runtime.delete()?;

        wait_until(WAIT, "it is freed", || pods(&daemon).is_ok_and(|it| it.len() == 1))?;

        // That one's runtime will ask.
        let left = daemon.leases()?;
        ensure!(left.iter().any(|(_, it)| *it == addr), "{left:?}");
        del(&node, "runtime")?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}

#[test]
fn a_pod_whose_record_was_lost_keeps_its_address_until_it_is_unplugged() {
    let _turn = beside().unwrap();
    Lab::with("cni-lost", |lab| {
        let (node, mut daemon) = one(lab, &[])?;
        let container = Container::new(&node, "a")?;
        let addr = address(&add(&node, &container)?)?;
        daemon.stop()?;
        node.run(&["rm", "/var/lib/weft/pods.redb"])?;
        daemon.restart()?;

        let of = ("a", "eth0", &*container.netns());
        let again = call(&node, "ADD", of, &network("1.1.0"))?;

        ensure!(code(&again)? >= 100 && again.stdout.contains("record was lost"), "{again:?}");
        let leases = daemon.leases()?;
        ensure!(leases.iter().any(|(_, it)| *it == addr), "{addr} is not among {leases:?}");
        ensure!(node.ping(addr, 3)?.perfect(), "it has no network any more");
        del(&node, "a")?;
        nothing_left(&node, &daemon)?;
        add(&node, &container)?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_was_queued_while_the_daemon_ran_is_done_too() {
    let _turn = beside().unwrap();
    Lab::with("cni-queue", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let container = Container::new(&node, "a")?;
        add(&node, &container)?;
        // As of a plugin that could not reach the socket.
        node.sh("mkdir -p /var/lib/weft/unplug; echo '{\"id\":\"a\",\"ifname\":\"eth0\"}' > /var/lib/weft/unplug/a.json; echo no > /var/lib/weft/unplug/b.json")?;

        wait_until(WAIT, "it is done", || pods(&daemon).is_ok_and(|it| it.is_empty()))?;

        nothing_left(&node, &daemon)?;
        let left = node.sh("ls /var/lib/weft/unplug")?;
        ensure!(left.trim() == "b.bad", "{left}");
        let counted = || daemon.count("/pods/queued").is_ok_and(|it| it == 1);
        wait_until(WAIT, "it is counted", counted)
    })
    .unwrap();
}
