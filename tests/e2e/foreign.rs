//! weft as one node of an overlay whose other nodes run switches that nobody here wrote.

#[path = "foreign/exchange.rs"]
mod exchange;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::ovs::{OuterChecksum, Ovs};
use weft_tests::harness::weft::{Switch, counter, pods};
use weft_tests::harness::{Lab, Node, Pod, PodSpec, Underlay};

use exchange::exchange_all;

const VNI: u32 = 6784;
/// What VXLAN leaves of an underlay of 1500 octets: over IPv4, over IPv6.
const MTU_V4: u32 = 1450;
const MTU_V6: u32 = 1430;

#[test]
fn a_kernel_vtep_that_leaves_checksums_and_segments_to_its_card_is_understood() {
    Lab::with("kernel-offload", |lab| {
        let stats = beside_kernel(lab, &Underlay::default(), MTU_V4)?;

        packets_came_unfinished(&stats)?;
        nothing_is_refused(&stats)
    })
    .unwrap();
}

#[test]
fn a_kernel_vtep_on_a_plain_wire_is_understood() {
    Lab::with("kernel-plain", |lab| {
        let stats = beside_kernel(lab, &Underlay::default().offload(false), MTU_V4)?;

        ensure!(counter(&stats, "/segmented")? == 0, "{stats}");
        nothing_is_refused(&stats)
    })
    .unwrap();
}

#[test]
fn a_kernel_vtep_over_ipv6_is_understood() {
    for offload in [true, false] {
        Lab::with("kernel-v6", |lab| {
            let stats = beside_kernel(lab, &Underlay::v6().offload(offload), MTU_V6)?;

            if offload {
                packets_came_unfinished(&stats)?;
            }
            nothing_is_refused(&stats)
        })
        .unwrap();
    }
}

#[test]
fn open_vswitch_is_understood_with_and_without_outer_checksums() {
    for checksum in [OuterChecksum::On, OuterChecksum::Off] {
        Lab::with("ovs", |lab| {
            nothing_is_refused(&beside_ovs(lab, &Underlay::default(), MTU_V4, checksum)?)
        })
        .unwrap();
    }
}

#[test]
fn open_vswitch_over_ipv6_is_understood() {
    Lab::with("ovs-v6", |lab| {
        nothing_is_refused(&beside_ovs(lab, &Underlay::v6(), MTU_V6, OuterChecksum::On)?)
    })
    .unwrap();
}

#[test]
fn three_kinds_of_switches_make_one_overlay() {
    Lab::with("mixed", |lab| {
        let [a, b, c] = lab.nodes::<3>(&Underlay::default().offload(false))?;
        let switch = Switch::start(&a, &[&b, &c], &[])?;
        b.kernel_vxlan(&[&a, &c], VNI)?;
        let ovs = Ovs::start(&c, &[&a, &b], VNI, OuterChecksum::On)?;
        let pods = [pod(&a, 1, MTU_V4)?, pod(&b, 2, MTU_V4)?, pod(&c, 3, MTU_V4)?];
        let [p, q, r] = &pods;
        a.plug(p)?;
        b.plug(q)?;
        ovs.plug(r)?;

        exchange_all(&pods)?;

        nothing_is_refused(&switch.stop()?)
    })
    .unwrap();
}

/// Exchanges all kinds of traffic with a kernel VTEP and returns the switch's last counters.
fn beside_kernel(lab: &Lab, underlay: &Underlay, mtu: u32) -> Result<Value> {
    let [a, b] = lab.nodes::<2>(underlay)?;
    let switch = Switch::start(&a, &[&b], &[])?;
    b.kernel_vxlan(&[&a], VNI)?;
    exchange_all(&pods(&[a, b], mtu)?)?;
    switch.stop()
}

/// Exchanges all kinds of traffic with Open vSwitch and returns the switch's last counters.
fn beside_ovs(lab: &Lab, underlay: &Underlay, mtu: u32, checksum: OuterChecksum) -> Result<Value> {
    let [a, b] = lab.nodes::<2>(&underlay.clone().offload(false))?;
    let switch = Switch::start(&a, &[&b], &[])?;
    let ovs = Ovs::start(&b, &[&a], VNI, checksum)?;
    let pods = [pod(&a, 1, mtu)?, pod(&b, 2, mtu)?];
    let [p, q] = &pods;
    a.plug(p)?;
    ovs.plug(q)?;
    exchange_all(&pods)?;
    switch.stop()
}

fn pod(node: &Node, number: u8, mtu: u32) -> Result<Pod> {
    let spec = PodSpec::new("p", &format!("10.32.0.{number}/24")).mtu(mtu);
    node.add_pod(&spec.cidr6(&format!("fd00:32::{number}/64")))
}

/// The kernel left work to a card that veth does not have, and the switch has done it.
fn packets_came_unfinished(stats: &Value) -> Result<()> {
    ensure!(counter(stats, "/segmented")? > 0, "no super-frame came: {stats}");
    ensure!(counter(stats, "/checksums")? > 0, "no checksum was left half done: {stats}");
    Ok(())
}

/// Nothing was dropped for what it was. What found a queue full is TCP's own business.
fn nothing_is_refused(stats: &Value) -> Result<()> {
    let drops = stats.get("drops").and_then(Value::as_object).context("no drops")?;
    for (reason, count) in drops {
        let full = ["underlay_full", "tap_full"].contains(&reason.as_str());
        ensure!(full || count.as_u64() == Some(0), "{count} dropped: {reason}");
    }
    Ok(())
}
