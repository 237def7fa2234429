//! A path on which less fits than the links at both ends say, and nobody tells.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::weftd::{Daemon, cluster};
use weft_tests::harness::{
    Cluster, Fragment, Lab, Pace, Ping, Stopwatch, Stream, Streamed, Underlay, narrow, pause,
    serial,
};

use crate::WAIT;

/// What fits on the underlay, and of pods' packets over IPv4 and IPv6.
const FITS: u32 = 1_400;
const CARRIES: [u32; 2] = [1_350, 1_330];
/// Probes are five seconds apart; then come three tries and a search.
const FOUND: Duration = Duration::from_secs(10);
/// A TCP stream, in seconds and in Mbit/s.
const STREAM: u32 = 16;
const SPEED: u32 = 20;

#[test]
fn a_path_that_turned_narrow_keeps_the_kernel_over_ipv4_and_tcp_goes_on() {
    let _turn = serial().unwrap();
    turns_narrow(&Underlay::default(), CARRIES[0], "fast").unwrap();
}

#[test]
fn over_ipv6_the_process_takes_a_narrow_path_and_cuts_what_the_kernel_would_lose() {
    let _turn = serial().unwrap();
    turns_narrow(&Underlay::v6(), CARRIES[1], "user").unwrap();
}

fn turns_narrow(underlay: &Underlay, carries: u32, kind: &str) -> Result<()> {
    Lab::with("narrow", |lab| {
        // With offloads what crosses is larger than what would be on a wire.
        let nodes = lab.nodes::<3>(&underlay.clone().offload(false))?;
        let first = nodes[0].addr().to_string();
        let daemons = vec![
            Daemon::start(&nodes[0], &["--local", &first])?,
            Daemon::start(&nodes[1], &[&first])?,
            Daemon::start(&nodes[2], &[&first])?,
        ];
        let it = Cluster::of(nodes, daemons)?;
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            it.wait_for_fast(one, other)?;
        }
        let (from, to) = (it.pod(0)?, it.pod(1)?);
        let before = it.path(0, 1)?;
        let stream = Stream::start(from, to, SPEED, STREAM)?;
        pause(Duration::from_secs(2));

        let watch = Stopwatch::start();
        for (one, other) in [(0, 1), (1, 0)] {
            narrow(it.node(one)?, it.node(other)?, FITS)?;
            it.wait_for(one, other, FOUND, |path| path.mtu == Some(carries) && path.kind == kind)?;
        }

        println!("{before:?}, after {:?} {:?}", watch.elapsed(), it.path(0, 1)?);
        let others = it.path(0, 2)?;
        ensure!(others.mtu == before.mtu && others.kind == "fast", "{others:?}");
        let big = Ping::new(to.addr(), 4).size(1_400);
        let refused = from.ping_with(&big.clone().fragment(Fragment::Never))?;
        ensure!(refused.received == 0, "{refused:?}");
        ensure!(refused.too_big == Some(carries) || refused.refused > 0, "{refused:?}");
        let cut = from.ping_with(&big.fragment(Fragment::Allowed))?;
        ensure!(cut.perfect(), "what may be cut did not arrive: {cut:?}");
        goes_on(stream)
    })
}

#[test]
fn links_of_different_mtus_in_one_network_carry_what_fits_through_both() {
    let _turn = serial().unwrap();
    Lab::with("mixed-mtu", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default().mtu(9_000).offload(false).switched())?;
        nodes[1].run(&["ip", "link", "set", "eth0", "mtu", "1500"])?;
        narrow(&nodes[0], &nodes[1], 1_500)?;
        let daemons = cluster(&nodes, &[])?;

        let it = Cluster::of(nodes, daemons)?;

        it.wait_for_fast(0, 1)?;
        let watch = Stopwatch::start();
        it.wait_for(0, 1, WAIT, |path| path.mtu == Some(1_450))?;
        println!("seen after {:?}: {:?}", watch.elapsed(), it.path(0, 1)?);
        let pace = Pace { rate: 100, seconds: 1 };
        let flow =
            weft_tests::harness::Flow::start(it.pod(0)?, it.pod(1)?, it.pod(1)?.addr(), pace)?;
        crate::whole("through both", [flow])?;
        let big = Ping::new(it.pod(1)?.addr(), 4).size(2_000).fragment(Fragment::Allowed);
        let cut = it.pod(0)?.ping_with(&big)?;
        ensure!(cut.perfect(), "{cut:?}");
        Ok(())
    })
    .unwrap();
}

/// At its end it goes on as before.
fn goes_on(stream: Stream) -> Result<()> {
    let Streamed { speeds, .. } = stream.end()?;
    println!("Mbit/s, second by second: {speeds:?}");
    let slow = speeds.iter().rev().take(3).any(|speed| *speed < f64::from(SPEED) * 0.75);
    ensure!(speeds.len() > 3 && !slow, "{speeds:?}");
    Ok(())
}
