//! Vxlan devices of ours under other names.

use super::*;

#[test]
fn a_device_that_was_renamed_has_its_name_back_and_all_that_it_knew() {
    alone("fast-renamed", async |node| {
        for meddling in [
            "",
            "ip link set foo nomaster",
            "ip link add br9 type bridge; ip link set foo master br9",
            "ip link set foo down",
            "ip link set foo mtu 1500",
            "ip link add vxlan-6785 type bridge",
        ] {
            let mut it = Wired::make(node).await?;
            let (index, known) = (it.installed.fast, known()?);
            let mut fdb = it.fdb()?;
            fdb.set(known.clone()).await?;
            node.sh(&format!("ip link set {NAME} name foo; {meddling}"))?;

            let done = it.reconcile().await?;

            ensure!(done.contains(&Change::FastRenamed), "{meddling}: {done:?}");
            is_alone(&mut it).await.context(meddling)?;
            ensure!(it.installed.fast == index, "{:?}, not {index:?}", it.installed.fast);
            if meddling.contains("master") {
                // A port that leaves takes its entries of the bridge's FDB with it.
                fdb.verify().await?;
            }
            let knows = fdb.dump().await?;
            ensure!(knows == known, "{meddling}: {knows:?}");
        }
        Ok(())
    });
}

#[test]
fn a_start_gives_the_device_its_name_back() {
    alone("fast-restart", async |node| {
        let it = Wired::make(node).await?;
        let (index, known) = (it.installed.fast, known()?);
        it.fdb()?.set(known.clone()).await?;
        drop(it);
        node.sh(&format!("ip link set {NAME} name foo"))?;

        let mut again = Wired::make(node).await?;

        ensure!(again.done() == [Change::FastRenamed], "{:?}", again.done());
        is_alone(&mut again).await?;
        ensure!(again.installed.fast == index && again.fdb()?.dump().await? == known);
        Ok(())
    });
}

#[test]
fn devices_of_ours_that_do_not_fit_are_removed_and_a_strangers_are_left() {
    alone("fast-strays", async |node| {
        let mut it = Wired::make(node).await?;
        let ours = "ip link set foo alias weft";
        for (made, removed) in [
            (
                format!(
                    "ip link del {NAME}; ip link add foo type vxlan id 6784 dstport {PORT}; {ours}"
                ),
                true,
            ),
            (format!("ip link add foo type vxlan id 9 dstport 4789; {ours} master weave"), true),
            (format!("ip link add foo type vxlan id 9 dstport 4789; {ours}"), false),
            (
                "ip link add foo type vxlan id 9 dstport 4789 ; ip link set foo master weave"
                    .into(),
                false,
            ),
        ] {
            node.sh(&made)?;

            let done = it.reconcile().await?;

            ensure!(done.contains(&Change::FastMade) == made.contains("del"), "{made}: {done:?}");
            let stale = it.installed.done.contains(&Change::StaleFastRemoved);
            ensure!(stale == removed, "{made}: {:?}", it.installed.done);
            it.is_settled().await.context(made.clone())?;
            ensure!(node.run(&["ip", "link", "show", "foo"]).is_err() == removed, "{made}");
            node.sh("ip link del foo || true")?;
        }
        Ok(())
    });
}

#[test]
fn a_bridge_that_was_renamed_has_its_name_back_and_its_ports() {
    alone("bridge-renamed", async |node| {
        let mut it = Wired::make(node).await?;
        let bridge = it.installed.bridge;
        node.sh("ip link add p0 type veth peer name p1; ip link set p0 master weave up")?;
        node.sh("ip link set weave name other")?;

        it.reconcile().await?;

        ensure!(it.installed.done == [Change::BridgeRenamed], "{:?}", it.installed.done);
        ensure!(it.installed.bridge == bridge);
        it.is_settled().await?;
        let ports = node.run(&["ip", "-br", "link", "show", "master", "weave"])?;
        ensure!(["p0@", "weave-tap", NAME].iter().all(|port| ports.contains(port)), "{ports}");

        // Another's bridge that has our TAP is not ours to rename.
        node.sh("ip link set weave name other alias theirs; ip link set weave-tap nomaster")?;
        node.sh("ip link set weave-tap master other")?;
        let done = it.wiring.reconcile().await.map(|it| it.done);
        ensure!(matches!(done, Err(WiringError::Elsewhere(_))), "{done:?}");
        node.run(&["ip", "link", "show", "other"]).map(drop)
    });
}

/// What the device knows of another node.
fn known() -> Result<Entries> {
    Ok(entries(&[Mac::local(1)], Uplink::Fast, "10.99.0.9".parse()?))
}

/// That the device is as it has to be, and the only one.
async fn is_alone(it: &mut Wired) -> Result<()> {
    it.is_settled().await?;
    let devices = it.node.run(&["ip", "-o", "link", "show", "type", "vxlan"])?;
    ensure!(devices.lines().count() == 1, "{devices}");
    Ok(())
}
