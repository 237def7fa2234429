//! weft as one node of an overlay whose other nodes run switches that nobody here wrote.

#[path = "foreign/exchange.rs"]
mod exchange;

use anyhow::{Result, ensure};
use serde_json::Value;
use weft_tests::harness::weft::{Switch, counter, pods};
use weft_tests::harness::{Lab, Underlay};

use exchange::exchange_all;

const VNI: u32 = 6784;
/// What VXLAN leaves of an underlay of 1500 octets: over IPv4, over IPv6.
const MTU_V4: u32 = 1450;
const MTU_V6: u32 = 1430;

#[test]
fn a_kernel_vtep_that_leaves_checksums_and_segments_to_its_card_is_understood() {
    Lab::with("kernel-offload", |lab| {
        let stats = beside_kernel(lab, &Underlay::default(), MTU_V4)?;

        ensure!(counter(&stats, "/segmented")? > 0, "no super-frame came: {stats}");
        ensure!(counter(&stats, "/checksums")? > 0, "no checksum was left half done: {stats}");
        nothing_is_lost(&stats)
    })
    .unwrap();
}

#[test]
fn a_kernel_vtep_on_a_plain_wire_is_understood() {
    Lab::with("kernel-plain", |lab| {
        let stats = beside_kernel(lab, &Underlay::default().offload(false), MTU_V4)?;

        ensure!(counter(&stats, "/segmented")? == 0, "{stats}");
        nothing_is_lost(&stats)
    })
    .unwrap();
}

#[test]
fn a_kernel_vtep_over_ipv6_is_understood() {
    for offload in [true, false] {
        Lab::with("kernel-v6", |lab| {
            let stats = beside_kernel(lab, &Underlay::v6().offload(offload), MTU_V6)?;

            nothing_is_lost(&stats)
        })
        .unwrap();
    }
}

/// Exchanges all kinds of traffic with a kernel VTEP and returns the switch's last counters.
fn beside_kernel(lab: &Lab, underlay: &Underlay, mtu: u32) -> Result<Value> {
    let [a, b] = lab.nodes::<2>(underlay)?;
    let switch = Switch::start(&a, &[&b], &[])?;
    b.kernel_vxlan(&[&a], VNI)?;
    exchange_all(&pods(&[a, b], mtu)?)?;
    switch.stop()
}

/// No frame was dropped, here or in the kernel.
fn nothing_is_lost(stats: &Value) -> Result<()> {
    for group in ["drops", "kernel_drops"] {
        let counts = stats.get(group).and_then(Value::as_object);
        for (name, count) in counts.into_iter().flatten() {
            ensure!(count.as_u64() == Some(0), "{group}: {count} {name}");
        }
    }
    Ok(())
}
