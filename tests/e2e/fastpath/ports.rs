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
