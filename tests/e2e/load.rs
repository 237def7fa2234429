//! What takes the whole machine for a while: these run alone.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

use std::time::Duration;

use weft_tests::harness::weft::{Switch, counter, pods};
use weft_tests::harness::{Lab, PodSpec, Underlay, serial, transfer_both};

const SECONDS: u64 = 10;
/// VNI 6784 with the I flag, and an inner frame's addresses: 02:..:0b from 02:..:0a.
const HEADER: &str = "08000000001a8000";
const ADDRESSES: &str = "02000000000b02000000000a";

#[test]
fn hostile_datagrams_are_counted_each_under_its_reason_and_traffic_goes_on() {
    let _turn = serial().unwrap();
    Lab::with("hostile", |lab| {
        let [a, b, stranger] = &lab.nodes::<3>(&Underlay::default())?;
        let mut switch = Switch::start(a, &[b], &["--table-size", "1024"])?;
        let _peer = Switch::start(b, &[a], &[])?;
        let pods = pods(&[a.clone(), b.clone()], 1450)?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());
        let before = switch.stats()?;
        // From the peer's own address, as a broken or hostile peer would.
        let hostile = [
            "+0".into(),
            "+1".into(),
            "+7".into(),
            HEADER.to_owned(),
            format!("{HEADER}+13"),
            format!("{HEADER}{ADDRESSES}0800+65485"),
            "0800000000000100+60".into(),
            "00000000001a8000+60".into(),
            format!("{HEADER}02000000000bffffffffffff0800+60"),
            format!("{HEADER}+100"),
            format!("{HEADER}+1400"),
        ]
        .join(" ");
        let target = format!("{} 6784 {SECONDS}", a.addr());
        let mut from_peer = b.spawn_peer(&format!("udp-blast {target} {hostile}"))?;
        let mut from_stranger = stranger.spawn_peer(&format!("udp-blast {target} {HEADER}+60"))?;
        let mut runts = a.spawn_peer(&format!("udp-blast {target}"))?;
        weft_tests::harness::pause(Duration::from_secs(2));
        let early = switch.proc.rss_kib()?;

        let (forth, back) = transfer_both(&pods[0], &pods[1], 5_000_000)?;

        assert!(forth.intact() && back.intact());
        for blast in [&mut from_peer, &mut from_stranger, &mut runts] {
            blast.wait(Duration::from_secs(SECONDS + 10))?;
        }
        let late = switch.proc.rss_kib()?;
        let after = switch.stats()?;
        for reason in
            ["short_vxlan", "runt", "oversize", "wrong_vni", "no_vni", "bad_source", "unknown_vtep"]
        {
            let path = format!("/drops/{reason}");
            let counted = counter(&after, &path)? - counter(&before, &path)?;
            assert!(counted > 1000, "{reason}: {counted}");
            println!("{reason}: {counted}");
        }
        println!("rss: {early} KiB after 2 s, {late} KiB at the end");
        assert!(late < early + 1024, "memory grows: {early} KiB, {late} KiB");
        assert!(pods[0].ping(pods[1].addr(), 5)?.perfect());
        assert_eq!(switch.count("/restarts")?, 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn hostile_frames_from_a_pod_hurt_nobody() {
    let _turn = serial().unwrap();
    Lab::with("frames", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        let mut switch = Switch::start(a, &[b], &["--table-size", "1024"])?;
        let mut peer = Switch::start(b, &[a], &["--table-size", "1024"])?;
        let pods = pods(&[a.clone(), b.clone()], 1450)?;
        let hostile = a.add_pod(&PodSpec::new("h", "10.32.0.66/24").mtu(9000))?;
        a.plug(&hostile)?;
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());
        // Broadcasts, unknown stations, random sources, too big with and without being IP.
        let frames = [
            "ffffffffffff02000000000a0806+46",
            "02000000000b02000000000a0800+46",
            "02000000000b02000000000a86dd+4000",
            "ffffffffffff02000000000a88b6+8000",
            "ffffffffffff02+60",
        ]
        .join(" ");
        let mut blast = hostile.spawn_peer(&format!("raw-blast eth0 {SECONDS} {frames}"))?;
        weft_tests::harness::pause(Duration::from_secs(2));
        let early = (switch.proc.rss_kib()?, peer.proc.rss_kib()?);

        let (forth, back) = transfer_both(&pods[0], &pods[1], 2_000_000)?;

        assert!(forth.intact() && back.intact());
        blast.wait(Duration::from_secs(SECONDS + 10))?;
        let late = (switch.proc.rss_kib()?, peer.proc.rss_kib()?);
        assert!(late.0 < early.0 + 1024 && late.1 < early.1 + 1024, "{early:?} {late:?}");
        assert!(switch.count("/drops/too_big")? > 1000);
        assert!(peer.count("/table/stations")? <= 1024);
        assert!(pods[0].ping(pods[1].addr(), 5)?.perfect());
        Ok(())
    })
    .unwrap();
}
