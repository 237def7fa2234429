//! Cuts, loss, dead links, dead nodes.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use weft_tests::harness::{
    Capture, Direction, Host, Lab, Node, Ping, Proto, Underlay, cut, cut_port, pause, udp_arriving,
    wait_until,
};

use crate::vxlan_pair;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_cut_is_one_way() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("cut", |lab| {
            let [a, b] = lab.nodes::<2>(&underlay)?;
            assert_eq!((arriving(&a, &b)?, arriving(&b, &a)?), (5, 5), "before");

            cut(&a, &b)?;
            // No neighbour entry from before may be what carries the other direction.
            a.run(&["ip", "neigh", "flush", "all"])?;
            b.run(&["ip", "neigh", "flush", "all"])?;
            assert_eq!((arriving(&a, &b)?, arriving(&b, &a)?), (0, 5), "cut");
            assert!(silent(&b, a.addr())?, "no answer comes back");

            b.heal()?;
            assert_eq!((arriving(&a, &b)?, arriving(&b, &a)?), (5, 5), "healed");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_cut_is_between_two_nodes() {
    Lab::with("cut-two", |lab| {
        let [a, b, c] = lab.nodes::<3>(&Underlay::default())?;

        cut(&a, &b)?;

        assert!(silent(&a, b.addr())?);
        assert!(a.ping(c.addr(), 2)?.perfect());
        assert!(c.ping(b.addr(), 2)?.perfect());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_cut_port_is_one_port_of_one_protocol() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("cut-port", |lab| {
            let (_nodes @ [a, b], [p, q]) = &vxlan_pair(lab, &underlay)?;
            assert!(p.ping(q.addr(), 2)?.perfect());

            cut_port(a, b, Proto::Tcp, 6784)?;
            assert!(p.ping(q.addr(), 2)?.perfect(), "another protocol");
            cut_port(a, b, Proto::Udp, 6783)?;
            assert!(p.ping(q.addr(), 2)?.perfect(), "another port");
            cut_port(a, b, Proto::Udp, 6784)?;
            assert!(silent(p, q.addr())?);
            assert!(a.ping(b.addr(), 2)?.perfect());
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn loss_is_loss() {
    Lab::with("loss", |lab| {
        let [a, b] = lab.nodes::<2>(&Underlay::default())?;
        let many = Ping::new(b.addr(), 300).interval(Duration::from_millis(2));
        assert!(a.ping_with(&many)?.perfect());

        b.loss(30)?;
        let lossy = a.ping_with(&many)?;
        b.heal()?;

        assert!((150..=260).contains(&lossy.received), "{lossy:?}");
        assert!(a.ping_with(&many)?.perfect());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_link_goes_down_and_comes_back_with_its_address() {
    for underlay in [Underlay::default(), Underlay::v6(), Underlay::default().switched()] {
        Lab::with("link", |lab| {
            let [a, b] = lab.nodes::<2>(&underlay)?;
            assert!(a.ping(b.addr(), 2)?.perfect());

            a.link_down()?;
            assert!(silent(&a, b.addr())?);
            a.link_up()?;
            wait_for_ping(&a, &b)?;

            a.carrier_down()?;
            assert!(silent(&a, b.addr())?);
            assert_eq!(a.run(&["cat", "/sys/class/net/eth0/carrier"])?.trim(), "0");
            a.carrier_up()?;
            wait_for_ping(&a, &b)
        })
        .unwrap();
    }
}

#[test]
fn nobody_sees_a_power_off() {
    Lab::with("power-off", |lab| {
        let ([a, b], [p, q]) = vxlan_pair(lab, &Underlay::default())?;
        let (mut server, port) = p.serve("tcp-serve")?;
        let mut on_node = a.spawn(&["sleep", "infinity"])?;
        let endless = format!("tcp-send {} {port} {} 1", p.addr(), u64::MAX);
        let mut client = q.spawn_peer(&endless)?;
        wait_until(LIMIT, "a busy connection", || {
            client.cpu_time().is_ok_and(|time| time > Duration::from_millis(50))
        })?;

        a.power_off()?;
        let after = Capture::directed(&b, "eth0", Direction::In, "")?;
        assert!(!server.running() && !on_node.running());
        pause(Duration::from_secs(1));

        assert!(client.running(), "the client was told: {}", client.stderr());
        assert!(silent(&b, a.addr())?);
        assert_eq!(after.stop()?, []);
        a.heal()?;
        wait_for_ping(&a, &b)?;
        assert!(a.run(&["ls", "/run/netns"])?.contains(&p.netns()), "the mounts survive");
        Ok(())
    })
    .unwrap();
}

/// How many of five datagrams reach the other node.
fn arriving(from: &Node, to: &Node) -> Result<usize> {
    udp_arriving(from, to, to.addr(), 5)
}

/// Whether two pings go without an answer.
fn silent(from: &Host, to: IpAddr) -> Result<bool> {
    let ping = Ping::new(to, 2).wait(Duration::from_millis(300));
    Ok(from.ping_with(&ping)?.received == 0)
}

fn wait_for_ping(from: &Node, to: &Node) -> Result<()> {
    wait_until(LIMIT, "a ping that is answered", || {
        let ping = Ping::new(to.addr(), 1).wait(Duration::from_millis(200));
        from.ping_with(&ping).is_ok_and(|stats| stats.perfect())
    })
}
