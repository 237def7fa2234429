//! A link that comes and goes.

use std::time::Duration;

use anyhow::ensure;
use weft_tests::harness::{Capture, Cluster, Direction, Lab, Proto, cut_port, pause, serial};

/// How often VXLAN is cut and healed, and how long each takes.
const ROUNDS: usize = 10;
const HALF: Duration = Duration::from_secs(1);
/// Probes a second that one end may send on all lines together, as one of them falls and heals each second.
const PROBES: usize = 40;

#[test]
fn a_link_that_flaps_is_left_alone_after_a_few_falls_and_starts_no_storm_of_probes() {
    let _turn = serial().unwrap();
    Lab::with("flapping", |lab| {
        let it = Cluster::<2>::fast(lab)?;
        // The pod on that side says nothing: all that leaves is probes.
        let probes = Capture::directed(&it.nodes[1], "eth0", Direction::Out, "udp and less 250")?;
        let seconds = u32::try_from(ROUNDS * 2 + 1)?;
        let before = it.logged(0, "path to ")?;
        let flow = it.flow(0, 1, seconds)?;

        for _ in 0..ROUNDS {
            cut_port(&it.nodes[0], &it.nodes[1], Proto::Udp, 6784)?;
            pause(HALF);
            it.nodes[1].heal()?;
            pause(HALF);
        }

        let (switches, outcome) = (it.logged(0, "path to ")? - before, flow.end()?);
        let sent = probes.stop()?.len();
        println!("{switches} switches in {ROUNDS} rounds, {sent} small datagrams; {outcome}");
        // The hold-down is 3, 6 and 12 s.
        ensure!(switches <= 7, "{switches}");
        ensure!(sent < PROBES * ROUNDS * 2, "{sent}");
        ensure!(outcome.twice == 0, "{outcome}");
        Ok(())
    })
    .unwrap();
}
