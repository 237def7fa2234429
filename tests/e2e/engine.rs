//! `switch::engine` between real network namespaces: what a daemon asks of it beyond what `weft-switch`
//! does. The program around it is `lab-sleeve`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use switch::engine::{Intake, Ports, Sockets};
use weft_tests::harness::weft::pods;
use weft_tests::harness::{
    Capture, Fragment, Lab, Node, Ping, Pod, Proc, Underlay, bin, pause, transfer_to, wait_until,
};

const WAIT: Duration = Duration::from_secs(10);
const MB: u64 = 1_000_000;

#[test]
fn a_node_that_names_no_address_of_its_own_speaks_on_both_tunnels() {
    for (underlay, any) in [(Underlay::default(), "0.0.0.0"), (Underlay::v6(), "::")] {
        for path in ["user", "sleeve"] {
            Lab::with("any", |lab| {
                let it = Cluster::new(lab, &underlay, Some(any), path, &[])?;
                let [one, other] = [&it.pods[0], &it.pods[1]];

                assert!(one.ping(other.addr(), 5)?.perfect());
                assert!(one.ping(other.addr6()?, 5)?.perfect());
                let transfer = transfer_to(one, other, other.addr(), 20 * MB)?;
                assert!(transfer.intact(), "{transfer:?}");

                it.nodes[0].sh("ip link set eth0 mtu 1400")?;
                let whole = Ping::new(other.addr(), 3).size(1402).fragment(Fragment::Never);
                let overhead = if any == "::" { 70 } else { 50 };
                assert_eq!(one.ping_with(&whole)?.too_big, Some(1400 - overhead));
                Ok(())
            })
            .unwrap();
        }
    }
}

#[test]
fn control_is_told_who_has_an_address_and_what_is_seen_here_that_is_pinned_elsewhere() {
    Lab::with("told", |lab| {
        let pinned = "02:00:00:00:77:01";
        let mut it =
            Cluster::new(lab, &Underlay::default(), None, "user", &[&format!("pin={pinned}=1")])?;
        let (mac, v4, v6) = (it.pods[0].mac().to_owned(), it.pods[0].addr(), it.pods[0].addr6()?);
        let far = it.pods[1].mac().to_owned();

        assert!(it.pods[0].ping(it.pods[1].addr(), 1)?.perfect());
        assert!(it.pods[0].ping(it.pods[1].addr6()?, 1)?.perfect());
        it.pods[0].run(&["ip", "link", "set", "eth0", "address", pinned])?;
        it.pods[0].try_run(&["ping", "-c1", "-W1", "10.32.0.99"])?;

        it.switches[0].wait_for_line(&format!("told address {mac} {v4}"), WAIT)?;
        it.switches[0].wait_for_line(&format!("told address {mac} {v6}"), WAIT)?;
        it.switches[0].wait_for_line(&format!("told sighting {pinned}"), WAIT)?;
        assert!(!it.switches[0].stdout().contains(&format!("told address {far}")));
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_announced_address_is_in_the_pods_neighbour_tables_also_when_the_tap_was_made_again() {
    Lab::with("announce", |lab| {
        let (old, new) = ("02:00:00:00:77:01", "02:00:00:00:77:02");
        let ips = ["10.32.0.77", "fd00:32::77"];
        let announced = ips.map(|ip| format!("announce={new}={ip}"));
        let announced = announced.each_ref().map(String::as_str);
        let it = Cluster::new(lab, &Underlay::default(), None, "user", &announced)?;

        for round in 0..2 {
            for ip in ips {
                it.pods[0].sh(&format!("ip neigh replace {ip} lladdr {old} dev eth0 nud stale"))?;
            }
            wait_until(WAIT, "the announced MAC", || {
                let known = it.pods[0].sh("ip neigh show dev eth0").unwrap_or_default();
                ips.iter().all(|ip| known.contains(&format!("{ip} lladdr {new}")))
            })?;
            if round == 0 {
                it.nodes[0].sh("ip link del weave-tap")?;
                wait_until(WAIT, "a new TAP", || {
                    it.pods[0].ping(it.pods[1].addr(), 1).is_ok_and(|ping| ping.perfect())
                })?;
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_taps_flags_are_kept_as_the_program_wants_them() {
    Lab::with("flags", |lab| {
        let it = Cluster::new(lab, &Underlay::default(), None, "user", &["flags=off=on"])?;
        let node = &it.nodes[0];
        let shown =
            || node.run(&["bridge", "-d", "link", "show", "dev", "weave-tap"]).unwrap_or_default();
        let are_kept = || {
            let shown = shown();
            ["isolated on", "learning off", "neigh_suppress on"].iter().all(|it| shown.contains(it))
        };
        assert!(are_kept(), "{}", shown());

        for change in ["learning on", "neigh_suppress off", "isolated off"] {
            node.sh(&format!("bridge link set dev weave-tap {change}"))?;
            wait_until(WAIT, change, are_kept)?;
        }
        pause(Duration::from_millis(500));
        let repairs = it.switches[0].stderr();
        assert!(are_kept(), "{repairs}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn control_speaks_from_udp_6783_and_vxlan_keeps_its_other_port_also_when_the_tap_was_made_again() {
    for (underlay, own, far) in
        [(Underlay::default(), "10.99.0.1", "10.99.0.2"), (Underlay::v6(), "fd99::1", "fd99::2")]
    {
        Lab::with("speak", |lab| {
            let options = ["transparent", &format!("say={far}")];
            let it = Cluster::new(lab, &underlay, None, "sleeve", &options)?;
            let node = &it.nodes[0];
            assert_eq!(node.addr().to_string(), own);
            let ports = || -> BTreeSet<String> {
                let out = it.switches[0].stdout();
                out.lines()
                    .filter_map(|it| it.strip_prefix("receiver "))
                    .map(str::to_owned)
                    .collect()
            };
            for round in 0..2 {
                let said = Capture::start(node, "eth0", "udp dst port 9")?;
                pause(Duration::from_secs(1));
                let said = said.stop()?;
                // Behind Ethernet's header and IP's.
                let at = if node.addr().is_ipv4() { 34 } else { 54 };
                assert!(said.len() >= 3, "{}", said.len());
                assert!(said.iter().all(|it| it.octets[at..at + 2] == 6783_u16.to_be_bytes()));
                if round == 0 {
                    node.sh("ip link del weave-tap")?;
                    wait_until(WAIT, "a restart", || {
                        it.switches[0].stdout().contains("\"restarts\":1")
                    })?;
                }
            }
            eprintln!("VXLAN is received on {:?}", ports());
            assert_eq!(ports().len(), 1);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_transparent_socket_takes_another_port_where_somebody_has_it_and_says_what_it_lacks() {
    Lab::with("transparent", |lab| {
        let [node] = lab.nodes(&Underlay::default())?;
        let ports = |port| Ports {
            local: node.addr(),
            vxlan: 6784,
            intake: Intake::Transparent { port },
            sleeve: None,
            quirks: Vec::new(),
        };
        let chosen = node.inside(async || {
            let first = Sockets::open(&ports(0), 2)?.intake_port().context("no port")?;
            let again = Sockets::open(&ports(first), 2)?;
            assert_eq!(again.intake_port(), Some(first), "nobody has it");
            let other = Sockets::open(&ports(first), 2)?.intake_port().context("no port")?;
            Ok([first, other])
        })?;
        assert_ne!(chosen[0], chosen[1]);

        let program = bin("lab-sleeve")?.into_os_string().into_string().ok().context("no text")?;
        let addr = node.addr().to_string();
        let without = ["setpriv", "--bounding-set", "-net_admin,-net_raw"];
        let refused =
            node.try_run(&[&without[..], &[&program, &addr, "0", "transparent"]].concat())?;
        assert!(refused.stderr.contains("cannot make a UDP socket transparent"), "{refused:?}");
        Ok(())
    })
    .unwrap();
}

/// Two nodes with a program around an engine and a pod each.
struct Cluster {
    nodes: [Node; 2],
    switches: Vec<Proc>,
    pods: Vec<Pod>,
}

impl Cluster {
    /// `local` is what both take for their own address, if that is not theirs; the first one has
    /// `options`, too.
    fn new(
        lab: &Lab,
        underlay: &Underlay,
        local: Option<&str>,
        path: &str,
        options: &[&str],
    ) -> Result<Self> {
        let nodes = lab.nodes::<2>(underlay)?;
        let program = bin("lab-sleeve")?.into_os_string().into_string().ok().context("no text")?;
        let mut switches = Vec::new();
        let [one, two] = &nodes;
        for ((number, own), (far, other), options) in
            [(("0", one), ("1", two), options), (("1", two), ("0", one), &[])]
        {
            let own_addr = own.addr().to_string();
            let peer = format!("{far}={}={path}", other.addr());
            let args = [&program, local.unwrap_or(&own_addr), number, &peer];
            let mut switch = own.spawn(&[&args, options].concat())?;
            switch.wait_for_line("switching", WAIT)?;
            wait_until(WAIT, "a TAP that forwards", || {
                let shown = own.run(&["bridge", "link", "show", "dev", "weave-tap"]);
                shown.is_ok_and(|shown| shown.contains("state forwarding"))
            })?;
            switches.push(switch);
        }
        let pods = pods(&nodes, 1430)?;
        Ok(Self { nodes, switches, pods })
    }
}
