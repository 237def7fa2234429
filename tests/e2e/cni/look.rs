//! CHECK, GC, and pods by hand.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_tests::harness::runtime::{Container, add, call, code, network};
use weft_tests::harness::{Lab, Node, beside, wait_until};

use crate::{WAIT, mac_of, nothing_left, one, pods};

/// CHECK of a container, after this result.
fn check(node: &Node, of: &Container, previous: &Value) -> Result<Option<u64>> {
    let mut config = network("1.1.0");
    let fields = config.as_object_mut().context("no object")?;
    fields.insert("prevResult".to_owned(), previous.clone());
    let output = call(node, "CHECK", (&of.id, "eth0", &of.netns()), &config)?;
    if output.status.success() { Ok(None) } else { code(&output).map(Some) }
}

#[test]
fn check_notices_each_thing_that_is_taken_away() {
    let _turn = beside().unwrap();
    Lab::with("cni-check", |lab| {
        let (node, mut daemon) = one(lab, &[])?;
        for (number, taken) in [
            "ip route del default",
            "ip route del 10.32.0.0/12",
            "ip addr flush dev eth0 scope global",
            "ip link set eth0 down",
            "ip link set eth0 address 02:00:00:00:00:99",
            "ip link set eth0 down; ip link set eth0 name other; ip link set other up",
            "ip link del eth0",
        ]
        .into_iter()
        .enumerate()
        {
            let container = Container::new(&node, &format!("c{number}"))?;
            let result = add(&node, &container)?;
            let fine = check(&node, &container, &result)?;
            ensure!(fine.is_none(), "{fine:?} before anything was taken");

            container.host().sh(taken)?;

            let found = check(&node, &container, &result)?;
            ensure!(found.is_some_and(|code| code >= 100), "{taken}: {found:?}");
        }
        // The bridge's entry of it is missed, and back before long.
        let container = Container::new(&node, "entry")?;
        let result = add(&node, &container)?;
        let mac = mac_of(container.host(), "eth0")?;
        let known = || node.run(&["bridge", "fdb"]).unwrap_or_default();
        let entry = known().lines().find(|it| it.contains(&mac)).map(str::to_owned);
        let port =
            entry.as_deref().and_then(|it| it.split_whitespace().nth(2)).context("no entry")?;
        node.run(&["bridge", "fdb", "del", &mac, "dev", port, "master"])?;
        ensure!(check(&node, &container, &result)?.is_some(), "the entry is not missed");
        wait_until(WAIT, "the entry is back", || known().contains(&mac))?;
        let fine = check(&node, &container, &result)?;
        ensure!(fine.is_none(), "{fine:?} when it is back");
        let container = Container::new(&node, "lease")?;
        let result = add(&node, &container)?;
        // What is a pod's is not anybody's to free, but the disk may lose it.
        let (id, _) = daemon
            .leases()?
            .into_iter()
            .find(|(id, _)| id.contains("lease"))
            .context("no lease")?;
        let freed = daemon.post("/v1/addresses/free", &json!({ "id": id }))?;
        ensure!(freed.code == 400, "{freed:?}");
        daemon.stop()?;
        node.run(&["rm", "/var/lib/weft/ipam.redb"])?;
        daemon.restart()?;
        ensure!(check(&node, &container, &result)?.is_some(), "the lease is not missed");
        let never = Container::new(&node, "never")?;
        ensure!(check(&node, &never, &result)? == Some(3), "{:?}", check(&node, &never, &result)?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn gc_unplugs_exactly_the_rest() {
    let _turn = beside().unwrap();
    Lab::with("cni-gc", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let all = ["a", "b", "c"].map(|id| Container::new(&node, id));
        let all = all.into_iter().collect::<Result<Vec<_>>>()?;
        for container in &all {
            add(&node, container)?;
        }
        let by_hand = Container::new(&node, "hand")?;
        daemon.weft(&format!("attach --netns {}", by_hand.init.pid()))?;
        let gc = |valid: &[&str]| {
            let mut config = network("1.1.0");
            let valid: Vec<_> =
                valid.iter().map(|id| json!({ "containerID": id, "ifname": "eth0" })).collect();
            let fields = config.as_object_mut().context("no object")?;
            fields.insert("cni.dev/valid-attachments".to_owned(), valid.into());
            call(&node, "GC", ("", "", ""), &config)
        };

        let done = gc(&["b", "unknown"])?;

        ensure!(done.status.success() && done.stdout.is_empty(), "{done:?}");
        let ids = |pods: Vec<Value>| -> Vec<String> {
            let id = |pod: &Value| pod.get("id").and_then(Value::as_str).map(str::to_owned);
            pods.iter().filter_map(id).collect()
        };
        let left = ids(pods(&daemon)?);
        ensure!(left.len() == 2 && left[0] == "b", "{left:?}");
        ensure!(gc(&[])?.status.success());
        daemon.weft(&format!("detach --netns {}", by_hand.init.pid()))?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}

#[test]
fn a_container_is_attached_by_hand_and_detached() {
    let _turn = beside().unwrap();
    Lab::with("cni-hand", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let container = Container::new(&node, "a")?;
        let netns = container.netns();

        let first = daemon.weft(&format!("attach --netns {netns}"))?;
        let again = daemon.weft(&format!("attach --netns {}", container.init.pid()))?;
        ensure!(first == again && first.starts_with("10."), "{first:?} {again:?}");
        let routes = container.host().run(&["ip", "route"])?;
        ensure!(!routes.contains("default"), "{routes}");
        let second = daemon.weft(&format!("attach --netns {netns} --ifname two 10.32.9.9/24"))?;
        ensure!(second == "10.32.9.9\n", "{second:?}");
        let addresses = container.host().run(&["ip", "-br", "addr"])?;
        ensure!(addresses.contains("10.32.9.9/24"), "{addresses}");
        println!("{}", daemon.weft("ps")?);
        daemon.weft(&format!("detach --netns {netns}"))?;
        daemon.weft(&format!("detach --netns {netns} --ifname two"))?;
        nothing_left(&node, &daemon)
    })
    .unwrap();
}
