//! What a kernel refuses is done without, and never in silence.

use std::fs;

use anyhow::ensure;
use weft_tests::harness::weft::{Switch, counter, pods};
use weft_tests::harness::{Lab, Runs, Underlay, transfer_both, udp_runs};

const MB: u64 = 1_000_000;

/// Makes bpf(2) fail where it is not everybody's.
const WITHOUT_BPF: [&str; 2] = ["setpriv", "--bounding-set=-bpf,-sys_admin"];

#[test]
fn a_switch_that_may_not_steer_flows_says_so_and_carries_them() {
    let everybodys = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").unwrap();
    let refused = u64::from(everybodys.trim() != "0");
    Lab::with("no-bpf", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let [a, b] = &nodes;
        let options = ["--tap", "offload", "--queues", "2"];
        let lame = Switch::start_through(&WITHOUT_BPF, a, &[b], &options)?;
        let sound = Switch::start(b, &[a], &options)?;
        let pods = pods(&nodes, 1450)?;

        let (forth, back) = transfer_both(&pods[0], &pods[1], 10 * MB)?;

        ensure!(forth.intact() && back.intact(), "{forth:?} {back:?}");
        for (switch, refused) in [(lame, refused), (sound, 0)] {
            let told = switch.proc.stderr().matches("does not let us steer").count();
            let stats = switch.stop()?;
            ensure!(counter(&stats, "/steering_fallbacks")? == refused, "{stats}");
            ensure!(told as u64 == refused, "told {told} times");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_was_found_at_start_is_told_and_loopback_may_be_down() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("probe", |lab| {
            let nodes = lab.nodes::<2>(&underlay)?;
            let [a, b] = &nodes;
            b.run(&["ip", "link", "set", "lo", "down"])?;
            let tells = Switch::start(a, &[b], &["--tap", "offload"])?;
            let cannot = Switch::start(b, &[a], &["--tap", "offload"])?;
            let pods = pods(&nodes, underlay.mtu - 70)?;

            let (forth, back) = transfer_both(&pods[0], &pods[1], 10 * MB)?;

            ensure!(forth.intact() && back.intact(), "{forth:?} {back:?}");
            for switch in [&tells, &cannot] {
                let lines = switch.proc.stderr().matches("tried UDP on loopback").count();
                ensure!(lines == 1, "{}", switch.proc.stderr());
            }
            let (tells, cannot) = (tells.stop()?, cannot.stop()?);
            let known = &tells["supports"];
            ensure!(known["udp_segments"].as_u64() >= Some(64), "{known}");
            ensure!(known["udp_gro"] == true && known["tap_offloads"].is_u64(), "{known}");
            let unknown = &cannot["supports"];
            ensure!(unknown["udp_segments"].is_null() && unknown["udp_gro"].is_null(), "{unknown}");
            ensure!(counter(&cannot, "/udp_fallbacks")? == 0, "{cannot}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn runs_cross_whatever_their_length_and_one_by_one_where_they_must() {
    Lab::with("runs", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let [a, b] = &nodes;
        let sound = Switch::start(a, &[b], &["--tap", "offload"])?;
        let lame = ["--tap", "offload", "--quirk", "udp-runs-equal=on"];
        let lame = Switch::start(b, &[a], &lame)?;
        let pods = pods(&nodes, 1450)?;
        ensure!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        for (from, to) in [(&pods[0], &pods[1]), (&pods[1], &pods[0])] {
            for (count, size) in [(120, 64), (128, 100), (65, 500), (40, 1400), (2, 9)] {
                let runs = udp_runs(from, to, to.addr(), Runs { size, count, runs: 5 })?;
                ensure!(runs.perfect(), "{count} of {size} octets: {runs:?}");
            }
        }
        let (forth, back) = transfer_both(&pods[0], &pods[1], 10 * MB)?;
        ensure!(forth.intact() && back.intact(), "{forth:?} {back:?}");

        let (sound, lame) = (sound.stop()?, lame.stop()?);
        ensure!(counter(&sound, "/udp_fallbacks")? == 0, "{sound}");
        ensure!(counter(&lame, "/udp_fallbacks")? >= 25, "{lame}");
        ensure!(counter(&lame, "/udp_refusals/einval")? == 0, "not even tried: {lame}");
        Ok(())
    })
    .unwrap();
}
