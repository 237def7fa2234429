//! The command line.

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use peer_mesh::shell::Endpoint;
use peer_mesh::{Config, PeerName};
use tracing::level_filters::LevelFilter;

/// A peer of weft's gossip mesh, by itself: prints who is there, and what happens.
///
/// The mesh's password, if it has one, is in the environment variable WEAVE_PASSWORD or in a file. SIGUSR1
/// prints everything there is to see. SIGTERM, SIGINT and SIGHUP leave the mesh. Exit codes: 0 left, 1 failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "mesh")]
pub(crate) struct Args {
    /// Peers to start with: an address or a name, and the port if it is not 6783
    #[arg(value_name = "PEER")]
    pub(crate) peers: Vec<Endpoint>,

    /// This peer's name, such as 02:00:00:00:00:01 [default: the stored one, else the machine's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<PeerName>,

    /// What people call this peer [default: the host's name]
    #[arg(long, value_name = "TEXT", value_parser = nickname)]
    pub(crate) nickname: Option<String>,

    /// The TCP port to listen on
    #[arg(long, value_name = "N", default_value_t = Config::PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    /// The address to listen on, and the one that others are told of
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED), hide_default_value = true, value_parser = host)]
    pub(crate) listen: IpAddr,

    /// Where the name, the count of starts and the address book are kept [default: nowhere]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// A file with the mesh's password, the same for all peers; a final newline does not belong to it
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// Dial only the given peers, not those that they tell of
    #[arg(long)]
    pub(crate) no_discovery: bool,

    /// Links to keep
    #[arg(long, value_name = "N", default_value_t = Config::DEGREE as u64, value_parser = clap::value_parser!(u64).range(4..=48))]
    pub(crate) degree: u64,

    /// A silent peer is gone after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = Config::HOLD.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) hold: u64,

    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// Print everything there is to see every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    pub(crate) status: Option<Duration>,

    /// How much to log to stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LevelFilter,
}

/// Why the command line was not accepted, or that help was asked for.
pub(crate) struct Usage(clap::Error);

impl Usage {
    /// Prints help to stdout, or one line to stderr; exit code 0 or 2.
    pub(crate) fn exit(&self) -> ExitCode {
        if !self.0.use_stderr() {
            drop(self.0.print());
            return ExitCode::SUCCESS;
        }
        let text = self.0.render().to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let what: Vec<_> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
        let what = what.join("; ").replace(":; ", ": ").replace(".; ", ". ");
        let what = what.strip_prefix("error: ").unwrap_or(&what);
        let what = what
            .strip_suffix("For more information, try '--help'.")
            .unwrap_or(what)
            .trim_end_matches([' ', ';']);
        drop(writeln!(std::io::stderr(), "mesh: {what}; see mesh --help"));
        ExitCode::from(2)
    }
}

/// Reads the command line.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, Usage> {
    Args::try_parse_from(args).map_err(Usage)
}

fn host(text: &str) -> Result<IpAddr, String> {
    let addr: IpAddr = text.parse().map_err(|_| "give an address of this host".to_owned())?;
    if addr.is_multicast() || addr == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        return Err("nobody can be reached there: give an address of this host".into());
    }
    Ok(addr)
}

fn nickname(text: &str) -> Result<String, String> {
    if text.len() > 64 {
        return Err("a nickname has 64 octets at most".into());
    }
    Ok(text.to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.05..=86400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give seconds, 0.05 at least".into())
}
