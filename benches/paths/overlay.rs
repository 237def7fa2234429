//! Two nodes with a pod each, joined by the path to be measured.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::ovs::{OuterChecksum, Ovs};
use weft_tests::harness::weftd::{Daemon, cluster};
use weft_tests::harness::{Lab, Node, Pod, PodSpec, Underlay, wait_until};

use crate::flannel;
use crate::switch::{Counted, Counts, Measured};

const VNI: u32 = 6784;
/// The pods' addresses where they are in one network.
const PODS: [&str; 2] = ["10.32.0.1/24", "10.32.0.2/24"];
const PODS6: [&str; 2] = ["fd00:32::1/64", "fd00:32::2/64"];
/// Outer IPv4 20 + UDP 8 + VXLAN 8 + inner Ethernet 14 (RFC 7348 §5).
const OVERHEAD: u32 = 20 + 8 + 8 + 14;
/// How long a path may take to carry its first ping.
const WAIT: Duration = Duration::from_secs(20);

/// A kind of path.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// weft-switch: every frame through userspace.
    Weft,
    /// weftd: the kernel carries what weftd has told it.
    WeftFast,
    /// ... that sleeps whenever nothing is to be done.
    WeftSleeping,
    /// ... without the TAP's offloads.
    WeftPlain,
    /// The kernel's vxlan device in a bridge.
    Kernel,
    /// What Flannel makes of the kernel's vxlan device: routed, a bridge on each node.
    Flannel,
    /// Open vSwitch's userspace datapath.
    Ovs,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Weft,
        Self::WeftFast,
        Self::WeftSleeping,
        Self::WeftPlain,
        Self::Kernel,
        Self::Flannel,
        Self::Ovs,
    ];

    /// Its name in options and in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::WeftFast => "weft-fast",
            Self::WeftSleeping => "weft-poll-off",
            Self::WeftPlain => "weft-plain",
            Self::Kernel => "kernel",
            Self::Flannel => "flannel",
            Self::Ovs => "ovs",
        }
    }

    /// Its name for people.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::WeftFast => "weftd, fast path",
            Self::WeftSleeping => "weft --poll off",
            Self::WeftPlain => "weft --tap plain",
            Self::Kernel => "kernel vxlan",
            Self::Flannel => "Flannel's vxlan",
            Self::Ovs => "Open vSwitch user",
        }
    }

    /// How weft-switch is started for it; `None` when it has none.
    const fn options(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Weft => Some(&[]),
            Self::WeftSleeping => Some(&["--poll", "off"]),
            Self::WeftPlain => Some(&["--tap", "plain"]),
            Self::WeftFast | Self::Kernel | Self::Flannel | Self::Ovs => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("a path is one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// A path that is up. Dropping it takes it down.
#[derive(Debug)]
pub(crate) struct Overlay {
    kind: Kind,
    nodes: [Node; 2],
    pods: [Pod; 2],
    /// Carriers come before the lab, so that they end first.
    switches: Vec<Measured>,
    _daemons: Vec<Daemon>,
    _ovs: Vec<Ovs>,
    _lab: Lab,
}

impl Overlay {
    /// Builds the path on an underlay of this MTU and waits until it carries. `options` are
    /// further ones for weft-switch.
    pub(crate) fn start(kind: Kind, mtu: u32, options: &str) -> Result<Self> {
        let lab = Lab::new(&format!("bench-{kind}-{mtu}"))?;
        let nodes = lab.nodes::<2>(&Underlay::default().mtu(mtu))?;
        let [a, b] = &nodes;
        let pod = |node: &Node, name, cidr, cidr6| {
            node.add_pod(&PodSpec::new(name, cidr).cidr6(cidr6).mtu(mtu - OVERHEAD))
        };
        let [p, q] = if kind == Kind::Flannel { flannel::PODS } else { PODS };
        let [p6, q6] = PODS6;
        let pods = [pod(a, "p", p, p6)?, pod(b, "q", q, q6)?];
        let [p, q] = &pods;
        let (mut switches, mut ovs) = (Vec::new(), Vec::new());
        for (node, peer, pod) in [(a, b, p), (b, a, q)] {
            match kind.options() {
                Some(own) => {
                    let all: Vec<_> = own.iter().copied().chain(options.split(' ')).collect();
                    let all: Vec<_> = all.into_iter().filter(|it| !it.is_empty()).collect();
                    switches.push(Measured::start(node, peer, &all)?);
                    node.plug(pod)?;
                }
                None if kind == Kind::Ovs => ovs.push(open_vswitch(node, peer, pod)?),
                None if kind == Kind::Flannel => flannel::join(node, peer, pod)?,
                None if kind == Kind::WeftFast => {}
                None => {
                    node.kernel_vxlan(&[peer], VNI)?;
                    node.plug(pod)?;
                }
            }
        }
        let daemons = if kind == Kind::WeftFast { fast(&nodes, &pods)? } else { Vec::new() };
        wait_until(WAIT, "a ping across", || p.ping(q.addr(), 1).is_ok_and(|it| it.perfect()))
            .with_context(|| format!("{} does not carry", kind.title()))?;
        if kind == Kind::WeftFast {
            // Each asks once in each family: what is not known of new pods' addresses is listened for, and that costs.
            for (from, to) in [(p, q), (q, p)] {
                from.sh("ip neigh flush all")?;
                ensure!(
                    from.ping(to.addr(), 3)?.received > 0
                        && from.ping(to.addr6()?, 3)?.received > 0
                );
            }
        }
        let mut overlay =
            Self { kind, nodes, pods, switches, _daemons: daemons, _ovs: ovs, _lab: lab };
        // What was lost until now is nobody's.
        overlay.losses()?;
        Ok(overlay)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The pods: traffic goes from the first to the second.
    pub(crate) fn pods(&self) -> &[Pod; 2] {
        &self.pods
    }

    /// An error when a weft-switch has ended: nothing would come across, slowly.
    pub(crate) fn require_switches(&mut self) -> Result<()> {
        self.switches.iter_mut().try_for_each(Measured::require_running)
    }

    /// Processor time of each weft-switch, the sender's first; none on other paths.
    pub(crate) fn switch_time(&self) -> Result<Vec<Duration>> {
        self.switches.iter().map(Measured::time).collect()
    }

    /// Resident memory of the larger weft-switch.
    pub(crate) fn switch_rss_mib(&self) -> Result<Option<f64>> {
        let sizes: Vec<u64> = self.switches.iter().map(Measured::rss_kib).collect::<Result<_>>()?;
        let largest = sizes.into_iter().max();
        Ok(largest.and_then(|kib| u32::try_from(kib).ok()).map(|kib| f64::from(kib) / 1024.0))
    }

    /// What the switches have counted as lost since this was last called, by the pod whose node
    /// it was lost on, and what one has sent and the other has not seen.
    pub(crate) fn losses(&mut self) -> Result<Counts> {
        let counted = self.switches.iter_mut().map(Measured::count).collect::<Result<Vec<_>>>();
        let counted = counted.with_context(|| format!("counters of {}", self.kind.title()))?;
        let mut all = Counts::new();
        for (side, Counted { losses, .. }) in ["sender", "receiver"].into_iter().zip(&counted) {
            all.extend(losses.iter().map(|(name, count)| (format!("{side} {name}"), *count)));
        }
        if let [one, two] = counted.as_slice() {
            for (way, from, to) in [("to receiver", one, two), ("to sender", two, one)] {
                let unseen = from.sent.saturating_sub(to.received);
                all.extend((unseen > 0).then(|| (format!("between switches {way}"), unseen)));
            }
        }
        Ok(all)
    }

    /// `bridge-nf-call-*` of the nodes: whether bridged frames pass netfilter costs a lot.
    pub(crate) fn filters(&self) -> Result<BTreeMap<String, String>> {
        let [one, two] = &self.nodes;
        let (one, two) = (filters_of(one)?, filters_of(two)?);
        ensure!(one == two, "bridge-nf-call-* differs between two nodes: {one:?}, {two:?}");
        Ok(one)
    }
}

/// Two daemons that have the kernel carry everything.
fn fast(nodes: &[Node; 2], pods: &[Pod; 2]) -> Result<Vec<Daemon>> {
    let daemons = cluster(nodes, &["--fastpath", "require"])?;
    for (daemon, far) in daemons.iter().zip(daemons.iter().rev()) {
        daemon.wait_for_path(far.name(), WAIT, |path| path.kind == "fast")?;
    }
    nodes.iter().zip(pods).try_for_each(|(node, pod)| node.plug(pod))?;
    Ok(daemons)
}

fn open_vswitch(node: &Node, peer: &Node, pod: &Pod) -> Result<Ovs> {
    let ovs = Ovs::start(node, &[peer], VNI, OuterChecksum::Off)?;
    ovs.plug(pod)?;
    Ok(ovs)
}

/// None when the kernel has no br_netfilter.
fn filters_of(node: &Node) -> Result<BTreeMap<String, String>> {
    let said = node.sh("for each in /proc/sys/net/bridge/bridge-nf-call-*; do
             if [ -e \"$each\" ]; then echo \"${each##*/} $(cat \"$each\")\"; fi
         done")?;
    let lines = said.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
