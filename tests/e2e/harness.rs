//! The lab proves itself: with kernel VXLAN between its nodes, before any weft.

#[path = "harness/ends.rs"]
mod ends;
#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/hosts.rs"]
mod hosts;
#[path = "harness/traffic.rs"]
mod traffic;

use anyhow::Result;
use weft_tests::harness::{Lab, Node, Pod, PodSpec, Underlay};

const VNI: u32 = 6784;

/// Two nodes joined by kernel VXLAN, with a pod each.
fn vxlan_pair(lab: &Lab, underlay: &Underlay) -> Result<([Node; 2], [Pod; 2])> {
    let [a, b] = lab.nodes::<2>(underlay)?;
    a.kernel_vxlan(&[&b], VNI)?;
    b.kernel_vxlan(&[&a], VNI)?;
    let p = a.add_pod(&PodSpec::new("p", "10.32.0.1/24").cidr6("fd00:32::1/64"))?;
    let q = b.add_pod(&PodSpec::new("q", "10.32.0.2/24").cidr6("fd00:32::2/64"))?;
    a.plug(&p)?;
    b.plug(&q)?;
    Ok(([a, b], [p, q]))
}
