//! The kernel's vxlan device as the bridge's second uplink, between real network namespaces: the device
//! itself, what it is told, and frames that cross it.

#[path = "fastpath/device.rs"]
mod device;
#[path = "fastpath/mended.rs"]
mod mended;
#[path = "fastpath/moves.rs"]
mod moves;
#[path = "fastpath/ports.rs"]
mod ports;
#[path = "fastpath/probes.rs"]
mod probes;
#[path = "fastpath/programmed.rs"]
mod programmed;
#[path = "fastpath/strays.rs"]
mod strays;
#[path = "fastpath/traffic.rs"]
mod traffic;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use switch::{
    Applied, Backend, Change, Entries, FastSpec, FastState, Fdb, Installed, KernelTap, Kind, Mac,
    Mtu, Spec, Station, Uplink, Vni, Wiring, WiringError, path_mtu,
};
use weft_tests::harness::{Deadline, Lab, Node, Underlay};

/// Not the port that programs of these tests have sockets on: the kernel has this one for itself.
const PORT: u16 = 6785;
const NAME: &str = "vxlan-6785";
const WAIT: Duration = Duration::from_secs(10);

/// A node with bridge, TAP and vxlan device, as weft makes them.
struct Wired {
    node: Node,
    wiring: Wiring,
    /// Open, so that the port forwards.
    _taps: Vec<KernelTap>,
    installed: Installed,
}

impl Wired {
    async fn make(node: &Node) -> Result<Self> {
        Self::make_as(node, spec(node)?).await
    }

    async fn make_as(node: &Node, spec: Spec) -> Result<Self> {
        let mut wiring = Wiring::new(spec)?;
        let deadline = Deadline::after(WAIT);
        loop {
            match wiring.install().await {
                Ok((taps, installed)) => {
                    return Ok(Self { node: node.clone(), wiring, _taps: taps, installed });
                }
                // A child that another test was just starting had our descriptor for a moment.
                Err(WiringError::Busy(_)) if !deadline.passed() => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fdb(&self) -> Result<Fdb> {
        let Installed { bridge, tap, fast, .. } = self.installed;
        Ok(Fdb::open(bridge, tap, Some(fast.index().context("no vxlan device")?))?)
    }

    /// What the last look has done to the vxlan device.
    fn done(&self) -> Vec<Change> {
        done_to_device(&self.installed)
    }

    async fn reconcile(&mut self) -> Result<Vec<Change>> {
        self.installed = self.wiring.reconcile().await?;
        Ok(self.done())
    }

    /// That the vxlan device is up and needs nothing.
    async fn is_settled(&mut self) -> Result<()> {
        let done = self.reconcile().await?;
        ensure!(done.is_empty(), "{done:?}");
        ensure!(self.installed.fast.index().is_some(), "{:?}", self.installed.fast);
        check_device(&self.node)
    }
}

fn done_to_device(installed: &Installed) -> Vec<Change> {
    let of_device = |change: &Change| format!("{change:?}").starts_with("Fast");
    installed.done.iter().copied().filter(of_device).collect()
}

fn spec(node: &Node) -> Result<Spec> {
    let addr = node.addr();
    Ok(Spec {
        bridge: "weave".into(),
        tap: "weave-tap".into(),
        backend: Backend::Auto,
        queues: 1,
        mac: mac_of(node),
        mtu: Mtu::over(path_mtu(addr, addr)?.min(1500), addr).context("an MTU")?,
        learning: false,
        neigh_suppress: true,
        fast: Some(FastSpec::new(Vni::DEFAULT, PORT, addr.is_ipv6())),
    })
}

/// The address of a node's bridge.
fn mac_of(node: &Node) -> Mac {
    let [.., last] = match node.addr() {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    };
    Mac::local(0x77_0000_0000 | u64::from(last))
}

/// That the vxlan device is exactly as it has to be.
fn check_device(node: &Node) -> Result<()> {
    let link = json(node, &["ip", "-j", "-d", "link", "show", "dev", NAME])?;
    let port = json(node, &["bridge", "-j", "-d", "link", "show", "dev", NAME])?;
    let at = |it: &Value, path: &str| it.pointer(path).cloned().unwrap_or_default();
    for (path, wanted) in [
        ("/linkinfo/info_kind", "vxlan".into()),
        ("/linkinfo/info_data/id", 6784.into()),
        ("/linkinfo/info_data/port", PORT.into()),
        ("/linkinfo/info_data/learning", false.into()),
        ("/linkinfo/info_data/df", "inherit".into()),
        ("/linkinfo/info_data/udp_csum", true.into()),
        ("/linkinfo/info_data/udp_zero_csum6_tx", false.into()),
        ("/linkinfo/info_data/link", Value::Null),
        ("/linkinfo/info_data/local", Value::Null),
        ("/linkinfo/info_data/local6", Value::Null),
        ("/linkinfo/info_data/remote", Value::Null),
        ("/linkinfo/info_data/group", Value::Null),
        ("/linkinfo/info_data/external", Value::Null),
        ("/mtu", 65_000.into()),
        ("/ifalias", "weft".into()),
        ("/master", "weave".into()),
        ("/inet6_addr_gen_mode", "none".into()),
    ] {
        ensure!(at(&link, path) == wanted, "{path} is {}, not {wanted}: {link}", at(&link, path));
    }
    for (path, wanted) in [("/isolated", true), ("/learning", false), ("/neigh_suppress", true)] {
        ensure!(at(&port, path) == wanted, "{path}: {port}");
    }
    let flags = at(&link, "/flags");
    ensure!(flags.as_array().is_some_and(|it| it.contains(&"UP".into())), "{flags}");
    let tap = json(node, &["ip", "-j", "link", "show", "dev", "weave-tap"])?;
    ensure!(at(&tap, "/address") != at(&link, "/address"), "{link}");
    let v6 = node.sh(&format!("grep -ci ':{PORT:04X} ' /proc/net/udp6 || true"))?;
    ensure!((v6.trim() == "1") == node.addr().is_ipv6(), "{v6} sockets of IPv6");
    Ok(())
}

/// The only object in what a command says.
fn json(node: &Node, argv: &[&str]) -> Result<Value> {
    let said = node.run(argv)?;
    let rows: Vec<Value> = serde_json::from_str(&said)?;
    let [row] = rows.try_into().map_err(|rows| anyhow::anyhow!("{argv:?}: {rows:?}"))?;
    Ok(row)
}

/// What a node's kernel is to know of stations of one other node.
fn entries(stations: &[Mac], uplink: Uplink, node: IpAddr) -> Entries {
    let station = Station { kind: Kind::Announced, uplink };
    Entries {
        stations: stations.iter().map(|mac| (*mac, station)).collect(),
        remotes: stations.iter().map(|mac| (*mac, node)).collect(),
        floods: BTreeSet::from([node]),
        ..Entries::default()
    }
}

fn done(applied: &Applied, edits: usize) -> Result<()> {
    ensure!(applied.refused.is_empty(), "{applied:?}");
    ensure!(applied.done == edits, "{} of {edits}", applied.done);
    Ok(())
}

/// Runs `body` inside the first of two nodes, for each kind of underlay.
fn on_both_underlays(name: &str, body: impl Fn(&[Node; 2]) -> Result<()>) {
    for underlay in [Underlay::default(), Underlay::v6()] {
        let outcome = Lab::with(name, |lab| body(&lab.nodes(&underlay)?));
        if let Err(error) = outcome {
            panic!("{underlay:?}: {error:#}");
        }
    }
}

/// Runs `body` inside a node.
fn alone(name: &str, body: impl AsyncFnOnce(&Node) -> Result<()> + Send) {
    let outcome = Lab::with(name, |lab| {
        let [node] = lab.nodes(&Underlay::default())?;
        let own = node.clone();
        node.inside(async || body(&own).await)
    });
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}
