use std::net::UdpSocket;

use super::*;

#[test]
fn the_device_is_made_as_it_has_to_be_over_ipv4_and_ipv6() {
    on_both_underlays("fast-made", |[node, _]| {
        let mut monitor = node.spawn(&["ip", "-d", "monitor", "link"])?;
        weft_tests::harness::pause(Duration::from_millis(200));

        node.inside(async || {
            let mut it = Wired::make(node).await?;
            let expected = [Change::FastMade, Change::FastMarked, Change::FastSilenced];
            ensure!(it.done().starts_with(&expected), "{:?}", it.done());
            ensure!(it.installed.fast_port == it.installed.fast.index());
            check_device(node)?;
            it.is_settled().await
        })?;

        let seen = monitor_blocks(&monitor.stdout());
        monitor.signal(weft_tests::harness::Signal::SIGTERM)?;
        let about = |it: &&String| {
            it.contains(NAME)
                && it.contains(",UP")
                && it.contains("vxlan id")
                && it.contains("master")
        };
        let up: Vec<_> = seen.iter().filter(about).collect();
        ensure!(!up.is_empty(), "{seen:?}");
        for block in up {
            for flag in ["isolated on", "learning off", "neigh_suppress on"] {
                ensure!(block.contains(flag), "up without {flag}: {block}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_device_that_is_as_it_should_be_is_adopted_with_all_that_it_knows() {
    on_both_underlays("fast-adopt", |[node, far]| {
        node.inside(async || {
            let known = entries(&[Mac::local(1), Mac::local(2)], Uplink::Fast, far.addr());
            let it = Wired::make(node).await?;
            let (index, mut fdb) = (it.installed.fast, it.fdb()?);
            done(&fdb.set(known.clone()).await?, 5)?;
            drop(it);

            let mut again = Wired::make(node).await?;

            ensure!(again.installed.fast == index, "{:?}, not {index:?}", again.installed.fast);
            ensure!(again.done().is_empty(), "{:?}", again.done());
            ensure!(again.fdb()?.dump().await? == known);
            again.is_settled().await
        })
    });
}

#[test]
fn a_link_of_its_name_that_differs_is_removed_and_the_device_made() {
    alone("fast-differs", async |node| {
        let ours = format!("dstport {PORT} nolearning df inherit udpcsum");
        let alike = format!("address {} type vxlan", fast_mac(node));
        for made in [
            "type veth peer name other".to_owned(),
            "type bridge".to_owned(),
            // What Weave has left behind.
            format!("up type vxlan external dstport {PORT}"),
            format!("{alike} id 1 {ours}"),
            format!("{alike} id 6784 dstport 4789 nolearning df inherit udpcsum"),
            format!("{alike} id 6784 dstport {PORT} df inherit udpcsum"),
            format!("{alike} id 6784 dstport {PORT} nolearning udpcsum"),
            format!("{alike} id 6784 dstport {PORT} nolearning df inherit noudpcsum"),
            format!("{alike} id 6784 {ours} dev eth0"),
            format!("{alike} id 6784 {ours} remote 10.99.0.9"),
            format!("{alike} id 6784 {ours} local {}", node.addr()),
            format!("type vxlan id 6784 {ours} local ::"),
        ] {
            node.sh(&format!("ip link del {NAME} || true; ip link add {NAME} {made}"))?;

            let mut it = Wired::make(node).await?;
            ensure!(it.done().first() == Some(&Change::FastReplaced), "{made}: {:?}", it.done());
            it.is_settled().await.context(made.clone())?;

            node.sh(&format!("ip link del {NAME}; ip link add {NAME} {made}"))?;
            let done = it.reconcile().await?;
            ensure!(done.first() == Some(&Change::FastReplaced), "{made}: {done:?}");
            it.is_settled().await.context(made)?;
        }
        Ok(())
    });
}

#[test]
fn a_fitting_device_without_our_mark_is_marked_and_kept() {
    alone("fast-unmarked", async |node| {
        let it = Wired::make(node).await?;
        let index = it.installed.fast;
        drop(it);
        node.sh(&format!("ip link set {NAME} alias ''"))?;

        let mut again = Wired::make(node).await?;

        ensure!((again.installed.fast, again.done()) == (index, vec![Change::FastMarked]));
        again.is_settled().await
    });
}

#[test]
fn a_busy_port_is_told_and_the_device_comes_up_once_it_is_free() {
    on_both_underlays("fast-busy", |[node, _]| {
        node.inside(async || {
            let taken = UdpSocket::bind((node.addr(), PORT))?;

            let mut it = Wired::make(node).await?;
            ensure!(it.installed.fast == FastState::Busy, "{:?}", it.installed.fast);
            ensure!(it.installed.fast_port.is_some_and(|port| it.installed.is_uplink(port)));
            eprintln!("fastpath: {}", it.installed.fast);
            ensure!(it.reconcile().await?.is_empty() && it.installed.fast == FastState::Busy);
            let tap = node.run(&["bridge", "link", "show", "dev", "weave-tap"])?;
            ensure!(tap.contains("master weave state forwarding"), "{tap}");
            drop(taken);

            let deadline = Deadline::after(WAIT);
            let mut done = it.reconcile().await?;
            // As in `Wired::make_as`: a child that was just being started had the socket, too.
            while done.is_empty() && it.installed.fast == FastState::Busy && !deadline.passed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                done = it.reconcile().await?;
            }
            ensure!(done == [Change::FastUp], "{done:?}");
            it.is_settled().await
        })
    });
}

#[test]
fn a_vni_that_another_device_has_is_told_and_the_device_made_once_it_is_free() {
    alone("fast-vni", async |node| {
        node.sh(&format!("ip link add other type vxlan id 6784 dstport {PORT}"))?;

        let mut it = Wired::make(node).await?;
        ensure!(it.installed.fast == FastState::Busy, "{:?}", it.installed.fast);
        ensure!(it.done().is_empty() && it.installed.fast_port.is_none());
        node.sh("ip link del other")?;

        let done = it.reconcile().await?;
        ensure!(done.first() == Some(&Change::FastMade), "{done:?}");
        it.is_settled().await
    });
}

#[test]
fn what_the_kernel_refuses_is_told_and_the_tap_goes_on() {
    alone("fast-refused", async |node| {
        let long = "a-name-of-more-than-15-octets";
        for (name, bridge) in [(long, "weave"), ("lo", "weave"), ("weave", "weave")] {
            let mut spec = spec(node)?;
            let fast = FastSpec::new(Vni::DEFAULT, PORT, false);
            spec.fast = Some(FastSpec { name: name.into(), ..fast });
            spec.bridge = bridge.into();

            let it = Wired::make_as(node, spec).await?;

            eprintln!("fastpath: {name}: {}", it.installed.fast);
            ensure!(matches!(it.installed.fast, FastState::Refused(_)), "{:?}", it.installed.fast);
            let tap = node.run(&["bridge", "link", "show", "dev", "weave-tap"])?;
            ensure!(tap.contains("master weave state forwarding"), "{tap}");
        }
        Ok(())
    });
}

#[test]
fn where_it_is_not_asked_for_ours_can_be_removed_and_a_strangers_is_left() {
    alone("fast-remove", async |node| {
        let mut it = Wired::make(node).await?;
        let unwanted = FastSpec::new(Vni::DEFAULT, PORT, false);
        ensure!(it.wiring.remove_fast(&unwanted).await?);
        ensure!(!it.wiring.remove_fast(&unwanted).await?);
        it.reconcile().await?;
        node.sh(&format!("ip link set {NAME} name foo"))?;
        ensure!(it.wiring.remove_fast(&unwanted).await?, "of another name");
        let _free = UdpSocket::bind((node.addr(), PORT))?;
        drop(it);

        node.sh(&format!("ip link add {NAME} type vxlan id 6784 dstport {PORT}"))?;
        let it = Wired::make_as(node, Spec { fast: None, ..spec(node)? }).await?;
        ensure!(it.installed.fast == FastState::Off && it.installed.fast_port.is_none());
        ensure!(!it.wiring.remove_fast(&unwanted).await?);
        node.run(&["ip", "link", "show", "dev", NAME]).map(drop)
    });
}

/// The address that the device is given.
fn fast_mac(node: &Node) -> Mac {
    let [.., d, e, f] = mac_of(node).0;
    Mac([0xfa, 0x77, 0x74, d, e, f])
}

/// What `ip monitor` has said of each change: continuation lines are indented.
fn monitor_blocks(said: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in said.lines() {
        match blocks.last_mut() {
            Some(block) if line.starts_with(' ') => block.push_str(line),
            Some(_) | None => blocks.push(line.to_owned()),
        }
    }
    blocks
}
