//! Open vSwitch on a node of the lab: its userspace datapath, with no kernel module.
//!
//! ```text
//!  pod ==veth== [ bridge weave ] -- vx1, vx2, ..     the overlay; a vxlan port for each peer
//!                                      :
//!            [ bridge underlay, the node's address ] ==AF_PACKET== eth0
//! ```
//! A vxlan port of the userspace datapath sends through whichever bridge has the route to its
//! peer, so the node's address moves from `eth0` to a bridge that `eth0` is a port of. The kernel
//! would still answer what comes in by `eth0`, beside Open vSwitch: a rule behind the packet
//! sockets drops it all. This is the arrangement of Open vSwitch's own system tests.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::host::Host;
use super::node::Node;
use super::pod::Pod;
use super::proc::Proc;
use super::wait::poll;

/// How long the daemons may take to come up, and to carry out a change.
const WAIT: Duration = Duration::from_secs(20);
/// UDP port of weft.
const PORT: u16 = 6784;
/// Where the package puts the schema of the configuration.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// The bridge that has the node's address.
const UNDERLAY: &str = "underlay";
/// The bridge that pods are plugged into, named as everywhere.
const OVERLAY: &str = "weave";

/// The kernel's own stack hears nothing from `eth0`.
const SHUT: &str = "add table netdev ovs; \
    add chain netdev ovs eth0 { type filter hook ingress device eth0 priority 0; policy drop; }";
/// Undone; adding first makes deleting succeed when there is nothing to undo.
const OPEN: &str = "add table netdev ovs; delete table netdev ovs";

/// Whether tunnel packets carry an outer UDP checksum; Open vSwitch leaves it zero over IPv4
/// unless told otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OuterChecksum {
    /// Computed.
    On,
    /// Zero: there is none.
    Off,
}

/// A running Open vSwitch. Dropping it ends it and gives the node its address back.
///
/// It takes no packet whose checksum was left to a network card, and none longer than a link
/// carries: plug pods with [`Ovs::plug`], which makes them finish their packets, and use an
/// underlay without offload, unless all its nodes send with [`OuterChecksum::Off`].
#[derive(Debug)]
pub struct Ovs {
    node: Node,
    vsctl: String,
    appctl: String,
    switchd: Proc,
    database: Proc,
}

impl Ovs {
    /// Starts it on `node` with a tunnel to each peer, and waits until it switches. What comes
    /// from one peer goes to no other.
    pub fn start(node: &Node, peers: &[&Node], vni: u32, checksum: OuterChecksum) -> Result<Self> {
        let ovs = Self::launch(node)?;
        ovs.lay_under()?;
        ovs.vsctl(&format!("add-br {OVERLAY} -- set bridge {OVERLAY} datapath_type=netdev"))?;
        for (number, peer) in (1..).zip(peers) {
            ovs.add_tunnel(&format!("vx{number}"), peer, vni, checksum)?;
        }
        Ok(ovs)
    }

    /// Makes the pod's host end a port of the overlay bridge.
    pub fn plug(&self, pod: &Pod) -> Result<()> {
        // Both directions of the veth: what it sends must be whole, too.
        pod.run(&["ethtool", "-K", "eth0", "tx", "off"])?;
        self.vsctl(&format!("add-port {OVERLAY} {}", pod.host_if()))
    }

    /// What `ovs-appctl` says to these words, such as `fdb/show weave`.
    pub fn appctl(&self, words: &str) -> Result<String> {
        let argv = ["ovs-appctl", "--timeout=10", "-t", &self.appctl];
        self.node.run(&argv.into_iter().chain(words.split(' ')).collect::<Vec<_>>())
    }

    /// Runs `ovs-vsctl` with these words; the change is in effect when this returns.
    pub fn vsctl(&self, words: &str) -> Result<()> {
        vsctl(&self.node, &self.vsctl, words)
    }

    fn launch(node: &Node) -> Result<Self> {
        let dir = node.run.log_base("ovs").with_extension("d");
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = |name: &str| text(&dir.join(name));
        let (config, socket) = (path("conf.db")?, format!("unix:{}", path("db.sock")?));
        let rundir = [("OVS_RUNDIR", &*text(&dir)?)];
        node.run(&["ovsdb-tool", "create", &config, SCHEMA])?;
        let options = |name: &str| -> Result<Vec<String>> {
            let [pid, ctl, log] = ["pid", "ctl", "log"].map(|it| path(&format!("{name}.{it}")));
            Ok(vec![
                format!("--pidfile={}", pid?),
                format!("--unixctl={}", ctl?),
                format!("--log-file={}", log?),
            ])
        };
        let remote = format!("--remote=p{socket}");
        let mut argv = vec!["ovsdb-server".into(), config, remote];
        argv.extend(options("db")?);
        let mut database = node.spawn_env(&rundir, &words(&argv))?;
        appears(&mut database, &dir.join("db.sock"))?;
        vsctl(node, &socket, "--no-wait init")?;
        let mut argv = vec!["ovs-vswitchd".into(), socket.clone()];
        argv.extend(options("switchd")?);
        let mut switchd = node.spawn_env(&rundir, &words(&argv))?;
        appears(&mut switchd, &dir.join("switchd.ctl"))?;
        let appctl = path("switchd.ctl")?;
        Ok(Self { node: node.clone(), vsctl: socket, appctl, switchd, database })
    }

    /// Moves the node's address to a bridge that `eth0` is a port of.
    fn lay_under(&self) -> Result<()> {
        let node = &self.node;
        node.run(&["nft", SHUT])?;
        let cidr = cidr(node.addr());
        node.ip(&format!("addr del {cidr} dev eth0"))?;
        // With eth0's MAC: others may know the node by it already.
        self.vsctl(&format!(
            "add-br {UNDERLAY} -- set bridge {UNDERLAY} datapath_type=netdev \
             other-config:hwaddr={} -- add-port {UNDERLAY} eth0",
            node.mac()?
        ))?;
        node.ip(&format!("link set {UNDERLAY} up"))?;
        node.ip(&format!("addr add {cidr} dev {UNDERLAY}{}", nodad(node.addr())))?;
        self.wait_for("ovs/route/show", UNDERLAY)
    }

    fn add_tunnel(&self, name: &str, peer: &Node, vni: u32, checksum: OuterChecksum) -> Result<()> {
        let remote = peer.addr();
        let csum = checksum == OuterChecksum::On;
        self.vsctl(&format!(
            "add-port {OVERLAY} {name} -- set interface {name} type=vxlan \
             options:remote_ip=\"{remote}\" options:key={vni} options:dst_port={PORT} \
             options:csum={csum} -- set port {name} protected=true"
        ))?;
        // Its own ARP loses the first packet.
        self.appctl(&format!("tnl/neigh/set {UNDERLAY} {remote} {}", peer.mac()?))?;
        Ok(())
    }

    /// Waits until `ovs-appctl` with these words mentions something.
    fn wait_for(&self, words: &str, mention: &str) -> Result<()> {
        let mut said = String::new();
        let found = poll(WAIT, || {
            said = self.appctl(words)?;
            Ok(said.contains(mention).then_some(()))
        })?;
        found.with_context(|| format!("{words} does not mention {mention}: {said}"))
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        // The daemon that talks to the other one first. Their devices go with them.
        let ended = self.switchd.kill().and_then(|_status| self.database.kill());
        let addr = self.node.addr();
        let back = format!("addr replace {} dev eth0{}", cidr(addr), nodad(addr));
        let undone = [
            ended.map(drop),
            self.node.run(&["nft", OPEN]).map(drop),
            self.node.ip(&back).map(drop),
        ];
        for error in undone.into_iter().filter_map(Result::err) {
            eprintln!("lab: {error:#}");
        }
    }
}

fn vsctl(node: &Host, socket: &str, words: &str) -> Result<()> {
    let db = format!("--db={socket}");
    let argv = ["ovs-vsctl", "--timeout=10", &db];
    node.run(&argv.into_iter().chain(words.split_whitespace()).collect::<Vec<_>>()).map(drop)
}

/// Waits for a daemon's socket.
fn appears(daemon: &mut Proc, socket: &Path) -> Result<()> {
    let found = poll(WAIT, || Ok((socket.exists() || !daemon.running()).then_some(())))?;
    found.filter(|()| daemon.running()).with_context(|| {
        format!("no {} from `{}`{}", socket.display(), daemon.label(), daemon.quote())
    })
}

/// The node's address as the underlay assigns it.
fn cidr(addr: IpAddr) -> String {
    if addr.is_ipv4() { format!("{addr}/24") } else { format!("{addr}/64") }
}

fn nodad(addr: IpAddr) -> &'static str {
    if addr.is_ipv4() { "" } else { " nodad" }
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("the lab's directory is no text")?.to_owned())
}

fn words(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).collect()
}
