//! What users of the node itself send.

use anyhow::{Result, ensure};
use weft_tests::harness::{Lab, Node, Underlay, beside, bin};

use super::{Ears, SLEEVE, VXLAN, guarded, marked, packets, send};

const COUNT: usize = 10;

#[test]
fn what_users_of_the_node_send_to_its_own_tunnel_ports_is_dropped_and_what_has_the_mark_is_not() {
    let _turn = beside().unwrap();
    for (underlay, loopback) in [(Underlay::default(), "127.0.0.1"), (Underlay::v6(), "::1")] {
        Lab::with("guard-users", |lab| {
            let [one] = lab.nodes(&underlay)?;
            let ears = Ears::of(&one)?;
            let targets = [loopback.parse()?, one.addr()];
            let all =
                |port| targets.iter().try_for_each(|addr| as_nobody(&one, &addr.to_string(), port));
            all(VXLAN)?;
            ensure!(ears.heard()? == [0, 2 * COUNT], "without a guard it is heard");

            let guard = guarded(&one, &[one.addr()])?;
            all(SLEEVE)?;
            all(VXLAN)?;
            let by_nobody = ears.heard()?;
            targets.iter().try_for_each(|addr| send(&one, *addr, VXLAN, COUNT))?;
            let by_root = ears.heard()?;
            targets.iter().try_for_each(|addr| marked(&one, *addr, COUNT))?;
            let by_mark = ears.heard()?;

            ensure!((by_nobody, by_root, by_mark) == ([0, 0], [0, 0], [0, 2 * COUNT]));
            let tally = one.inside(async || Ok(guard.counters().await?))?;
            ensure!(packets(tally.local_users) == 6 * COUNT, "{tally:?}");
            Ok(())
        })
        .unwrap();
    }
}

/// Sends as a user without rights.
fn as_nobody(node: &Node, addr: &str, port: u16) -> Result<()> {
    let program = bin("lab-peer")?;
    let (program, port, count) =
        (program.display().to_string(), port.to_string(), COUNT.to_string());
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let sends = [program.as_str(), "udp-post", addr, &port, &count];
    node.run(&[&nobody[..], &sends].concat()).map(drop)
}
