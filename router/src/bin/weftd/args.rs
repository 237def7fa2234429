//! The command line and the environment: parsed, then checked as a whole.

mod ipalloc;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use peer_mesh::PeerName;
use peer_mesh::shell::Endpoint;
use router::cidr::{BadCidr, Cidr};
use router::journal::{DEFAULT_LIMIT, LEAST_LIMIT};
use switch::options::{
    MtuChoice, TapChoice, Usage, link_name, poll, queues, queues_of, quirk, tap, uplink, vni,
};
use switch::{Backend, Poll, Quirk, Release, Vni, is_host};
use tracing::level_filters::LevelFilter;

use crate::reset::Reset;
pub(crate) use ipalloc::Addressing;

/// A node of the pod network: joins the others through any PEER, and carries frames between this node's bridge and theirs.
///
/// Plug pods with `ip link set VETH master weave`; see the network with `weft status`. The network's password, if it has one,
/// is in the environment variable WEAVE_PASSWORD or in a file. SIGTERM ends the process and leaves bridge and TAP. Exit codes:
/// 0 ended, 1 failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "weftd", version)]
struct Args {
    /// Peers to start with: an address or a name, and the port if it is not 6783. Those in KUBE_PEERS, with spaces
    /// between them, come besides
    #[arg(value_name = "PEER")]
    peers: Vec<Endpoint>,

    /// This node's name, such as 02:00:00:00:00:01 [default: the stored one, else the machine's]
    #[arg(long, value_name = "NAME")]
    name: Option<PeerName>,

    /// What people call this node [default: the host's name]
    #[arg(long, value_name = "TEXT", value_parser = nickname)]
    nickname: Option<String>,

    /// The port: TCP and UDP for the mesh, and UDP one above for VXLAN
    #[arg(long, value_name = "N", default_value_t = 6783, value_parser = clap::value_parser!(u16).range(1..65535))]
    port: u16,

    /// The address of this node that peers are to use [default: any that their connections use]
    #[arg(long, value_name = "ADDR", value_parser = local)]
    local: Option<IpAddr>,

    /// The bridge that pods are plugged into; made if there is none
    #[arg(long, value_name = "NAME", default_value = "weave", value_parser = link_name)]
    bridge: String,

    /// The TAP device that joins the switch to the bridge, made if there is none; or how it is opened: `offload`, `plain`
    /// (frame by frame), or `auto`. May be given twice, once for each
    #[arg(long, value_name = "NAME|auto|offload|plain", default_value = "weave-tap", value_parser = tap)]
    tap: Vec<TapChoice>,

    /// The overlay's VXLAN network identifier, the same on all nodes
    #[arg(long, value_name = "N", default_value = "6784", value_parser = vni)]
    vni: Vni,

    /// The overlay's MTU: `auto` is the least of the paths to the peers, less the tunnel's headers
    #[arg(long, value_name = "auto|N", env = "WEAVE_MTU", default_value = "auto", value_parser = mtu)]
    mtu: MtuChoice,

    /// Whether the kernel's vxlan device carries frames: `auto` where it can, `off` never, `require` or the start fails. A
    /// WEAVE_NO_FASTDP that is not empty stands for `off` [default: auto]
    #[arg(long, value_name = "auto|off|require")]
    fastpath: Option<FastPath>,

    /// Only the given peers: no others are dialled, and frames go directly only to neighbours in the mesh
    #[arg(long)]
    no_discovery: bool,

    /// Connections to other nodes that are kept, 4 to 48: more than 48 stands for 48, 0 for as many as there may be
    #[arg(long, value_name = "N", env = "CONN_LIMIT", default_value = "32", value_parser = conn_limit)]
    conn_limit: usize,

    /// A silent node is gone after so many seconds: until then its stations are kept
    #[arg(long, value_name = "SECONDS", default_value_t = peer_mesh::Config::HOLD.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    hold: u64,

    #[command(flatten)]
    ipalloc: ipalloc::Options,
    /// Addresses of this node in the pods' network, with their networks' prefixes and commas between them, such as 10.32.0.1/12:
    /// host and pods reach each other by them, and pods what is behind the host, masqueraded
    #[arg(long, value_name = "CIDR,..", env = "WEAVE_EXPOSE_IP", value_parser = exposed)]
    expose: Option<Exposed>,

    /// A file with the network's password, the same for all nodes; a final newline does not belong to it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Where name, address book and given peers are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weft")]
    state_dir: PathBuf,

    /// The unix socket for `weft`
    #[arg(long, value_name = "PATH", env = "WEFT_SOCKET", default_value = api::DEFAULT_SOCKET)]
    socket: PathBuf,

    /// Where what is read is also served over HTTP; `off` for nowhere
    #[arg(long, value_name = "ADDR:PORT|off", env = "WEAVE_HTTP_ADDR", default_value = "127.0.0.1:6784", value_parser = http_addr)]
    http_addr: HttpAddr,

    /// Threads for frames, each with a queue of the TAP and sockets of its own [default: half the processors, at least 2
    /// where there are as many, at most 8]
    #[arg(long, value_name = "N", value_parser = queues)]
    queues: Option<usize>,

    /// After a frame, look for the next before sleeping: `adaptive` while it pays, `off` never, or always for so many
    /// microseconds
    #[arg(long, value_name = "adaptive|off|USEC", default_value = "adaptive", value_parser = poll)]
    poll: Poll,

    /// Treat this kernel as having a defect, or as not having it; the log at start names those it is known for
    #[arg(long = "quirk", value_name = "NAME=on|off", value_parser = quirk)]
    quirks: Vec<(&'static Quirk, bool)>,

    /// Octets of memory for the flight recorder's journal, 65536 at least; 0 records nothing
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, value_parser = journal_size)]
    journal_size: usize,

    /// Run a journal (`weft report --journal FILE`) through the same core, print what was decided and why, and exit
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,

    /// Remove what weft has made on this node, and exit: links with the alias `weft`, the tunnel guard, the plan of the last
    /// run. Not while weftd runs
    #[arg(long, conflicts_with = "replay")]
    reset: bool,

    /// With --reset: only print what would be removed
    #[arg(long, requires = "reset")]
    dry_run: bool,

    /// With --reset: also while pods are plugged into the bridge
    #[arg(long, requires = "reset")]
    force: bool,

    /// With --reset: the node's name and the peers it was given, too
    #[arg(long, requires = "reset")]
    all: bool,

    /// How much to log to stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

/// Fewer links than this do not hold a mesh together, more do not fit a record.
const DEGREES: std::ops::RangeInclusive<usize> = 4..=48;

/// What the command line asks for.
pub(crate) enum Command {
    Run(Box<Config>),
    Replay(PathBuf),
    Reset(Reset),
}

/// Whether the kernel is to carry frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FastPath {
    Auto,
    Off,
    Require,
}

/// A value of `--http-addr`.
#[derive(Clone, Copy, Debug)]
struct HttpAddr(Option<SocketAddr>);

/// A value of `--expose`.
#[derive(Clone, Debug)]
struct Exposed(BTreeSet<Cidr>);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) peers: Vec<Endpoint>,
    pub(crate) name: Option<PeerName>,
    pub(crate) nickname: String,
    pub(crate) port: u16,
    /// Unspecified for any of the family.
    pub(crate) local: IpAddr,
    pub(crate) bridge: String,
    pub(crate) tap: String,
    pub(crate) backend: Backend,
    pub(crate) vni: Vni,
    pub(crate) mtu: MtuChoice,
    pub(crate) fastpath: FastPath,
    pub(crate) discovery: bool,
    pub(crate) degree: usize,
    pub(crate) hold: Duration,
    /// `None`: no addresses are managed.
    pub(crate) addressing: Option<Addressing>,
    pub(crate) expose: BTreeSet<Cidr>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) state_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) http_addr: Option<SocketAddr>,
    pub(crate) queues: usize,
    pub(crate) poll: Poll,
    pub(crate) quirks: Vec<&'static Quirk>,
    pub(crate) journal_size: usize,
    pub(crate) log_level: LevelFilter,
}

impl Config {
    /// The UDP port of VXLAN.
    pub(crate) fn vxlan_port(&self) -> u16 {
        // The command line takes ports below the last.
        self.port.saturating_add(1)
    }
}

/// Reads the command line and the environment.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Usage> {
    let args = Args::try_parse_from(args).map_err(Usage::Clap)?;
    if let Some(file) = args.replay {
        return Ok(Command::Replay(file));
    }
    if args.reset {
        let Args { state_dir, socket, dry_run, force, all, .. } = args;
        return Ok(Command::Reset(Reset { state_dir, socket, dry_run, force, all }));
    }
    let (tap, backend) = uplink(&args.bridge, args.tap)?;
    let queues = queues_of(backend, args.queues)?;
    let mut peers = args.peers;
    peers.extend(kube_peers(std::env::var_os("KUBE_PEERS"))?);
    let local = args.local.unwrap_or_else(|| any_address(&peers));
    let addressing = args.ipalloc.check(peers.len())?;
    Ok(Command::Run(Box::new(Config {
        peers,
        name: args.name,
        nickname: args.nickname.unwrap_or_else(host_name),
        port: args.port,
        local,
        bridge: args.bridge,
        tap,
        backend,
        vni: args.vni,
        mtu: args.mtu,
        fastpath: fastpath(args.fastpath)?,
        discovery: !args.no_discovery,
        degree: args.conn_limit,
        hold: Duration::from_secs(args.hold),
        addressing,
        expose: args.expose.map(|it| it.0).unwrap_or_default(),
        password_file: args.password_file,
        state_dir: args.state_dir,
        socket: args.socket,
        http_addr: args.http_addr.0,
        queues,
        poll: args.poll,
        quirks: Quirk::of(Release::running(), &args.quirks),
        journal_size: args.journal_size,
        log_level: args.log_level,
    })))
}

fn kube_peers(text: Option<OsString>) -> Result<Vec<Endpoint>, Usage> {
    let text = text.unwrap_or_default().into_string();
    let text = text.map_err(|_| Usage::Wrong("KUBE_PEERS: that is no text".to_owned()))?;
    let peers = text.split_whitespace().map(str::parse);
    peers.collect::<Result<_, _>>().map_err(|error| Usage::Wrong(format!("KUBE_PEERS: {error}")))
}

fn fastpath(given: Option<FastPath>) -> Result<FastPath, Usage> {
    let off = std::env::var_os("WEAVE_NO_FASTDP").is_some_and(|it| !it.is_empty());
    match given {
        Some(FastPath::Require) if off => Err(Usage::Wrong(
            "--fastpath require, but WEAVE_NO_FASTDP is set: leave out one of them".to_owned(),
        )),
        Some(given) => Ok(given),
        None if off => Ok(FastPath::Off),
        None => Ok(FastPath::Auto),
    }
}

/// The underlay is IPv4, unless all peers that are given by address have IPv6 ones.
fn any_address(peers: &[Endpoint]) -> IpAddr {
    let mut addrs = peers.iter().filter_map(|peer| match peer {
        Endpoint::Addr(addr) => Some(addr.ip()),
        Endpoint::Name { .. } => None,
    });
    match addrs.next() {
        Some(IpAddr::V6(_)) if addrs.all(|addr| addr.is_ipv6()) => Ipv6Addr::UNSPECIFIED.into(),
        Some(_) | None => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn local(text: &str) -> Result<IpAddr, String> {
    let addr: IpAddr = text.parse().map_err(|_| "give an address of this host".to_owned())?;
    if addr.is_unspecified() || is_host(addr) && !addr.is_loopback() {
        Ok(addr)
    } else {
        Err("nobody can be reached there: give an address of this host".into())
    }
}

/// A variable that is empty, or 0 as Weave has it, is how scripts say none.
fn mtu(text: &str) -> Result<MtuChoice, String> {
    if matches!(text, "" | "0") { Ok(MtuChoice::Auto) } else { switch::options::mtu(text) }
}

/// None of them where there is no text: a variable that is empty.
fn exposed(text: &str) -> Result<Exposed, String> {
    let all = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    all.map(exposed_address).collect::<Result<_, _>>().map(Exposed)
}

fn exposed_address(text: &str) -> Result<Cidr, String> {
    let cidr = text.parse().map_err(|error: BadCidr| error.to_string())?;
    for_a_bridge(cidr)
}

/// The same, if a bridge can have it.
pub(crate) fn for_a_bridge(cidr: Cidr) -> Result<Cidr, String> {
    let (addr, alone) =
        (cidr.addr(), cidr.prefix() >= if cidr.addr().is_ipv4() { 31 } else { 127 });
    if !is_host(addr) || addr.is_loopback() || cidr.prefix() == 0 {
        return Err(format!("no bridge can have {cidr}: give an address of the pods' network"));
    }
    if cidr == cidr.network() && !alone {
        return Err(format!("{cidr} is a network: give an address in it, for the bridge"));
    }
    Ok(cidr)
}

fn nickname(text: &str) -> Result<String, String> {
    if text.len() > 64 {
        return Err("a nickname has 64 octets at most".into());
    }
    Ok(text.to_owned())
}

fn conn_limit(text: &str) -> Result<usize, String> {
    if text.is_empty() {
        return Ok(peer_mesh::Config::DEGREE);
    }
    match text.parse() {
        Ok(0) => Ok(*DEGREES.end()),
        Ok(limit) if limit >= *DEGREES.start() => Ok(limit.min(*DEGREES.end())),
        Ok(_) | Err(_) => {
            Err("a mesh holds together with 4 connections or more; 0 for as many as there may be"
                .into())
        }
    }
}

fn http_addr(text: &str) -> Result<HttpAddr, String> {
    if matches!(text, "off" | "") {
        return Ok(HttpAddr(None));
    }
    let addr = text.parse().map(|addr| HttpAddr(Some(addr)));
    addr.map_err(|_| {
        "give an address of this host and a port, such as 127.0.0.1:6784, or `off`".into()
    })
}

fn journal_size(text: &str) -> Result<usize, String> {
    let size =
        text.parse().ok().filter(|size| *size == 0 || (LEAST_LIMIT..=1 << 30).contains(size));
    size.ok_or_else(|| format!("a journal has 0 octets, or {LEAST_LIMIT} to {}", 1 << 30))
}
