//! What is measured on a path: a TCP stream, small datagrams, round trips.

use std::env;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use weft_tests::harness::{Pod, wait_until};

use crate::overlay::{Kind, Overlay};

/// Beyond its seconds, what a measurement may take to start and to end.
const GRACE: Duration = Duration::from_secs(20);
/// How long a server may take to listen.
const WAIT: Duration = Duration::from_secs(10);
/// Octets of a small datagram and of a request.
const SMALL: usize = 64;
/// Where servers listen.
const PORT: u16 = 5201;
/// Of its time sockperf leaves out 400 ms at the start and 50 ms at the end.
const WARM_UP: u64 = 1;

/// One measurement of each kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// TCP, one stream: Mbit/s of payload received.
    pub(crate) tcp_mbits: f64,
    /// Segments it had to send again.
    pub(crate) tcp_retransmits: f64,
    /// Small datagrams of one flow, sent as fast as the pod can: received per second.
    pub(crate) udp_received: f64,
    /// ... and sent per second.
    pub(crate) udp_sent: f64,
    /// A request of 64 octets and its answer, one after the other: the median, in us.
    pub(crate) rtt_p50: f64,
    /// ... and what 99 of 100 stay below.
    pub(crate) rtt_p99: f64,
}

impl Sample {
    /// Measures everything once.
    pub(crate) fn take(overlay: &Overlay, seconds: u64) -> Result<Self> {
        let [from, to] = overlay.pods();
        let context = |what| format!("{what} over {}", overlay.kind().title());
        let (tcp_mbits, tcp_retransmits) =
            stream(from, to, seconds).with_context(|| context("TCP"))?;
        let (udp_sent, udp_received) = blast(from, to, seconds).with_context(|| context("UDP"))?;
        let (rtt_p50, rtt_p99) =
            round_trips(from, to, seconds).with_context(|| context("round trips"))?;
        Ok(Self { tcp_mbits, tcp_retransmits, udp_received, udp_sent, rtt_p50, rtt_p99 })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TCP {:.0} Mbit/s, {:.0} again; UDP {:.0} of {:.0} packets/s; round trip {:.1} us, p99 {:.1}",
            self.tcp_mbits,
            self.tcp_retransmits,
            self.udp_received,
            self.udp_sent,
            self.rtt_p50,
            self.rtt_p99
        )
    }
}

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

/// Mbit/s and retransmissions of one TCP stream, without its first second.
fn stream(from: &Pod, to: &Pod, seconds: u64) -> Result<(f64, f64)> {
    let (port, time) = (PORT.to_string(), seconds.to_string());
    let mut server =
        to.spawn(&["iperf3", "--server", "--one-off", "--forceflush", "--port", &port])?;
    server.wait_for_line("Server listening", WAIT)?;
    let to = to.addr().to_string();
    let argv = ["iperf3", "-J", "--client", &to, "--port", &port, "--time", &time, "--omit", "1"];
    let said = from.run_for(Duration::from_secs(seconds) + GRACE, &argv)?;
    let said: Value = serde_json::from_str(&said).context("iperf3 printed no JSON")?;
    let rate = number(&said, "/end/sum_received/bits_per_second")? / 1e6;
    Ok((rate, number(&said, "/end/sum_sent/retransmits")?))
}

/// Datagrams per second, sent and received.
fn blast(from: &Pod, to: &Pod, seconds: u64) -> Result<(f64, f64)> {
    let program = env::current_exe()?;
    let program = program.to_str().context("this program's path is no text")?;
    let (port, size, time) = (PORT.to_string(), SMALL.to_string(), seconds.to_string());
    let mut counter = to.spawn(&[program, "count", "--port", &port, "--seconds", &time])?;
    counter.wait_for_line("listening", WAIT)?;
    let to = format!("{}:{port}", to.addr());
    let limit = Duration::from_secs(seconds) + GRACE;
    let argv = [program, "blast", "--to", &to, "--octets", &size, "--seconds", &time];
    let sent = from.run_for(limit, &argv)?;
    counter.wait(limit)?;
    let rate = |said: &str| -> Result<f64> {
        let last = said.lines().last().unwrap_or_default();
        number(&serde_json::from_str(last).context("no JSON")?, "/per_second")
    };
    Ok((rate(&sent)?, rate(&counter.stdout())?))
}

/// The median and the 99th percentile of round trips, in us.
fn round_trips(from: &Pod, to: &Pod, seconds: u64) -> Result<(f64, f64)> {
    let (addr, port) = (to.addr().to_string(), PORT.to_string());
    let server = to.spawn(&["sockperf", "server", "-i", &addr, "-p", &port])?;
    listening(to)?;
    let (size, time) = (SMALL.to_string(), (seconds + WARM_UP).to_string());
    let argv = ["sockperf", "ping-pong", "-i", &addr, "-p", &port, "-m", &size, "-t", &time];
    let argv: Vec<_> = argv.into_iter().chain(["--full-rtt"]).collect();
    let said = from.run_for(Duration::from_secs(seconds) + GRACE, &argv)?;
    drop(server);
    Ok((percentile(&said, "50.000")?, percentile(&said, "99.000")?))
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
