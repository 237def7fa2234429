//! How each load is made and measured: TCP by iperf3, datagrams by this program, round trips by
//! sockperf.

use std::env;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use weft_tests::harness::{Pod, Stopwatch, pause, wait_until};

use crate::figure::{Figure, Figures};
use crate::machine::Usage;
use crate::overlay::{Kind, Overlay};

/// Beyond its seconds, what a measurement may take to start and to end.
const GRACE: Duration = Duration::from_secs(20);
/// How long a server may take to listen.
const WAIT: Duration = Duration::from_secs(10);
/// Where servers listen.
const PORT: u16 = 5201;
/// Seconds that streams and round trips take to settle, and that are left out. (Of its time
/// sockperf leaves out 400 ms at the start and 50 ms at the end.)
const WARM_UP: u64 = 1;
/// From the start of a client to its load, and how much earlier than the load the watch ends.
const LEAD: Duration = Duration::from_millis(150);
/// How long a path without traffic is watched, and how long it may take to come to rest.
const REST: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(1);

/// An error that names what is missing of the programs that measurements need.
pub(crate) fn require_tools(kinds: &[Kind]) -> Result<()> {
    let mut needed = vec![("iperf3", "iperf3"), ("sockperf", "sockperf")];
    if kinds.contains(&Kind::Ovs) {
        needed.push(("ovs-vswitchd", "openvswitch-switch"));
    }
    let dirs = env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| env::split_paths(&dirs).any(|dir| dir.join(program).is_file());
    let missing: Vec<_> =
        needed.iter().filter(|(program, _)| !found(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("programs are missing: apt-get install {}", missing.join(" "))
}

/// TCP streams, without their first second.
pub(crate) fn streams(overlay: &Overlay, seconds: u64, options: &[&str]) -> Result<Figures> {
    let [_from, to] = overlay.pods();
    let (port, time, omit) = (PORT.to_string(), seconds.to_string(), WARM_UP.to_string());
    let mut server =
        to.spawn(&["iperf3", "--server", "--one-off", "--forceflush", "--port", &port])?;
    server.wait_for_line("Server listening", WAIT)?;
    let to = to.addr().to_string();
    let argv = ["iperf3", "-J", "--client", &to, "--port", &port, "--time", &time, "--omit", &omit];
    let argv: Vec<_> = argv.iter().chain(options).copied().collect();
    let (said, usage) = watched(overlay, &argv, Duration::from_secs(WARM_UP), seconds)?;
    let said: Value = serde_json::from_str(&said).context("iperf3 printed no JSON")?;
    let forth = number(&said, "/end/sum_received/bits_per_second")? / 1e6;
    let back = number(&said, "/end/sum_received_bidir_reverse/bits_per_second").ok();
    let back = back.map(|bits| bits / 1e6);
    let mbits = forth + back.unwrap_or_default();
    let again = number(&said, "/end/sum_sent/retransmits")?
        + number(&said, "/end/sum_sent_bidir_reverse/retransmits").unwrap_or_default();
    // Seconds per second over GB per second.
    let per_gb = |cores: f64| cores / (mbits / 8000.0);
    Ok(known([
        (Figure::Mbits, Some(mbits)),
        (Figure::Back, back),
        (Figure::Retransmits, Some(again)),
        (Figure::CpuPerGb, Some(per_gb(usage.cores))),
        (Figure::SwitchPerGb, usage.switch_cores.map(per_gb)),
        (Figure::Rss, usage.rss_mib),
    ]))
}

/// Datagrams as fast as the first pod can send them.
pub(crate) fn datagrams(
    overlay: &Overlay,
    seconds: u64,
    flows: usize,
    octets: RangeInclusive<usize>,
) -> Result<Figures> {
    let [_from, to] = overlay.pods();
    let program = env::current_exe()?;
    let program = program.to_str().context("this program's path is no text")?;
    let (port, time, flows) = (PORT.to_string(), seconds.to_string(), flows.to_string());
    let [least, most] = [octets.start(), octets.end()].map(ToString::to_string);
    let mut counter = to.spawn(&[program, "count", "--port", &port, "--seconds", &time])?;
    counter.wait_for_line("listening", WAIT)?;
    let to = format!("{}:{port}", to.addr());
    let argv = [program, "blast", "--to", &to, "--seconds", &time, "--flows", &flows];
    let argv: Vec<_> = argv.into_iter().chain(["--least", &least, "--most", &most]).collect();
    let (sent, usage) = watched(overlay, &argv, Duration::ZERO, seconds)?;
    counter.wait(Duration::from_secs(seconds) + GRACE)?;
    let rate = |said: &str| -> Result<f64> {
        let last = said.lines().last().unwrap_or_default();
        number(&serde_json::from_str(last).context("no JSON")?, "/per_second")
    };
    let (sent, received) = (rate(&sent)?, rate(&counter.stdout())?);
    Ok(known([
        (Figure::Received, Some(received)),
        (Figure::CpuPerPacket, (received > 0.0).then(|| usage.cores * 1e6 / received)),
        (Figure::Sent, Some(sent)),
        (Figure::Loss, Some(100.0 * (1.0 - received / sent).max(0.0))),
        (Figure::Rss, usage.rss_mib),
    ]))
}

/// Requests and their answers, one after the other.
pub(crate) fn round_trips(overlay: &Overlay, seconds: u64, octets: usize) -> Result<Figures> {
    let [from, to] = overlay.pods();
    let (addr, port) = (to.addr().to_string(), PORT.to_string());
    let server = to.spawn(&["sockperf", "server", "-i", &addr, "-p", &port])?;
    listening(to)?;
    let (size, time) = (octets.to_string(), (seconds + WARM_UP).to_string());
    let argv = ["sockperf", "ping-pong", "-i", &addr, "-p", &port, "-m", &size, "-t", &time];
    let argv: Vec<_> = argv.into_iter().chain(["--full-rtt"]).collect();
    let said = from.run_for(Duration::from_secs(seconds) + GRACE, &argv)?;
    drop(server);
    Ok(known([
        (Figure::P50, Some(percentile(&said, "50.000")?)),
        (Figure::P99, Some(percentile(&said, "99.000")?)),
    ]))
}

/// What switches spend when nothing is to be done.
pub(crate) fn at_rest(overlay: &Overlay) -> Result<Figures> {
    pause(SETTLE);
    let (before, watch) = (overlay.switch_time()?, Stopwatch::start());
    pause(REST);
    let elapsed = watch.elapsed();
    let after = overlay.switch_time()?;
    let spent = before.iter().zip(&after).map(|(before, after)| after.saturating_sub(*before));
    let most = spent.max().context("no switch to look at")?;
    Ok(known([
        (Figure::Rest, Some(100.0 * most.as_secs_f64() / elapsed.as_secs_f64())),
        (Figure::Rss, overlay.switch_rss_mib()?),
    ]))
}

/// Runs a client in the first pod to its end, and watches what its load costs. The load begins
/// `warm_up` after the client has started.
fn watched(
    overlay: &Overlay,
    argv: &[&str],
    warm_up: Duration,
    seconds: u64,
) -> Result<(String, Usage)> {
    let [from, _to] = overlay.pods();
    let load = Duration::from_secs(seconds);
    let mut client = from.spawn(argv)?;
    pause(warm_up + LEAD);
    let usage = Usage::watch(overlay, load.saturating_sub(LEAD * 2))?;
    let status = client.wait(load + GRACE)?;
    let said = client.stdout();
    if !status.success() {
        bail!("{}: {status}: {} {}", client.label(), client.stderr().trim(), said.trim());
    }
    Ok((said, usage))
}

/// sockperf says that it listens into a buffer that it does not flush: look at the socket itself.
fn listening(pod: &Pod) -> Result<()> {
    let filter = format!("sport = :{PORT}");
    wait_until(WAIT, "sockperf listens", || {
        pod.run(&["ss", "-H", "-l", "-u", "-n", &filter]).is_ok_and(|said| !said.is_empty())
    })
}

/// From sockperf's `---> percentile 99.000 =   35.146`.
fn percentile(said: &str, which: &str) -> Result<f64> {
    let label = format!("percentile {which}");
    let line = said.lines().find(|line| line.contains(&label));
    let value = line.and_then(|line| line.rsplit('=').next());
    let value = value.with_context(|| format!("sockperf tells no {label}: {said}"))?;
    value.trim().parse().with_context(|| format!("sockperf said {value:?}"))
}

fn number(value: &Value, path: &str) -> Result<f64> {
    value.pointer(path).and_then(Value::as_f64).with_context(|| format!("no {path} in {value}"))
}

fn known<const N: usize>(figures: [(Figure, Option<f64>); N]) -> Figures {
    figures.into_iter().filter_map(|(figure, value)| Some((figure, value?))).collect()
}
