//! Traffic between hosts, made by `lab-peer` inside them and told in numbers.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::host::Host;
use super::lab::bin;
use super::proc::Proc;
use super::wait::pause;

/// How long a server may take to listen.
const LISTEN_WAIT: Duration = Duration::from_secs(10);
/// How long datagrams may be under way, address resolution included.
const STRAGGLERS: Duration = Duration::from_millis(300);
/// How long a transfer may take.
const TRANSFER_WAIT: Duration = Duration::from_secs(120);

/// Whether packets may be fragmented.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fragment {
    /// What the kernel does by itself.
    #[default]
    System,
    /// Never: DF is set, and what the path cannot carry is an error.
    Never,
    /// Allowed: DF is clear.
    Allowed,
}

/// Echo requests to send.
#[derive(Clone, Debug)]
pub struct Ping {
    /// Where to.
    pub to: IpAddr,
    /// How many.
    pub count: u32,
    /// Octets after the ICMP header.
    pub size: u16,
    /// Between two requests.
    pub interval: Duration,
    /// How long to wait for answers after the last request.
    pub wait: Duration,
    /// Fragmentation.
    pub fragment: Fragment,
}

impl Ping {
    /// `count` requests of 56 octets, 50 ms apart, and a second for the last answer.
    #[must_use]
    pub fn new(to: impl Into<IpAddr>, count: u32) -> Self {
        let (interval, wait) = (Duration::from_millis(50), Duration::from_secs(1));
        Self { to: to.into(), count, size: 56, interval, wait, fragment: Fragment::System }
    }

    /// The same with this payload size.
    #[must_use]
    pub fn size(self, size: u16) -> Self {
        Self { size, ..self }
    }

    /// The same with another interval.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// The same with another wait for the last answer.
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The same with this say on fragmentation.
    #[must_use]
    pub fn fragment(self, fragment: Fragment) -> Self {
        Self { fragment, ..self }
    }
}

/// What a ping has seen.
#[derive(Clone, Debug)]
pub struct PingStats {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered.
    pub received: u64,
    /// Answers beyond the first to a request.
    pub duplicates: u64,
    /// Answers with another payload than the request's.
    pub corrupt: u64,
    /// The MTU named by "fragmentation needed" or "packet too big", if one came.
    pub too_big: Option<u32>,
    /// Requests that the own kernel refused as longer than the path's MTU.
    pub refused: u64,
    /// Round-trip times in the order of the answers.
    pub rtts: Vec<Duration>,
}

impl PingStats {
    /// Whether each request had exactly one good answer.
    #[must_use]
    pub fn perfect(&self) -> bool {
        self.received == self.sent && self.duplicates == 0 && self.corrupt == 0
    }

    /// The median round-trip time.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        let mut rtts = self.rtts.clone();
        rtts.sort_unstable();
        rtts.get(rtts.len() / 2).copied()
    }
}

/// What a TCP transfer has seen.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Octets that arrived.
    pub bytes: u64,
    /// Hash of what was sent.
    pub hash_sent: String,
    /// Hash of what arrived.
    pub hash_received: String,
    /// From the connection to the receiver's end of stream.
    pub secs: f64,
}

impl Transfer {
    /// Whether all that was sent arrived, unchanged.
    #[must_use]
    pub fn intact(&self) -> bool {
        self.hash_sent == self.hash_received
    }
}

/// What an exchange of datagrams has seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UdpStats {
    /// Datagrams sent.
    pub sent: u64,
    /// Echoes with the content sent.
    pub received: u64,
    /// Echoes with another content.
    pub corrupt: u64,
}

/// Datagrams that are sent in runs: `count` of `size` octets in one call, `runs` times.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// Octets of each datagram but the last of a run, which is shorter.
    pub size: usize,
    /// Datagrams of a run.
    pub count: usize,
    /// Runs.
    pub runs: usize,
}

/// What became of datagrams that were sent in runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunStats {
    /// Datagrams sent.
    pub sent: u64,
    /// Those that arrived as they were sent, each counted once.
    pub received: u64,
    /// Those that arrived again.
    pub duplicates: u64,
    /// Those that had another length or content.
    pub corrupt: u64,
    /// What the receiver said.
    pub said: String,
}

impl RunStats {
    /// Whether each datagram arrived once, as it was sent.
    #[must_use]
    pub fn perfect(&self) -> bool {
        self.received == self.sent && self.duplicates == 0 && self.corrupt == 0
    }
}

impl Host {
    /// Pings `to` with small packets 50 ms apart; no answer is no error.
    pub fn ping(&self, to: impl Into<IpAddr>, count: u32) -> Result<PingStats> {
        self.ping_with(&Ping::new(to, count))
    }

    /// Pings as told.
    pub fn ping_with(&self, ping: &Ping) -> Result<PingStats> {
        let fragment = match ping.fragment {
            Fragment::System => "system",
            Fragment::Never => "never",
            Fragment::Allowed => "allowed",
        };
        let (to, count, size) = (ping.to, ping.count, ping.size);
        let (interval, wait) = (ping.interval.as_micros(), ping.wait.as_millis());
        let line = format!("ping {to} {count} {size} {interval} {wait} {fragment}");
        let limit = ping.interval * ping.count + ping.wait + LISTEN_WAIT;
        ping_stats(&self.peer(limit, &line)?)
    }

    /// Runs `lab-peer` with these words to its end and returns its last line, a JSON object.
    pub fn peer(&self, limit: Duration, words: &str) -> Result<Value> {
        let program = peer_path()?;
        // Its errors are quoted in ours: a backtrace in there helps nobody.
        let mut argv = vec!["env", "RUST_BACKTRACE=0", program.as_str()];
        argv.extend(words.split_whitespace());
        last_json(&self.run_for(limit, &argv)?)
    }

    /// Starts `lab-peer` with these words, for what runs beside the test: servers, blasts.
    pub fn spawn_peer(&self, words: &str) -> Result<Proc> {
        let program = peer_path()?;
        let mut argv = vec![program.as_str()];
        argv.extend(words.split_whitespace());
        self.spawn(&argv)
    }

    /// Starts `lab-peer` as a server on any free port and returns it with the port.
    pub fn serve(&self, what: &str) -> Result<(Proc, u16)> {
        let mut server = self.spawn_peer(&format!("{what} 0"))?;
        let line = server.wait_for_line("listening", LISTEN_WAIT)?;
        let port = number(&last_json(&line)?, "listening")?;
        Ok((server, u16::try_from(port)?))
    }
}

/// The JSON object in the last line of an output of `lab-peer`.
pub(super) fn last_json(output: &str) -> Result<Value> {
    let line = output.lines().last().context("lab-peer said nothing")?;
    serde_json::from_str(line).with_context(|| format!("lab-peer said {line:?}"))
}

/// Sends `bytes` octets over TCP to the first address of `to`'s pod or node.
pub fn transfer(from: &Host, to: &super::Pod, bytes: u64) -> Result<Transfer> {
    transfer_to(from, to, to.addr(), bytes)
}

/// Sends `bytes` octets over TCP to `addr`, an address of `to`.
pub fn transfer_to(from: &Host, to: &Host, addr: IpAddr, bytes: u64) -> Result<Transfer> {
    let (mut server, port) = to.serve("tcp-serve")?;
    // Two transfers that swap their contents would be told apart.
    let line = format!("tcp-send {addr} {port} {bytes} {}", server.pid());
    let sent = from.peer(TRANSFER_WAIT, &line)?;
    server.wait(TRANSFER_WAIT)?;
    let received = last_json(&server.stdout())?;
    Ok(Transfer {
        bytes: number(&received, "bytes")?,
        hash_sent: word(&sent, "hash")?,
        hash_received: word(&received, "hash")?,
        secs: sent.get("secs").and_then(Value::as_f64).context("lab-peer tells no secs")?,
    })
}

/// Transfers in both directions at once: from `one` to `two`, and from `two` to `one`.
pub fn transfer_both(
    one: &super::Pod,
    two: &super::Pod,
    bytes: u64,
) -> Result<(Transfer, Transfer)> {
    thread::scope(|scope| {
        let forth = scope.spawn(|| transfer(one, two, bytes));
        let back = transfer(two, one, bytes);
        let forth = forth.join().map_err(|_panic| anyhow::anyhow!("a transfer panicked"))?;
        Ok((forth?, back?))
    })
}

/// Sends `count` datagrams of `size` octets one by one to an echo server at `addr` of `to`.
pub fn udp_echo(from: &Host, to: &Host, addr: IpAddr, size: u16, count: u32) -> Result<UdpStats> {
    let (_server, port) = to.serve("udp-echo")?;
    let stats = from.peer(TRANSFER_WAIT, &format!("udp-send {addr} {port} {size} {count}"))?;
    let [sent, received, corrupt] =
        ["sent", "received", "corrupt"].map(|name| number(&stats, name));
    Ok(UdpStats { sent: sent?, received: received?, corrupt: corrupt? })
}

/// Sends runs of datagrams (UDP_SEGMENT) to `addr`, an address of `to`, which judges each of them.
pub fn udp_runs(from: &Host, to: &Host, addr: IpAddr, runs: Runs) -> Result<RunStats> {
    const SEED: u64 = 0x5eed;
    let mut receiver = to.spawn_peer(&format!("udp-collect 0 {SEED}"))?;
    let line = receiver.wait_for_line("listening", LISTEN_WAIT)?;
    let port = number(&last_json(&line)?, "listening")?;
    let Runs { size, count, runs } = runs;
    let sent = from
        .peer(TRANSFER_WAIT, &format!("udp-gso-send {addr} {port} {size} {count} {runs} {SEED}"))?;
    receiver.wait(TRANSFER_WAIT)?;
    let received = last_json(&receiver.stdout())?;
    Ok(RunStats {
        sent: number(&sent, "sent")?,
        received: number(&received, "received")?,
        duplicates: number(&received, "duplicates")?,
        corrupt: number(&received, "corrupt")?,
        said: received.to_string(),
    })
}

/// Sends `count` small datagrams to `addr`, an address of `to`, and tells how many arrive there:
/// for one direction alone, as no answer comes back.
pub fn udp_arriving(from: &Host, to: &Host, addr: IpAddr, count: u32) -> Result<usize> {
    let (receiver, port) = to.serve("udp-tell")?;
    from.peer(LISTEN_WAIT, &format!("udp-post {addr} {port} {count}"))?;
    pause(STRAGGLERS);
    Ok(receiver.stdout().lines().filter(|line| line.contains("\"from\"")).count())
}

fn ping_stats(stats: &Value) -> Result<PingStats> {
    let rtts = stats.get("rtts_us").and_then(Value::as_array).context("lab-peer tells no rtts")?;
    let too_big = stats.get("too_big").and_then(Value::as_u64).map(u32::try_from).transpose()?;
    Ok(PingStats {
        sent: number(stats, "sent")?,
        received: number(stats, "received")?,
        duplicates: number(stats, "duplicates")?,
        corrupt: number(stats, "corrupt")?,
        too_big,
        refused: number(stats, "refused")?,
        rtts: rtts.iter().filter_map(Value::as_u64).map(Duration::from_micros).collect(),
    })
}

fn peer_path() -> Result<String> {
    bin("lab-peer")?.into_os_string().into_string().ok().context("the target directory is no text")
}

fn number(value: &Value, name: &str) -> Result<u64> {
    value.get(name).and_then(Value::as_u64).with_context(|| format!("no {name} in {value}"))
}

fn word(value: &Value, name: &str) -> Result<String> {
    let word = value.get(name).and_then(Value::as_str);
    Ok(word.with_context(|| format!("no {name} in {value}"))?.to_owned())
}
