//! The lab proves itself: with kernel VXLAN between its nodes, before any weft.

use anyhow::Result;
use weft_tests::harness::{
    Lab, Node, Pod, PodSpec, Underlay, transfer_both, transfer_to, udp_echo,
};

const MIB: u64 = 1 << 20;
const VNI: u32 = 6784;

#[test]
fn two_pods_talk_over_kernel_vxlan() {
    Lab::with("kernel-vxlan", |lab| {
        let (_, [p, q]) = vxlan_pair(lab, &Underlay::default())?;

        let stats = p.ping(q.addr(), 5)?;
        assert!(stats.perfect(), "{stats:?}");
        assert!(p.ping(q.addr6()?, 5)?.perfect());

        let (forth, back) = transfer_both(&p, &q, 20 * MIB)?;
        assert!(forth.intact() && back.intact(), "{forth:?} {back:?}");
        assert_eq!((forth.bytes, back.bytes), (20 * MIB, 20 * MIB));
        assert_ne!(forth.hash_sent, back.hash_sent);
        assert!(transfer_to(&p, &q, q.addr6()?.into(), MIB)?.intact());

        for size in [0, 1, 1400, 60_000] {
            let echo = udp_echo(&p, &q, q.addr(), size, 10)?;
            assert_eq!((echo.received, echo.corrupt), (10, 0), "{size} octets");
        }
        Ok(())
    })
    .unwrap();
}

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
