//! The command line: parsed, then checked as a whole.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use switch::engine::default_queues;
use switch::{Backend, Limits, Mtu, Poll, QUIRKS, Quirk, Release, Vni, is_host};
use tracing::level_filters::LevelFilter;

/// A VXLAN switch with static peers: the bridge on this host and those on the peers become one.
///
/// Plug pods with `ip link set VETH master weave`. On SIGUSR1 the stations are printed.
#[derive(Debug, Parser)]
#[command(name = "weft-switch", version)]
struct Args {
    /// This node's underlay address: datagrams are sent from and received on it
    #[arg(long, value_name = "ADDR", required_unless_present = "cleanup")]
    local: Option<IpAddr>,

    /// A peer's underlay address; once for each peer
    #[arg(long = "peer", value_name = "ADDR", required_unless_present = "cleanup")]
    peers: Vec<IpAddr>,

    /// The bridge that pods are plugged into; made if there is none
    #[arg(long, value_name = "NAME", default_value = "weave", value_parser = link_name)]
    bridge: String,

    /// The TAP device that joins the switch to the bridge, made if there is none; or how it is
    /// opened: `offload`, `plain` (frame by frame), or `auto`. May be given twice, once for each
    #[arg(long, value_name = "NAME|auto|offload|plain", default_value = "weave-tap", value_parser = tap)]
    tap: Vec<TapChoice>,

    /// The overlay's VXLAN network identifier, the same on all nodes
    #[arg(long, value_name = "N", default_value = "6784", value_parser = vni)]
    vni: Vni,

    /// The UDP port, the same on all nodes
    #[arg(long, value_name = "N", default_value = "6784", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// The overlay's MTU: `auto` is the least of the paths to the peers, less the tunnel's headers
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = mtu)]
    mtu: MtuChoice,

    /// Stations to remember; when there are more, the peer with most of them loses one
    #[arg(long, value_name = "N", default_value_t = Limits::default().stations, value_parser = table_size)]
    table_size: usize,

    /// Threads, each with a queue of the TAP and sockets of its own [default: half the processors,
    /// at least 2 where there are as many, at most 8]. Each takes some megabytes of memory
    #[arg(long, value_name = "N", value_parser = queues)]
    queues: Option<usize>,

    /// Treat this kernel as having a defect, or as not having it; the log at start names those it
    /// is known for
    #[arg(long = "quirk", value_name = "NAME=on|off", value_parser = quirk)]
    quirks: Vec<(&'static Quirk, bool)>,

    /// After a frame, look for the next before sleeping: `adaptive` while it pays, `off` never, or
    /// always for so many microseconds
    #[arg(long, value_name = "adaptive|off|USEC", default_value = "adaptive", value_parser = poll)]
    poll: Poll,

    /// Print the counters as a line of JSON every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    stats: Option<Duration>,

    /// Remove the bridge and the TAP, if weft-switch made them, and exit
    #[arg(long)]
    cleanup: bool,

    /// How much to log to stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

/// As many as a TAP device can have (drivers/net/tun.c, `MAX_TAP_QUEUES`).
const QUEUES_MAX: usize = 256;

/// What the command line asks for.
pub(crate) enum Command {
    Run(Config),
    Cleanup(Names),
}

/// The links to work with.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) bridge: String,
    pub(crate) tap: String,
    pub(crate) backend: Backend,
}

/// A value of `--tap`.
#[derive(Clone, Debug)]
enum TapChoice {
    Name(String),
    Backend(Backend),
}

/// What to run. Checked: the addresses are hosts', of one family, and all different.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) local: IpAddr,
    pub(crate) peers: Vec<IpAddr>,
    pub(crate) names: Names,
    pub(crate) vni: Vni,
    pub(crate) port: u16,
    pub(crate) mtu: MtuChoice,
    pub(crate) limits: Limits,
    pub(crate) poll: Poll,
    pub(crate) queues: usize,
    pub(crate) quirks: Vec<&'static Quirk>,
    pub(crate) stats: Option<Duration>,
    pub(crate) log_level: LevelFilter,
}

/// Where the overlay's MTU comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MtuChoice {
    /// From the paths to the peers.
    Auto,
    /// From the operator.
    Fixed(Mtu),
}

/// Why the command line was not accepted, or that help was asked for.
pub(crate) enum Usage {
    Clap(clap::Error),
    Wrong(String),
}

impl Usage {
    /// Prints help to stdout, or one line to stderr; exit code 0 or 2.
    pub(crate) fn exit(&self) -> ExitCode {
        match self {
            Self::Clap(error) if !error.use_stderr() => {
                drop(error.print());
                ExitCode::SUCCESS
            }
            Self::Clap(_) | Self::Wrong(_) => {
                drop(writeln!(std::io::stderr(), "weft-switch: {self}"));
                ExitCode::from(2)
            }
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clap(error) => {
                let text = error.render().to_string();
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let what: Vec<_> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
                let what = what.join(" ");
                let what = what.strip_prefix("error: ").unwrap_or(&what);
                let what = what.strip_suffix("For more information, try '--help'.").unwrap_or(what);
                write!(f, "{}; see weft-switch --help", what.trim_end())
            }
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

/// Reads the command line.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Usage> {
    let args = Args::try_parse_from(args).map_err(Usage::Clap)?;
    let names = names(args.bridge, args.tap)?;
    if args.cleanup {
        return Ok(Command::Cleanup(names));
    }
    let Some(local) = args.local else {
        return Err(wrong("--local is missing: give this node's underlay address".into()));
    };
    check_addresses(local, &args.peers)?;
    let plain = names.backend == Backend::Plain;
    if plain && args.queues.is_some_and(|queues| queues > 1) {
        return Err(wrong(
            "--tap plain has one queue: leave out --queues, or use --tap offload".into(),
        ));
    }
    Ok(Command::Run(Config {
        local,
        peers: args.peers,
        names,
        vni: args.vni,
        port: args.port,
        mtu: args.mtu,
        limits: Limits { stations: args.table_size, ..Limits::default() },
        poll: args.poll,
        queues: if plain { 1 } else { args.queues.unwrap_or_else(default_queues) },
        stats: args.stats,
        quirks: Quirk::of(Release::running(), &args.quirks),
        log_level: args.log_level,
    }))
}

fn names(bridge: String, choices: Vec<TapChoice>) -> Result<Names, Usage> {
    let (mut names, mut backends) = (Vec::new(), Vec::new());
    for choice in choices {
        match choice {
            TapChoice::Name(name) => names.push(name),
            TapChoice::Backend(backend) => backends.push(backend),
        }
    }
    if names.len() > 1 || backends.len() > 1 {
        return Err(wrong(
            "--tap is given twice: once for a name and once for auto, offload or plain at most"
                .into(),
        ));
    }
    let tap = names.pop().unwrap_or_else(|| "weave-tap".into());
    if bridge == tap {
        return Err(wrong(format!("--bridge and --tap are both {tap}: give them two names")));
    }
    Ok(Names { bridge, tap, backend: backends.pop().unwrap_or(Backend::Auto) })
}

fn check_addresses(local: IpAddr, peers: &[IpAddr]) -> Result<(), Usage> {
    if !is_host(local) {
        return Err(wrong(format!(
            "--local {local} is no host's address: give the one the peers reach this node at"
        )));
    }
    for (n, peer) in peers.iter().enumerate() {
        if !is_host(*peer) {
            return Err(wrong(format!("--peer {peer} is no host's address: give the peer's own")));
        }
        if *peer == local {
            return Err(wrong(format!(
                "--peer {peer} is this node's own --local address: name only the other nodes"
            )));
        }
        if peer.is_ipv4() != local.is_ipv4() {
            return Err(wrong(format!(
                "--peer {peer} and --local {local} are of two address families: use one for all"
            )));
        }
        if peers.iter().take(n).any(|earlier| earlier == peer) {
            return Err(wrong(format!("--peer {peer} is given twice: name each peer once")));
        }
    }
    Ok(())
}

fn wrong(what: String) -> Usage {
    Usage::Wrong(what)
}

/// As the kernel's `dev_valid_name`: 1 to 15 octets, no slash, colon or white space, not `.` or `..`.
fn link_name(text: &str) -> Result<String, String> {
    let bad = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 15 || text.contains(bad) || matches!(text, "." | "..") {
        return Err("a link's name has 1 to 15 characters, without '/', ':', '%' or spaces".into());
    }
    if matches!(text, "all" | "default") {
        return Err("the kernel keeps this name for settings of all links: choose another".into());
    }
    Ok(text.into())
}

fn tap(text: &str) -> Result<TapChoice, String> {
    Ok(match text {
        "auto" => TapChoice::Backend(Backend::Auto),
        "offload" => TapChoice::Backend(Backend::Offload),
        "plain" => TapChoice::Backend(Backend::Plain),
        name => TapChoice::Name(link_name(name)?),
    })
}

fn vni(text: &str) -> Result<Vni, String> {
    let vni = text.parse().ok().and_then(Vni::new);
    vni.ok_or_else(|| format!("a VNI is a number from 0 to {}", Vni::MAX))
}

fn mtu(text: &str) -> Result<MtuChoice, String> {
    if text == "auto" {
        return Ok(MtuChoice::Auto);
    }
    let mtu = text.parse().ok().and_then(Mtu::new).map(MtuChoice::Fixed);
    mtu.ok_or_else(|| format!("an MTU is `auto` or a number from {} to {}", Mtu::MIN, Mtu::MAX))
}

fn table_size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| (1..=16_777_216).contains(size));
    size.ok_or_else(|| "a table has 1 to 16777216 stations".into())
}

fn queues(text: &str) -> Result<usize, String> {
    let queues = text.parse().ok().filter(|queues| (1..=QUEUES_MAX).contains(queues));
    queues.ok_or_else(|| format!("1 to {QUEUES_MAX} queues are possible"))
}

fn quirk(text: &str) -> Result<(&'static Quirk, bool), String> {
    let known = || QUIRKS.map(|quirk| quirk.name).join(", ");
    let (name, state) = text.split_once('=').ok_or("NAME=on or NAME=off is expected")?;
    let quirk = Quirk::named(name).ok_or_else(|| format!("known are {}", known()))?;
    match state {
        "on" => Ok((quirk, true)),
        "off" => Ok((quirk, false)),
        _ => Err("NAME=on or NAME=off is expected".into()),
    }
}

fn poll(text: &str) -> Result<Poll, String> {
    match text {
        "adaptive" => Ok(Poll::Adaptive),
        "off" => Ok(Poll::Off),
        text => {
            let us = text.parse().ok().filter(|us| (1..=1_000_000).contains(us));
            let us =
                us.ok_or("a time to look is `adaptive`, `off` or 1 to 1000000 microseconds")?;
            Ok(Poll::Fixed(Duration::from_micros(us)))
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    let seconds = seconds.ok_or("an interval has 0.1 to 86400 seconds")?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(args: &str) -> String {
        let args = ["weft-switch"].into_iter().chain(args.split_whitespace()).map(OsString::from);
        match parse(args) {
            Ok(_) => panic!("accepted"),
            Err(usage) => usage.to_string(),
        }
    }

    #[test]
    fn two_addresses_are_all_it_takes() {
        let args = ["weft-switch", "--local", "10.99.0.1", "--peer", "10.99.0.2"];

        let Ok(Command::Run(config)) = parse(args.map(OsString::from)) else { panic!("refused") };

        assert_eq!((config.port, config.vni, config.mtu), (6784, Vni::DEFAULT, MtuChoice::Auto));
        assert_eq!(
            (config.names.bridge.as_str(), config.names.tap.as_str()),
            ("weave", "weave-tap")
        );
    }

    #[test]
    fn cleanup_needs_no_addresses() {
        let args = ["weft-switch", "--cleanup"].map(OsString::from);

        assert!(matches!(parse(args), Ok(Command::Cleanup(_))));
    }

    #[test]
    fn every_refusal_is_one_line_that_names_the_culprit() {
        for (args, culprit) in [
            ("", "--local"),
            ("--local 10.0.0.1", "--peer"),
            ("--local 10.0.0.300 --peer 10.0.0.2", "10.0.0.300"),
            ("--local 10.0.0.1 --peer 10.0.0.1", "this node's own"),
            ("--local 10.0.0.1 --peer 10.0.0.2 --peer 10.0.0.2", "given twice"),
            ("--local 10.0.0.1 --peer fd00::1", "address families"),
            ("--local 0.0.0.0 --peer 10.0.0.2", "no host's"),
            ("--local 10.0.0.1 --peer 224.0.0.1", "no host's"),
            ("--local 10.0.0.1 --peer 10.0.0.2 --vni 16777216", "16777215"),
            ("--local 10.0.0.1 --peer 10.0.0.2 --port 0", "--port"),
            ("--local 10.0.0.1 --peer 10.0.0.2 --mtu 100", "576"),
            ("--local 10.0.0.1 --peer 10.0.0.2 --stats 0", "seconds"),
            ("--local 10.0.0.1 --peer 10.0.0.2 --bridge x --tap x", "two names"),
            ("--local 10.0.0.1 --peer 10.0.0.2 --bridge a-name-that-is-too-long", "15 characters"),
            ("--local 10.0.0.1 --peer 10.0.0.2 --frob", "--frob"),
        ] {
            let refusal = refusal(args);
            assert!(refusal.contains(culprit), "{args}: {refusal}");
            assert_eq!(refusal.lines().count(), 1, "{args}: {refusal}");
        }
    }
}
