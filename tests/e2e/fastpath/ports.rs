//! Both uplinks as ports of the bridge.

use super::*;

/// What is to be so of both uplinks' ports.
const FLAGS: [(&str, bool); 8] = [
    ("isolated", true),
    ("learning", false),
    ("neigh_suppress", true),
    ("flood", true),
    ("mcast_flood", true),
    ("bcast_flood", true),
    ("hairpin", false),
    ("locked", false),
];

#[test]
fn flags_of_a_port_that_others_have_changed_are_put_right() {
    alone("fast-flags", async |node| {
        let mut it = Wired::make(node).await?;
        for (uplink, change) in [(NAME, Change::FastFlags), ("weave-tap", Change::TapFlags)] {
            for (flag, wanted) in FLAGS {
                let other = if wanted { "off" } else { "on" };
                let what = format!("bridge link set dev {uplink} {flag} {other}");
                node.sh(&what)?;
                let port = json(node, &["bridge", "-j", "-d", "link", "show", "dev", uplink])?;
                ensure!(port[flag] != wanted, "{what}: {port}");

                it.reconcile().await?;

                ensure!(it.installed.done == [change], "{what}: {:?}", it.installed.done);
                it.is_settled().await.context(what)?;
                has_flags(node, uplink)?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_port_that_others_have_stopped_forwards_again_unless_stp_is_on() {
    alone("fast-stopped", async |node| {
        let mut it = Wired::make(node).await?;
        let state = |uplink| -> Result<Value> {
            let port = json(node, &["bridge", "-j", "-d", "link", "show", "dev", uplink])?;
            Ok(port["state"].clone())
        };
        for (uplink, change) in [(NAME, Change::FastForwards), ("weave-tap", Change::TapForwards)] {
            // `blocking` the kernel itself turns into forwarding where STP is off.
            for (number, stopped) in [(0, "disabled"), (1, "listening"), (2, "learning")] {
                node.sh(&format!("bridge link set dev {uplink} state {number}"))?;
                ensure!(state(uplink)? == stopped, "{}", state(uplink)?);

                it.reconcile().await?;

                ensure!(it.installed.done == [change], "{stopped}: {:?}", it.installed.done);
                ensure!(state(uplink)? == "forwarding", "{stopped}: {}", state(uplink)?);
                it.is_settled().await?;
            }
        }

        // With STP a port that goes up waits 15 s.
        node.sh("ip link set weave type bridge stp_state 1")?;
        for uplink in [NAME, "weave-tap"] {
            node.sh(&format!("ip link set {uplink} down; ip link set {uplink} up"))?;
        }
        ensure!(state(NAME)? != "forwarding" && state("weave-tap")? != "forwarding");
        it.reconcile().await?;
        ensure!(it.installed.done.is_empty(), "{:?}", it.installed.done);
        Ok(())
    });
}

#[test]
fn a_port_of_another_bridge_comes_back_with_the_flags_of_an_uplink() {
    alone("fast-stolen", async |node| {
        let mut it = Wired::make(node).await?;
        node.sh(&format!(
            "ip link add br9 type bridge; ip link set {NAME} master br9; \
             bridge link set dev {NAME} isolated on learning off neigh_suppress on"
        ))?;

        let done = it.reconcile().await?;

        ensure!(done == [Change::FastPlugged, Change::FastFlags, Change::FastUp], "{done:?}");
        it.is_settled().await?;
        has_flags(node, NAME)
    });
}

fn has_flags(node: &Node, uplink: &str) -> Result<()> {
    let port = json(node, &["bridge", "-j", "-d", "link", "show", "dev", uplink])?;
    for (flag, wanted) in FLAGS {
        ensure!(port.get(flag) == Some(&wanted.into()), "{flag} of {uplink}: {port}");
    }
    let forwards = port.get("state").is_some_and(|it| it == "forwarding");
    ensure!(forwards, "{port}");
    Ok(())
}
