//! Who receives VXLAN: the kernel's device, or the process while somebody else has the port.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use router::guard::{Config, Damage, Guard, Receive};
use serde_json::Value;
use weft_tests::harness::weft::{counter, pods};
use weft_tests::harness::{
    Flow, Lab, Node, Pace, Pod, Proc, Signal, Stopwatch, Underlay, beside, bin, pause, serial,
    wait_until,
};

use super::{SETTLE, SLEEVE, VXLAN, heard, marked, packets, send};

const WAIT: Duration = Duration::from_secs(10);
/// Of numbered frames, a second.
const RATE: u32 = 20_000;
/// How often receiving is switched to the process and back.
const SWITCHES: u32 = 20;
/// With each of the two, before the next switch.
const STAY: Duration = Duration::from_millis(100);
/// How long a flood of numbers lasts: longer than switching does.
const SECONDS: u32 = 15;

#[test]
fn no_frame_is_lost_late_or_twice_while_receiving_is_switched_twenty_times() {
    let _turn = serial().unwrap();
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("receive-switch", |lab| {
            let mut it = Receiving::new(lab, &underlay)?;
            it.add_device()?;
            let numbers = it.numbers(SECONDS)?;
            let (kernel, user) = (it.by_kernel()?, it.by_process()?);

            let watch = Stopwatch::start();
            for _ in 0..SWITCHES {
                it.set(Receive::User)?;
                pause(STAY);
                it.set(Receive::Kernel)?;
                pause(STAY);
            }
            let took = watch.elapsed();

            let (kernel, user) = (it.by_kernel()? - kernel, it.by_process()? - user);
            let outcome = numbers.end()?;
            eprintln!(
                "{:?}: {SWITCHES} times there and back in {} ms: {outcome}; {kernel} frames by the \
                 kernel, {user} by the process meanwhile",
                underlay.family,
                took.as_millis()
            );
            ensure!(kernel > 10_000 && user > 10_000, "one of them received nothing");
            ensure!(outcome.perfect(), "{outcome}");
            ensure!(it.tally()?.to_receiver.packets == 0);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn when_the_process_dies_the_kernel_receives_by_itself() {
    let _turn = serial().unwrap();
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("receive-death", |lab| {
            let mut it = Receiving::new(lab, &underlay)?;
            it.add_device()?;
            it.set(Receive::User)?;
            let numbers = it.numbers(4)?;
            let kernel = it.by_kernel()?;
            pause(STAY);
            ensure!(it.by_process()? > 100, "the process receives nothing");

            it.switch.signal(Signal::SIGKILL)?;

            let outcome = numbers.end()?;
            let kernel = it.by_kernel()? - kernel;
            eprintln!("{:?}: killed: {outcome}; {kernel} by the kernel", underlay.family);
            ensure!(kernel > u64::from(RATE), "the kernel receives nothing");
            // What lay in the dead one's socket and TAP.
            ensure!(outcome.lost < RATE.into() && outcome.twice == 0, "{outcome}");
            let damage = it.verify()?;
            ensure!(damage.is_none(), "{damage:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn vxlan_is_received_while_another_process_has_its_port_and_lo_is_left_to_that_one() {
    let _turn = beside().unwrap();
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("receive-busy", |lab| {
            let mut it = Receiving::new(lab, &underlay)?;
            let any = if it.node.addr().is_ipv4() { "0.0.0.0" } else { "::" };
            let other = it.node.inside(async || Ok(UdpSocket::bind((any, VXLAN))?))?;

            it.post(5)?;
            pause(SETTLE);
            ensure!((heard(&other)?, it.by_process()?) == (5, 0));
            it.set(Receive::User)?;
            // A worker for each flow, by the port that it comes from.
            (0..32).try_for_each(|_| it.post(1))?;
            pause(SETTLE);
            let given = it.given()?;
            eprintln!("{:?}: received by the workers: {given:?}", underlay.family);
            ensure!(heard(&other)? == 0 && given.iter().sum::<u64>() == 32, "{given:?}");
            ensure!(given.iter().all(|frames| *frames > 0), "{given:?}");

            let peer = &it.peer;
            let own: [IpAddr; 2] =
                [it.node.addr(), if any == "::" { "::1".parse()? } else { "127.0.0.1".parse()? }];
            own.iter().try_for_each(|addr| marked(&it.node, *addr, 5))?;
            ensure!(heard(&other)? == 10, "the node itself, by lo");
            // The peer that is no longer one is a stranger in this mode, too.
            let before = it.tally()?;
            let guard = &mut it.guard;
            it.node.inside(async || Ok(guard.set_peers(&BTreeSet::new()).await?))?;
            send(peer, it.node.addr(), VXLAN, 10)?;
            let after = it.tally()?;
            let strangers = packets(after.vxlan_strangers) - packets(before.vxlan_strangers);
            ensure!(strangers == 10, "{after:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn what_is_sent_straight_to_the_transparent_socket_is_dropped_as_long_as_it_is_there() {
    let _turn = beside().unwrap();
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("receive-direct", |lab| {
            let mut it = Receiving::new(lab, &underlay)?;
            let (port, addr) = (it.port, it.node.addr());
            it.set(Receive::User)?;

            send(&it.peer, addr, port, 10)?;
            send(&it.node, addr, port, 5)?;
            pause(SETTLE);
            let tally = it.tally()?;
            ensure!(packets(tally.to_receiver) == 15, "{tally:?}");
            let last = it.counters()?;
            for reason in ["runt", "unknown_vtep"] {
                ensure!(counter(&last, &format!("/drops/{reason}"))? == 0, "{last}");
            }

            // Whom the kernel gives the port next is no business of ours.
            it.switch.kill()?;
            let any = if addr.is_ipv4() { "0.0.0.0" } else { "::" };
            let next = it.node.inside(async || Ok(UdpSocket::bind((any, port))?))?;
            send(&it.peer, addr, port, 10)?;
            pause(SETTLE);
            ensure!(heard(&next)? == 10);
            ensure!(packets(it.tally()?.to_receiver) == 15);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn what_others_have_done_to_the_rules_for_receiving_is_mended() {
    let _turn = beside().unwrap();
    Lab::with("receive-mend", |lab| {
        let mut it = Receiving::new(lab, &Underlay::default())?;
        it.add_device()?;
        it.set(Receive::User)?;
        for (harm, damage) in [
            ("flush chain inet weft receive", Damage::Rules),
            ("delete table inet weft", Damage::Gone),
            ("flush ruleset", Damage::Gone),
        ] {
            it.node.run(&["nft", harm])?;
            let found = it.verify()?;
            ensure!(found == Some(damage), "{harm}: {found:?}");
            ensure!(it.verify()?.is_none(), "{harm}");
            let before = it.by_process()?;
            it.post(10)?;
            pause(SETTLE);
            ensure!(it.by_process()? == before + 10, "{harm}");
        }

        // Without the table there is nothing to switch: it is made.
        it.node.run(&["nft", "delete table inet weft"])?;
        it.set(Receive::Kernel)?;
        let (kernel, user) = (it.by_kernel()?, it.by_process()?);
        it.post(10)?;
        pause(SETTLE);
        ensure!((it.by_kernel()?, it.by_process()?) == (kernel + 10, user));
        ensure!(it.verify()?.is_none());

        // A daemon that starts anew has the kernel receive, whoever did before.
        it.set(Receive::User)?;
        it.guard = guarded(&it.node, None, &it.peer)?;
        it.post(10)?;
        pause(SETTLE);
        ensure!((it.by_kernel()?, it.by_process()?) == (kernel + 20, user));
        ensure!(it.set(Receive::User).is_err(), "no socket");
        let (guard, port) = (&mut it.guard, it.port);
        it.node.inside(async || {
            guard.set_receiver(Some(port)).await?;
            Ok(guard.set_receive(Receive::User).await?)
        })?;
        it.post(10)?;
        pause(SETTLE);
        ensure!((it.by_kernel()?, it.by_process()?) == (kernel + 20, user + 10));

        ensure!(it.node.inside(async || Ok(Guard::remove().await?))?);
        let left = it.node.run(&["nft", "list", "tables"])?;
        ensure!(!left.contains("weft"), "{left}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn large_transfers_and_pings_cross_whoever_receives() {
    let _turn = serial().unwrap();
    for underlay in [Underlay::default(), Underlay::v6(), Underlay::default().offload(false)] {
        Lab::with("receive-bulk", |lab| {
            let mut it = Receiving::new(lab, &underlay)?;
            it.add_device()?;
            let far = it.peer.addr();
            it.node.sh(&format!(
                "bridge fdb append 00:00:00:00:00:00 dev vxlan-6784 dst {far}
                 bridge fdb replace {} dev vxlan-6784 master static",
                it.far.mac()
            ))?;
            for receive in [Receive::User, Receive::Kernel] {
                it.set(receive)?;
                let (near, far) = (&it.near, &it.far);

                let transfer = weft_tests::harness::transfer(far, near, 50_000_000)?;
                eprintln!("{receive:?}: 50 MB in {:.2} s", transfer.secs);
                ensure!(transfer.intact(), "{transfer:?}");
                let ping = far.ping(near.addr(), 20)?;
                ensure!(ping.perfect(), "{ping:?}");
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn whether_tproxy_is_to_be_had_is_tried_without_a_trace() {
    let _turn = beside().unwrap();
    Lab::with("receive-check", |lab| {
        let [one] = lab.nodes(&Underlay::default())?;
        let config = Config::new("weave", SLEEVE, VXLAN)?;

        one.inside(async || Ok(Guard::check_user(&config).await?))?;

        ensure!(one.run(&["nft", "list", "ruleset"])?.is_empty());
        Ok(())
    })
    .unwrap();
}

/// A node with a bridge, a pod, a switch with transparent sockets and a guard; and a peer that is a
/// kernel's, with a pod that knows where the first one is.
struct Receiving {
    node: Node,
    peer: Node,
    near: Pod,
    far: Pod,
    switch: Proc,
    /// The transparent sockets'.
    port: u16,
    guard: Guard,
}

impl Receiving {
    fn new(lab: &Lab, underlay: &Underlay) -> Result<Self> {
        let [node, peer] = lab.nodes(underlay)?;
        peer.kernel_vxlan(&[&node], VXLAN.into())?;
        let program = bin("lab-sleeve")?.into_os_string().into_string().ok().context("no text")?;
        let (own, path) = (node.addr().to_string(), format!("1={}=user", peer.addr()));
        let mut switch =
            node.spawn(&[&program, &own, "0", &path, "transparent", "flags=off=off"])?;
        switch.wait_for_line("switching", WAIT)?;
        wait_until(WAIT, "a TAP that forwards", || {
            let shown = node.run(&["bridge", "link", "show", "dev", "weave-tap"]);
            shown.is_ok_and(|shown| shown.contains("state forwarding"))
        })?;
        let line = switch.wait_for_line("receiver", WAIT)?;
        let port = line.trim().rsplit(' ').next().context("no port")?.parse()?;
        let guard = guarded(&node, Some(port), &peer)?;
        let pods = pods(&[node.clone(), peer.clone()], 1430)?;
        let [near, far] = <[Pod; 2]>::try_from(pods).ok().context("two pods")?;
        node.sh(&format!(
            "bridge fdb replace {} dev {} master static",
            near.mac(),
            near.host_if()
        ))?;
        // Nothing but what is for the near pod is to cross.
        peer.sh(&format!(
            "bridge fdb del 00:00:00:00:00:00 dev vxlan-6784 dst {own}
             bridge fdb replace {mac} dev vxlan-6784 dst {own} self static
             bridge fdb replace {mac} dev vxlan-6784 master static",
            mac = near.mac()
        ))?;
        for (pod, other) in [(&near, &far), (&far, &near)] {
            let (ip, mac) = (other.addr(), other.mac());
            pod.sh(&format!("ip neigh replace {ip} lladdr {mac} dev eth0 nud permanent"))?;
        }
        Ok(Self { node, peer, near, far, switch, port, guard })
    }

    /// The kernel's way of receiving beside the TAP.
    fn add_device(&self) -> Result<()> {
        let addr = self.node.addr();
        self.node.sh(&format!(
            "ip link add vxlan-6784 type vxlan id {VXLAN} dstport {VXLAN} local {addr} nolearning udpcsum
             ip link set vxlan-6784 addrgenmode none mtu 65000 master weave
             bridge link set dev vxlan-6784 isolated on learning off
             ip link set vxlan-6784 up"
        ))?;
        wait_until(WAIT, "a device that forwards", || {
            let shown = self.node.run(&["bridge", "link", "show", "dev", "vxlan-6784"]);
            shown.is_ok_and(|shown| shown.contains("state forwarding"))
        })
    }

    /// Numbered frames from the far pod to the near one.
    fn numbers(&self, seconds: u32) -> Result<Flow> {
        Flow::start(&self.far, &self.near, self.near.addr(), Pace { rate: RATE, seconds })
    }

    /// Switches as a daemon does.
    fn set(&mut self, receive: Receive) -> Result<()> {
        let guard = &mut self.guard;
        if receive == Receive::User {
            return self.node.inside(async || Ok(guard.set_receive(receive).await?));
        }
        tell(&mut self.switch, Signal::SIGUSR1, "intake closed")?;
        self.node.inside(async || Ok(guard.set_receive(receive).await?))?;
        tell(&mut self.switch, Signal::SIGUSR2, "intake open")
    }

    fn verify(&mut self) -> Result<Option<Damage>> {
        let guard = &mut self.guard;
        self.node.inside(async || Ok(guard.verify().await?))
    }

    fn tally(&self) -> Result<router::guard::Tally> {
        self.node.inside(async || Ok(self.guard.counters().await?))
    }

    /// So many frames from the far pod to the near one, as one flow.
    fn post(&self, count: u32) -> Result<()> {
        let to = self.near.addr();
        self.far.peer(WAIT, &format!("udp-post {to} 9 {count}")).map(drop)
    }

    /// Frames that the kernel's device has received.
    fn by_kernel(&self) -> Result<u64> {
        let path = "/sys/class/net/vxlan-6784/statistics/rx_packets";
        Ok(self.node.run(&["cat", path])?.trim().parse()?)
    }

    /// Frames that the process has received.
    fn by_process(&self) -> Result<u64> {
        Ok(self.given()?.iter().sum())
    }

    /// The same by worker.
    fn given(&self) -> Result<[u64; 2]> {
        let last = self.counters()?;
        Ok([counter(&last, "/to_tap/0")?, counter(&last, "/to_tap/1")?])
    }

    /// What the process has counted, as of after this call.
    fn counters(&self) -> Result<Value> {
        let lines = || {
            let out = self.switch.stdout();
            let whole = out.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole.filter(|it| it.starts_with('{')).map(str::to_owned).collect::<Vec<_>>()
        };
        let before = lines().len();
        // The line under way may have been made before the call.
        wait_until(WAIT, "counters", || lines().len() > before + 1)?;
        Ok(serde_json::from_str(lines().last().context("no counters")?)?)
    }
}

/// Sends a signal and waits for another such line.
fn tell(switch: &mut Proc, signal: Signal, line: &str) -> Result<()> {
    let lines = |switch: &Proc| switch.stdout().lines().filter(|it| *it == line).count();
    let before = lines(switch);
    switch.signal(signal)?;
    wait_until(WAIT, line, || lines(switch) > before)
}

fn guarded(node: &Node, receiver: Option<u16>, peer: &Node) -> Result<Guard> {
    let config = Config::new("weave", SLEEVE, VXLAN)?.with_receiver(receiver);
    let peers = BTreeSet::from([peer.addr()]);
    node.inside(async || {
        let (mut guard, _installed) = Guard::install(&config).await?;
        guard.set_peers(&peers).await?;
        Ok(guard)
    })
}
