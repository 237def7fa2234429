//! Who sees what: a pod's unicast traffic is nobody else's.

use std::time::Duration;

use anyhow::Result;
use weft_tests::harness::{Capture, Lab, PodSpec, Underlay, transfer, udp_echo};

use crate::Cluster;

#[test]
fn a_third_pod_sees_nothing_of_two_that_talk() {
    Lab::with("private", |lab| {
        let Cluster { nodes, pods, .. } = &Cluster::<3>::new(lab, &Underlay::default(), &[])?;
        let mut bystanders = vec![pods[2].clone()];
        for (n, node) in nodes.iter().take(2).enumerate() {
            let pod = node.add_pod(&PodSpec::new("q", &format!("10.32.0.{}/24", 100 + n)))?;
            node.plug(&pod)?;
            bystanders.push(pod);
        }
        // Once they know each other, everything is unicast.
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());
        let captures: Vec<_> = bystanders
            .iter()
            .map(|pod| Capture::start(pod, "eth0", "ip"))
            .collect::<Result<_>>()?;
        let wire = Capture::start(&nodes[2], "eth0", "udp port 6784")?;

        assert!(transfer(&pods[0], &pods[1], 5_000_000)?.intact());
        assert_eq!(udp_echo(&pods[1], &pods[0], pods[0].addr(), 500, 50)?.received, 50);

        for capture in captures {
            let seen = capture.stop()?;
            assert!(seen.is_empty(), "{} foreign frames, first {:?}", seen.len(), seen[0]);
        }
        let pair = [pods[0].mac(), pods[1].mac()].map(crate::mac_octets).concat();
        let twin = [pods[1].mac(), pods[0].mac()].map(crate::mac_octets).concat();
        let leaked = wire.stop()?;
        // Inner addresses start behind Ethernet 14, IPv4 20, UDP 8 and VXLAN 8.
        let inner = |it: &weft_tests::harness::Packet| it.octets.get(50..62).map(<[u8]>::to_vec);
        assert!(
            !leaked.iter().any(|it| [&pair, &twin].map(|p| Some(p.clone())).contains(&inner(it)))
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_flooding_pod_costs_the_others_no_entry() {
    Lab::with("flood", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<3>::new(lab, &Underlay::default(), &["--table-size", "64"])?;
        let flooder = nodes[0].add_pod(&PodSpec::new("f", "10.32.0.66/24"))?;
        nodes[0].plug(&flooder)?;
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            assert!(pods[from].ping(pods[to].addr(), 3)?.perfect());
        }

        flooder.peer(Duration::from_secs(20), "mac-flood eth0 20000")?;

        for switch in &mut switches {
            switch.wait_for_count("/table/evicted", 1000)?;
        }
        // Stations of node 1 and 2 as everybody sees them; the flooder is behind node 0.
        for (n, switch) in switches.iter_mut().enumerate() {
            let stations = switch.stations()?;
            assert!(stations.len() <= 64, "{} stations", stations.len());
            for m in [1, 2] {
                let at = if m == n { "local".into() } else { nodes[m].addr().to_string() };
                assert!(stations.contains(&(pods[m].mac().into(), at)), "node {n}: {stations:?}");
            }
        }
        assert!(pods[0].ping(pods[1].addr(), 5)?.perfect());
        assert!(pods[1].ping(pods[2].addr(), 5)?.perfect());
        Ok(())
    })
    .unwrap();
}
