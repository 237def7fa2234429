//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use api::Cidr;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Shows what weftd on this node knows and does, and tells it more.
///
/// Exit codes: 0 done; 1 failed, with one line on stderr that says what, why and what to do; 2 usage.
#[derive(Debug, Parser)]
#[command(name = "weft", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Where weftd listens [default: $WEFT_SOCKET, or /run/weft/weft.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// How long weftd may take to answer [default: 10, or 15 for what is about addresses]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The daemon at a glance, or a part of it line by line
    Status {
        #[command(flatten)]
        output: Output,

        #[command(subcommand)]
        what: Option<Part>,
    },
    /// Where stations are: MAC address, peer, path, addresses, and since when
    Fdb {
        #[command(flatten)]
        output: Output,

        /// Only this one, by its MAC address or an address; or all of a peer, by its name or
        /// nickname, or `here` for those of this node
        #[arg(value_name = "MAC|PEER|ADDRESS")]
        wanted: Option<String>,
    },
    /// Connect to peers, also after a restart
    Connect {
        /// Put them in the place of all peers that were given before
        #[arg(long)]
        replace: bool,

        #[command(flatten)]
        peers: Peers,
    },
    /// Connect to peers no longer, also not after a restart
    Forget {
        #[command(flatten)]
        peers: Peers,
    },
    /// Have the other nodes take over the addresses of one that does not come back. On any node, any number of times
    Rmpeer {
        /// Its name or nickname, as in `weft status ipam`
        #[arg(value_name = "PEER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        peer: String,

        /// Also while it is up: it loses its addresses, and its pods with them
        #[arg(long)]
        force: bool,
    },
    /// Give the bridge an address, so that this node and pods reach each other; prints all that it has been given
    Expose {
        /// Which one; if it is not said, one is taken from the default subnet
        #[arg(value_name = "CIDR")]
        address: Option<Cidr>,
    },
    /// Take an address from the bridge again
    Hide {
        /// Which one; if it is not said, all that it was given
        #[arg(value_name = "CIDR")]
        address: Option<Cidr>,
    },
    /// Everything the daemon can tell, as JSON
    Report(Report),
    /// Remove what weft has made on this node: bridge, TAP, vxlan device, tunnel guard, the plan of the last run. Not while
    /// weftd runs. Each thing that was removed is a line
    Reset(Reset),
    /// Plug a container or a network namespace into the network; prints its address. Once more: the same one
    Attach(Attach),
    /// Unplug it, and free its addresses. What is not plugged in is no error
    Detach(Detach),
    /// What is plugged in on this node: container, interface, MAC address, addresses, link of the host, and the pod
    Ps {
        #[command(flatten)]
        output: Output,
    },
    /// Have the container runtimes of this node use weft: puts the CNI plugin and its configuration where they look,
    /// or takes away what it has put there. Each file that has changed is a line
    SetupCni(SetupCni),
    /// The releases of this program and of the daemon
    Version {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Subcommand)]
pub(crate) enum Part {
    /// This node's connections, and those it wants
    Connections,
    /// All peers, and their connections
    Peers,
    /// Where this node looks for peers
    Targets,
    /// The way that frames to each peer take, why, and since when
    Paths,
    /// Who owns which part of the address range, and what is not as it should be
    Ipam,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    /// How to print it: lines for people, or what the daemon said
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct Peers {
    /// `HOST[:PORT]`: an IPv4 address, an IPv6 address (in brackets before a port), or a host name
    #[arg(value_name = "PEER", required = true, value_parser = peer)]
    pub(crate) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Attach {
    #[command(flatten)]
    pub(crate) of: Which,

    /// Give it a default route by this node's bridge, which gets an address for that if it has none
    #[arg(long)]
    pub(crate) default_route: bool,

    /// The interface's MTU; that of the bridge, if it is not said
    #[arg(long, value_name = "OCTETS")]
    pub(crate) mtu: Option<u32>,

    /// Its addresses; if none is said, one is taken from the default subnet
    #[arg(value_name = "CIDR")]
    pub(crate) addresses: Vec<Cidr>,
}

#[derive(Args, Debug)]
pub(crate) struct Detach {
    #[command(flatten)]
    pub(crate) of: Which,
}

#[derive(Args, Debug)]
pub(crate) struct Which {
    /// The network namespace: its path, as /run/netns/NAME, or the number of a process in it
    #[arg(long, value_name = "PATH|PID", required_unless_present = "id")]
    pub(crate) netns: Option<String>,

    /// What to call it, as a container's id; if it is not said, netns- and the namespace's inode
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,

    /// What the interface is called there
    #[arg(long, value_name = "NAME", default_value = "ethwe")]
    pub(crate) ifname: String,
}

#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Only this field: a path of names and numbers with dots, as status.router.peers or
    /// peers.0.name; `*` is every one, as peers.*.name. (Weave took a Go template here)
    #[arg(short = 'f', long = "field", value_name = "FIELD.PATH", conflicts_with = "journal")]
    pub(crate) field: Option<String>,

    /// Write the flight recorder's journal to FILE instead; `-` is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    pub(crate) journal: Option<PathBuf>,

    /// How to print a field; the whole report is always JSON
    #[arg(short = 'o', long = "output", value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
}

#[derive(Args, Debug)]
pub(crate) struct Reset {
    /// Only print what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Also while pods are plugged into the bridge: they lose their network
    #[arg(long)]
    pub(crate) force: bool,

    /// The node's name and the peers it was given, too
    #[arg(long)]
    pub(crate) all: bool,

    /// Where weftd keeps its state, if it was told
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct SetupCni {
    /// Where plugins are
    #[arg(long = "cni-bin", value_name = "DIR", default_value = "/opt/cni/bin")]
    pub(crate) plugins: PathBuf,

    /// Where configurations are
    #[arg(long = "cni-conf", value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(crate) configurations: PathBuf,

    /// Where weftd keeps its state, if not in /var/lib/weft [default: $WEFT_STATE_DIR]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE_DIR", hide_env = true)]
    pub(crate) state_dir: Option<PathBuf>,

    /// Take away what was put there, and nobody else's
    #[arg(long)]
    pub(crate) remove: bool,
}

/// Reads the command line; an error says how it should be.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(args)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.001..=86400.0).contains(&seconds) {
        return Err("not between 0.001 and 86400 seconds".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// What cannot be a peer at all is wrong usage; the rest is for the daemon to say.
fn peer(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || api::is_control(c)) {
        return Err("not HOST[:PORT]".into());
    }
    let port = match text.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => Some((host, port)),
        Some(_) | None => None,
    };
    match port {
        Some(("", _)) => Err("no host before the port".into()),
        Some((_, port)) if port.parse::<u16>().map_or(true, |port| port == 0) => {
            Err("not a port after the last colon: 1 to 65535".into())
        }
        Some(_) | None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_hosts_with_or_without_a_port() {
        for good in
            ["10.0.0.1", "10.0.0.1:6783", "node-1", "node-1:1", "fe80::1", "::1", "[::1]:6783"]
        {
            assert_eq!(peer(good), Ok(good.to_owned()), "{good}");
        }
        for bad in ["", " ", "a b", "node:", "node:0", "node:65536", ":6783", "[::1]:x", "a\u{7}"] {
            assert!(peer(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patience_is_the_apis_unless_it_is_given() {
        let timeout = |args: &[&str]| parse(args.iter().map(OsString::from)).unwrap().timeout;

        assert_eq!(timeout(&["weft", "status"]), None);
        assert_eq!(
            timeout(&["weft", "--timeout", "0.5", "status"]),
            Some(Duration::from_millis(500))
        );
        let help = <Arguments as clap::CommandFactory>::command().render_help().to_string();
        let (usual, addresses) = (api::TIMEOUT.as_secs(), api::ADDRESS_TIMEOUT.as_secs());
        let expected = format!("[default: {usual}, or {addresses} for what is about addresses]");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(&expected), "{help}");
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;

        Arguments::command().debug_assert();
    }
}
