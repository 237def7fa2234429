//! The command line: parsed, then checked as a whole.

use std::ffi::OsString;
use std::net::IpAddr;
use std::time::Duration;

use clap::Parser;
use switch::options::{
    MtuChoice, TapChoice, Usage, link_name, mtu, poll, queues, queues_of, quirk, tap, uplink, vni,
};
use switch::{Backend, Limits, Poll, Quirk, Release, Vni, is_host};
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

/// Reads the command line.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Usage> {
    let args = Args::try_parse_from(args).map_err(Usage::Clap)?;
    let (tap, backend) = uplink(&args.bridge, args.tap)?;
    let names = Names { bridge: args.bridge, tap, backend };
    if args.cleanup {
        return Ok(Command::Cleanup(names));
    }
    let Some(local) = args.local else {
        return Err(Usage::Wrong("--local is missing: give this node's underlay address".into()));
    };
    check_addresses(local, &args.peers)?;
    let queues = queues_of(backend, args.queues)?;
    Ok(Command::Run(Config {
        local,
        peers: args.peers,
        names,
        vni: args.vni,
        port: args.port,
        mtu: args.mtu,
        limits: Limits { stations: args.table_size, ..Limits::default() },
        poll: args.poll,
        queues,
        stats: args.stats,
        quirks: Quirk::of(Release::running(), &args.quirks),
        log_level: args.log_level,
    }))
}

fn check_addresses(local: IpAddr, peers: &[IpAddr]) -> Result<(), Usage> {
    if !is_host(local) {
        return Err(Usage::Wrong(format!(
            "--local {local} is no host's address: give the one the peers reach this node at"
        )));
    }
    for (n, peer) in peers.iter().enumerate() {
        if !is_host(*peer) {
            return Err(Usage::Wrong(format!(
                "--peer {peer} is no host's address: give the peer's own"
            )));
        }
        if *peer == local {
            return Err(Usage::Wrong(format!(
                "--peer {peer} is this node's own --local address: name only the other nodes"
            )));
        }
        if peer.is_ipv4() != local.is_ipv4() {
            return Err(Usage::Wrong(format!(
                "--peer {peer} and --local {local} are of two address families: use one for all"
            )));
        }
        if peers.iter().take(n).any(|earlier| earlier == peer) {
            return Err(Usage::Wrong(format!("--peer {peer} is given twice: name each peer once")));
        }
    }
    Ok(())
}

fn table_size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| (1..=16_777_216).contains(size));
    size.ok_or_else(|| "a table has 1 to 16777216 stations".into())
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
