//! A node that is exposed to its pods, and its pods to what is behind it. Its tests measure time: run them one by one.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use socket2::SockRef;
use weft_tests::harness::weftd::{Daemon, pod, text};
use weft_tests::harness::{Host, Lab, Node, Pod, Stopwatch, Underlay, beside, wait_until};

const PORT: u16 = 7000;
/// What was damaged is right again after this time.
const MENDED: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(5);
const BRIDGE: &str = "10.32.0.1";
const BRIDGE6: &str = "fd00:32::ffff";
const EXPOSED: &str = "10.32.0.1/24,fd00:32::ffff/64";

/// Whom a server sees when that client has connected to it.
fn seen(server: &Host, addr: IpAddr, client: &Host) -> Result<IpAddr> {
    // Each time another port: a process that is just being made holds what was closed for a moment.
    let listener = server.inside(async || Ok(TcpListener::bind((addr, 0))?))?;
    let to = listener.local_addr()?;
    let connect = async || Ok(TcpStream::connect_timeout(&to, Duration::from_secs(3))?);
    let _stream = client.inside(connect).with_context(|| format!("no way to {to}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener.accept()?.1.ip())
}

/// Whom a pod sees when another has sent to all of the bridge.
fn broadcast_seen(pod: &Host, from: &Host) -> Result<IpAddr> {
    let ear = pod.inside(async || Ok(UdpSocket::bind(("0.0.0.0", PORT))?))?;
    ear.set_read_timeout(Some(SOON))?;
    from.inside(async || {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_broadcast(true)?;
        SockRef::from(&socket).bind_device(Some(b"eth0"))?;
        socket.send_to(b"all", ("255.255.255.255", PORT))?;
        Ok(())
    })?;
    Ok(ear.recv_from(&mut [0; 16])?.1.ip())
}

fn cannot_reach(server: &Host, addr: IpAddr, client: &Host) -> Result<()> {
    match seen(server, addr, client) {
        Err(error) if error.chain().any(|it| it.is::<std::io::Error>()) => Ok(()),
        Err(error) => Err(error),
        Ok(by) => bail!("{addr} is reached as {by}"),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn addresses(node: &Node) -> Result<String> {
    node.run(&["ip", "-o", "addr", "show", "dev", "weave"])
}

fn rules(node: &Node) -> Result<String> {
    let output = node.try_run(&["nft", "-s", "list", "chain", "inet", "weft", "exposed"])?;
    Ok(output.stdout)
}

/// Two pods whose way out is the bridge, and a host that forwards.
fn pods(node: &Node) -> Result<[Pod; 2]> {
    node.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
    let pods = [pod(node, "p1", 10)?, pod(node, "p2", 11)?];
    for pod in &pods {
        pod.sh(&format!("ip route add default via {BRIDGE}"))?;
    }
    Ok(pods)
}

fn wait_for_exposed(node: &Node) -> Result<()> {
    wait_until(SOON, "exposed addresses and rules", || {
        let there =
            addresses(node).is_ok_and(|it| it.contains(BRIDGE) && !it.contains("tentative"));
        there && rules(node).is_ok_and(|it| it.contains("masquerade"))
    })
}

#[test]
fn host_and_pods_reach_each_other_and_pods_are_seen_outside_as_their_host() {
    let _turn = beside().unwrap();
    // With and without the hooks of IP on what is only bridged.
    for bridged in ["1", "0"] {
        Lab::with("expose", |lab| {
            let [one, far] = lab.nodes(&Underlay::default())?;
            let mut daemon = Daemon::start(&one, &["--expose", EXPOSED])?;
            let [p1, p2] = pods(&one)?;
            one.sh(&format!("for it in iptables ip6tables; do echo {bridged} > /proc/sys/net/bridge/bridge-nf-call-$it; done"))?;
            wait_for_exposed(&one)?;

            ensure!(seen(&p1, p1.addr(), &one)? == ip(BRIDGE));
            ensure!(seen(&one, ip(BRIDGE), &p1)? == p1.addr());
            ensure!(seen(&one, one.addr(), &p1)? == p1.addr());
            ensure!(seen(&p1, p1.addr6()?.into(), &one)? == ip(BRIDGE6));
            // What is behind the host sees the host, and pods without a way back see the bridge.
            ensure!(seen(&far, far.addr(), &p1)? == one.addr());
            far.sh(&format!("ip route add 10.32.0.0/24 via {}", one.addr()))?;
            p2.sh("ip route del default")?;
            ensure!(seen(&p2, p2.addr(), &far)? == ip(BRIDGE));
            // Within the network each is seen as what it is.
            ensure!(seen(&p2, p2.addr(), &p1)? == p1.addr());
            ensure!(seen(&p2, p2.addr6()?.into(), &p1)? == IpAddr::from(p1.addr6()?));
            ensure!(broadcast_seen(&p2, &p1)? == p1.addr());
            p1.sh(&format!("ip addr add 169.254.1.1/16 dev eth0; ip route add {}/32 dev eth0 src 169.254.1.1", p2.addr()))?;
            p2.sh("ip addr add 169.254.1.2/16 dev eth0")?;
            ensure!(seen(&p2, p2.addr(), &p1)? == ip("169.254.1.1"));
            daemon.stop().map(drop)
        })
        .unwrap();
    }
}

#[test]
fn hiding_undoes_what_was_exposed_also_by_a_run_that_was_killed_and_nothing_else() {
    let _turn = beside().unwrap();
    Lab::with("expose-hide", |lab| {
        let [one, far] = lab.nodes(&Underlay::default())?;
        one.sh("nft 'add table ip mine; add chain ip mine c { type nat hook postrouting priority 90; }; add rule ip mine c ip daddr 192.0.2.1 masquerade'")?;
        let mine = || one.run(&["nft", "-s", "list", "table", "ip", "mine"]);
        let before = mine()?;
        let mut daemon = Daemon::start(&one, &["--expose", EXPOSED])?;
        wait_for_exposed(&one)?;
        let [p1, _] = pods(&one)?;
        // Of the same network, so that the kernel would take them along.
        one.sh("ip addr add 10.32.0.77/24 brd 10.32.0.255 dev weave; ip addr add 10.32.0.78/24 dev weave valid_lft 3600 preferred_lft 1800; ip addr add 10.9.0.1/24 dev weave")?;
        one.sh("nft 'add chain inet weft other; add rule inet weft other ip daddr 192.0.2.1 drop'")?;
        daemon.kill()?;

        daemon.restart_with(&[])?;

        wait_until(SOON, "no exposed address", || {
            addresses(&one).is_ok_and(|it| !it.contains(BRIDGE) && !it.contains(BRIDGE6))
        })?;
        wait_until(SOON, "no masquerade", || rules(&one).is_ok_and(|it| it.is_empty()))?;
        let left = addresses(&one)?;
        ensure!(left.contains("inet 10.32.0.77/24 brd 10.32.0.255 "), "{left}");
        ensure!(left.contains("inet 10.32.0.78/24 ") && left.contains("preferred_lft 1"), "{left}");
        ensure!(left.contains("inet 10.9.0.1/24 "), "{left}");
        ensure!(mine()? == before, "{}", mine()?);
        let other = one.run(&["nft", "list", "chain", "inet", "weft", "other"])?;
        ensure!(other.contains("192.0.2.1 drop"), "{other}");
        cannot_reach(&far, far.addr(), &p1)?;
        daemon.stop().map(drop)
    })
    .unwrap();
}

#[test]
fn what_somebody_removes_is_put_back_within_ten_seconds() {
    let _turn = beside().unwrap();
    Lab::with("expose-mend", |lab| {
        let [one, far] = lab.nodes(&Underlay::default())?;
        let mut daemon = Daemon::start(&one, &["--expose", EXPOSED])?;
        wait_for_exposed(&one)?;
        let [p1, _] = pods(&one)?;
        one.sh("ip addr add 10.9.0.1/24 dev weave")?;
        let whole = rules(&one)?;
        for damage in [
            "nft flush table inet weft",
            "nft delete table inet weft",
            "nft flush chain inet weft exposed",
            "nft insert rule inet weft exposed return",
            "ip addr del 10.32.0.1/24 dev weave",
            "ip addr flush dev weave to fd00:32::/64",
            "ip link del weave; sleep 0.5",
        ] {
            one.sh(damage)?;
            let watch = Stopwatch::start();
            let mended = || {
                let addresses = addresses(&one).unwrap_or_default();
                rules(&one).is_ok_and(|it| it == whole)
                    && [BRIDGE, BRIDGE6].iter().all(|it| addresses.contains(it))
            };

            wait_until(MENDED, damage, mended)?;

            println!("{damage}: {:?}", watch.elapsed());
            if damage.starts_with("ip link") {
                one.plug(&p1)?;
            } else {
                ensure!(addresses(&one)?.contains("10.9.0.1/24"), "a foreign address is gone");
            }
            wait_until(SOON, "the way out", || {
                seen(&far, far.addr(), &p1).is_ok_and(|it| it == one.addr())
            })?;
        }
        daemon.stop().map(drop)
    })
    .unwrap();
}

#[test]
fn an_address_that_somebody_else_has_put_on_the_bridge_is_not_taken_away() {
    let _turn = beside().unwrap();
    Lab::with("expose-foreign", |lab| {
        let [one] = lab.nodes(&Underlay::default())?;
        one.sh("ip link add weave type bridge; ip link set weave up; ip addr add 10.32.0.1/24 dev weave")?;
        let mut daemon = Daemon::start(&one, &["--expose", EXPOSED])?;
        wait_for_exposed(&one)?;
        let said = daemon.proc.stderr();
        ensure!(said.contains("has this address from somebody else"), "{said}");
        ensure!(said.contains("the host does not forward"), "{said}");
        daemon.stop()?;

        daemon.restart_with(&[])?;

        wait_until(SOON, "no exposed address", || {
            addresses(&one).is_ok_and(|it| !it.contains(BRIDGE6))
        })?;
        ensure!(addresses(&one)?.contains("10.32.0.1/24"));
        daemon.stop().map(drop)
    })
    .unwrap();
}

#[test]
fn what_no_bridge_can_have_is_refused_with_the_reason() {
    let _turn = beside().unwrap();
    Lab::with("expose-refused", |lab| {
        let [one] = lab.nodes(&Underlay::default())?;
        for (given, said) in [
            ("10.32.0.1", "such as 10.32.0.1/12"),
            ("10.32.0.0/12", "give an address in it"),
            ("127.0.0.1/8", "no bridge can have"),
            ("224.0.0.1/4", "no bridge can have"),
        ] {
            let mut proc = weft_tests::harness::weftd::spawn(&one, &["--expose", given])?;
            let status = proc.wait(SOON)?;
            ensure!(status.code() == Some(2) && proc.stderr().contains(said), "{}", proc.stderr());
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_the_host_has_elsewhere_is_refused_and_stays_reachable() {
    let _turn = beside().unwrap();
    Lab::with("expose-taken", |lab| {
        let [one, far] = lab.nodes(&Underlay::default())?;
        let before = one.run(&["ip", "-o", "addr"])?;
        let own = format!("{}/24", one.addr());
        let mut proc = weft_tests::harness::weftd::spawn(&one, &["--expose", &own])?;
        let status = proc.wait(SOON)?;
        let address = format!("{own} overlaps with the address {}/32 dev eth0", one.addr());
        let said = proc.stderr();
        ensure!(status.code() == Some(1) && said.contains(&address), "{said}");
        ensure!(said.contains("expose another address, or remove that address"), "{said}");
        ensure!(one.run(&["ip", "-o", "addr"])? == before, "the failed start has changed something");
        let mut daemon = Daemon::start(&one, &[])?;

        one.sh("ip link add other type bridge; ip link set other up; ip route add 10.8.0.0/16 dev other")?;
        for (given, what) in [
            (own.as_str(), address.as_str()),
            ("10.8.7.1/24", "overlaps with the route 10.8.0.0/16 dev other (table main)"),
        ] {
            let refused = daemon.post("/v1/expose", &json!({ "address": given }))?;
            ensure!(refused.code == 409 && text(&refused.body, "/why")?.contains(what), "{refused:?}");
            ensure!(text(&refused.body, "/what_to_do")?.contains("expose another"), "{refused:?}");
        }

        ensure!(!addresses(&one)?.contains(&own), "{}", addresses(&one)?);
        ensure!(seen(&far, far.addr(), &one)? == one.addr());
        // What is on the bridge is no other's; the default route is everybody's.
        one.sh(&format!("ip route add default via {}", far.addr()))?;
        for given in ["10.7.0.1/24", "10.7.0.1/24", "10.7.0.2/24"] {
            daemon.weft(&format!("expose {given}"))?;
        }
        daemon.stop().map(drop)
    })
    .unwrap();
}

#[test]
fn an_address_is_there_when_that_is_answered_or_the_answer_says_why_not() {
    let _turn = beside().unwrap();
    Lab::with("expose-answer", |lab| {
        let [one] = lab.nodes(&Underlay::default())?;
        let mut daemon = Daemon::start(&one, &[])?;
        for number in 1..40 {
            let given = format!("10.7.{number}.1/24");
            let answered = daemon.post("/v1/expose", &json!({ "address": given }))?;
            ensure!(answered.code == 200, "{answered:?}");
            ensure!(addresses(&one)?.contains(&given), "{given} is not there yet");
        }
        // What cannot be written down is not put on the bridge.
        one.sh("mkdir /var/lib/weft/exposed.new")?;
        let watch = Stopwatch::start();

        let failed = daemon.post("/v1/expose", &json!({ "address": "10.8.0.1/24" }))?;

        println!("{failed:?} after {:?}", watch.elapsed());
        ensure!(failed.code == 500 && watch.elapsed() < SOON, "{failed:?}");
        ensure!(text(&failed.body, "/why")?.contains("cannot write down"), "{failed:?}");
        one.sh("rmdir /var/lib/weft/exposed.new")?;
        wait_until(SOON, "it is there", || {
            addresses(&one).is_ok_and(|it| it.contains("10.8.0.1/24"))
        })?;
        daemon.stop().map(drop)
    })
    .unwrap();
}
