//! Two nodes with a pod each, joined by the path to be measured.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::ovs::{OuterChecksum, Ovs};
use weft_tests::harness::weft::Switch;
use weft_tests::harness::{Lab, Node, Pod, Proc, Underlay, wait_until};

const VNI: u32 = 6784;
/// How long a path may take to carry its first ping.
const WAIT: Duration = Duration::from_secs(20);

/// A kind of path.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// weft-switch: every frame through userspace.
    Weft,
    /// The kernel's vxlan device in a bridge.
    Kernel,
    /// Open vSwitch's userspace datapath.
    Ovs,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Weft, Self::Kernel, Self::Ovs];

    /// Its name in options and in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::Kernel => "kernel",
            Self::Ovs => "ovs",
        }
    }

    /// Its name for people.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Weft => "weft user path",
            Self::Kernel => "kernel vxlan",
            Self::Ovs => "Open vSwitch user",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| "a path is weft, kernel or ovs".into())
    }
}

/// A path that is up. Dropping it takes it down.
#[derive(Debug)]
pub(crate) struct Overlay {
    kind: Kind,
    nodes: [Node; 2],
    pods: [Pod; 2],
    /// Before the lab, so that they end first.
    _carriers: Vec<Carrier>,
    _lab: Lab,
}

/// What carries a path, beside the kernel.
#[derive(Debug)]
#[expect(dead_code, reason = "guards: they are only ever dropped")]
enum Carrier {
    Weft(Proc),
    Ovs(Ovs),
}

impl Overlay {
    /// Builds the path and waits until it carries.
    pub(crate) fn start(kind: Kind) -> Result<Self> {
        let lab = Lab::new(&format!("bench-{kind}"))?;
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let [a, b] = &nodes;
        let pods = [a.pod("p", "10.32.0.1/24")?, b.pod("q", "10.32.0.2/24")?];
        let [p, q] = &pods;
        let mut carriers = Vec::new();
        for (node, peer, pod) in [(a, b, p), (b, a, q)] {
            carriers.extend(carry(kind, node, peer, pod)?);
        }
        wait_until(WAIT, "a ping across", || p.ping(q.addr(), 1).is_ok_and(|it| it.perfect()))
            .with_context(|| format!("{} does not carry", kind.title()))?;
        Ok(Self { kind, nodes, pods, _carriers: carriers, _lab: lab })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The pods: traffic goes from the first to the second.
    pub(crate) fn pods(&self) -> &[Pod; 2] {
        &self.pods
    }

    /// `bridge-nf-call-*` of the nodes: whether bridged frames pass netfilter costs a lot.
    pub(crate) fn filters(&self) -> Result<BTreeMap<String, String>> {
        let [one, two] = &self.nodes;
        let (one, two) = (filters_of(one)?, filters_of(two)?);
        ensure!(one == two, "bridge-nf-call-* differs between two nodes: {one:?}, {two:?}");
        Ok(one)
    }
}

fn carry(kind: Kind, node: &Node, peer: &Node, pod: &Pod) -> Result<Option<Carrier>> {
    let carrier = match kind {
        Kind::Weft => Some(Carrier::Weft(weft(node, peer)?)),
        Kind::Kernel => {
            node.kernel_vxlan(&[peer], VNI)?;
            None
        }
        Kind::Ovs => {
            let ovs = Ovs::start(node, &[peer], VNI, OuterChecksum::Off)?;
            ovs.plug(pod)?;
            return Ok(Some(Carrier::Ovs(ovs)));
        }
    };
    node.plug(pod)?;
    Ok(carrier)
}

/// As an operator starts it: no statistics.
fn weft(node: &Node, peer: &Node) -> Result<Proc> {
    let (local, peer) = (node.addr().to_string(), peer.addr().to_string());
    let mut switch = Switch::spawn_raw(node, &["--local", &local, "--peer", &peer])?;
    switch.wait_for_line("switching", WAIT)?;
    Ok(switch)
}

/// None when the kernel has no br_netfilter.
fn filters_of(node: &Node) -> Result<BTreeMap<String, String>> {
    let said = node.sh("for each in /proc/sys/net/bridge/bridge-nf-call-*; do
             if [ -e \"$each\" ]; then echo \"${each##*/} $(cat \"$each\")\"; fi
         done")?;
    let lines = said.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
