//! Starts that fail: one line that says what, why and what to do.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use weft_tests::harness::weft::Switch;
use weft_tests::harness::weftd::{Daemon, all_answer, cluster, pods, spawn_through};
use weft_tests::harness::{Cluster, Lab, Node, Ping, Underlay, beside, bin, serial};

use crate::MEET;

/// How long a start that fails may take.
const WAIT: Duration = Duration::from_secs(10);

/// Runs a start that must fail with `code` and one line that has all of `words` in it. Lines of the log may come before:
/// none of them is a warning.
fn refused(node: &Node, wrapper: &[&str], args: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let mut proc = spawn_through(wrapper, node, args)?;
    let status = proc.wait(WAIT)?;
    let stderr = proc.stderr();
    let said: Vec<_> = stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    println!("{}", said.join("\n"));
    ensure!(status.code() == Some(code), "{args:?}: {status}: {stderr}");
    let [line] = said[..] else { bail!("{args:?}: more or less than a line: {stderr}") };
    ensure!(line.starts_with("weftd: "), "{args:?}: {stderr}");
    for word in words {
        ensure!(line.contains(word), "{args:?}: no {word:?} in {stderr}");
    }
    Ok(())
}

#[test]
fn bad_flags_are_refused_with_code_2_and_nothing_is_touched() {
    let _turn = beside().unwrap();
    Lab::with("flags", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        for (args, words) in [
            (&["--nonsense"][..], &["--nonsense", "--help"][..]),
            (&["not a host"], &["not a host", "PEER"]),
            (&["--port", "65535"], &["65535", "--port"]),
            (&["--name", "01:00:00:00:00:01"], &["01:00:00:00:00:01", "--name"]),
            (&["--local", "224.0.0.1"], &["224.0.0.1", "--local", "address of this host"]),
            (&["--local", "127.0.0.1"], &["127.0.0.1", "--local", "address of this host"]),
            (&["--local", "::1"], &["::1", "--local", "address of this host"]),
            (&["--mtu", "9"], &["--mtu", "576"]),
            (&["--bridge", "all"], &["--bridge", "all"]),
            (&["--bridge", "same", "--tap", "same"], &["same", "two names"]),
            (&["--tap", "one", "--tap", "two"], &["--tap", "twice"]),
            (&["--tap", "plain", "--queues", "2"], &["--queues", "--tap"]),
            (&["--conn-limit", "3"], &["--conn-limit", "4"]),
            (&["--hold", "0"], &["--hold", "1"]),
            (&["--journal-size", "5"], &["--journal-size", "65536"]),
            (&["--http-addr", "6784"], &["--http-addr", "off"]),
            (&["--log-level", "loud"], &["--log-level", "loud"]),
        ] {
            refused(a, &[], args, 2, words)?;
        }
        refused(a, &["env", "KUBE_PEERS=a:b:c"], &[], 2, &["KUBE_PEERS", "a:b:c"])?;
        refused(a, &["env", "WEAVE_MTU=many"], &[], 2, &["--mtu", "many"])?;
        let both = ["env", "WEAVE_NO_FASTDP=1"];
        refused(a, &both, &["--fastpath", "require"], 2, &["--fastpath", "WEAVE_NO_FASTDP"])?;
        untouched(a)
    })
    .unwrap();
}

#[test]
fn a_state_directory_that_cannot_be_written_to_is_refused() {
    let _turn = beside().unwrap();
    Lab::with("state", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        a.sh("touch /run/file
              mkdir /run/ro /run/full
              mount -t tmpfs lab /run/ro
              mkdir /run/ro/old
              mount -o remount,ro /run/ro
              mount -t tmpfs -o nr_inodes=1 lab /run/full")?;
        for dir in ["/run/file", "/run/file/below", "/run/ro/new", "/run/ro/old", "/run/full"] {
            refused(a, &[], &["--state-dir", dir], 1, &[dir, "--state-dir", "written to"])?;
        }
        refused(a, &[], &["--password-file", "/run/none"], 1, &["/run/none", "No such file"])?;
        untouched(a)
    })
    .unwrap();
}

#[test]
fn ports_that_are_taken_are_named_with_what_to_do() {
    let _turn = beside().unwrap();
    Lab::with("ports", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        for (taker, words) in [
            ("udp-echo 6783", &["6783", "UDP", "taken", "--port"][..]),
            ("tcp-serve 6783", &["6783", "in use", "--port"]),
            ("tcp-serve 6784", &["127.0.0.1:6784", "in use", "--http-addr"]),
        ] {
            let mut taken = a.spawn_peer(taker)?;
            taken.wait_for_line("listening", WAIT)?;
            refused(a, &[], &[], 1, words)?;
        }
        // Starts that failed for another reason have left it, as they leave the bridge.
        a.run(&["ip", "link", "del", "vxlan-6784"])?;
        let mut taken = a.spawn_peer("udp-echo 6784")?;
        taken.wait_for_line("listening", WAIT)?;
        refused(a, &[], &["--fastpath", "off"], 1, &["6784", "UDP", "taken", "--port"])?;
        drop(taken);
        a.run(&["ip", "link", "add", "vx", "type", "vxlan", "id", "1", "dstport", "6784"])?;
        a.run(&["ip", "link", "set", "vx", "up"])?;
        refused(a, &[], &["--fastpath", "off"], 1, &["6784", "type vxlan", "--port"])?;
        a.run(&["ip", "link", "del", "vx"])?;
        let elsewhere = ["--http-addr", "192.0.2.1:80"];
        refused(a, &[], &elsewhere, 1, &["192.0.2.1:80", "--http-addr"])?;
        refused(a, &[], &["--local", "10.99.0.77"], 1, &["10.99.0.77", "--local", "ip address"])?;

        let switch = Switch::start(a, &[b], &["--port", "7000"])?;
        refused(a, &[], &[], 1, &["weave-tap", "another", "--tap"])?;
        switch.stop()?;

        // With nobody in the way it starts.
        Daemon::start(a, &[])?.stop().map(drop)
    })
    .unwrap();
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on_without_a_frame_lost() {
    let _turn = serial().unwrap();
    Lab::with("second", |lab| {
        let Cluster { nodes, daemons, pods } = &mut Cluster::<2>::new(lab, &[])?;
        let (a, apart) = (&nodes[0], ["--state-dir", "/run/other", "--http-addr", "off"]);
        let other = |more: &[&'static str]| [&apart[..], more].concat();
        let devices = ["--bridge", "weave2", "--tap", "weave-tap2"];
        let all = other(&[&devices[..], &["--port", "7000"]].concat());
        let ping = Ping::new(pods[1].addr(), 4_000).interval(Duration::from_millis(1));

        let pinged = std::thread::scope(|scope| -> Result<_> {
            let pinged = scope.spawn(|| pods[0].ping_with(&ping));
            refused(a, &[], &[], 1, &["/var/lib/weft", "other weftd"])?;
            let words = ["another weftd", "network namespace", "stop it"];
            refused(a, &[], &other(&[]), 1, &words)?;
            refused(a, &[], &all, 1, &words)?;
            // In a network namespace of its own, but beside the other's files.
            refused(a, &["unshare", "--net"], &apart, 1, &["/run/weft/weft.sock", "--socket"])?;
            pinged.join().map_err(|_| anyhow::anyhow!("the ping panicked"))?
        })?;

        println!("{} of {} pings answered meanwhile", pinged.received, pinged.sent);
        ensure!(pinged.perfect(), "{} of {}", pinged.received, pinged.sent);
        ensure!(daemons[0].proc.running() && daemons[0].up()? == 2);
        ensure!(daemons[0].count("/engine/restarts")? == 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn links_with_our_names_that_are_something_else_are_refused() {
    let _turn = beside().unwrap();
    Lab::with("links", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        a.run(&["ip", "link", "add", "weave", "type", "veth", "peer", "name", "other"])?;
        refused(a, &[], &[], 1, &["weave", "not a bridge", "--bridge"])?;
        a.sh("ip link del weave; ip link del weave-tap")?;
        a.run(&["ip", "link", "add", "weave-tap", "type", "veth", "peer", "name", "other"])?;
        refused(a, &[], &[], 1, &["weave-tap", "not a TAP", "--tap"])?;

        // Another name of a link is not its name: nobody's link is taken for ours by it.
        a.sh("ip link del weave-tap; ip link add theirs type vxlan id 9 dstport 4789")?;
        a.sh("ip link property add dev theirs altname vxlan-6784")?;
        let mut daemon = Daemon::start(a, &[])?;
        ensure!(daemon.proc.stderr().contains("or its name"), "{}", daemon.proc.stderr());
        daemon.stop()?;
        a.run(&["ip", "link", "show", "theirs"]).map(drop)
    })
    .unwrap();
}

#[test]
fn a_foreign_bridge_with_other_settings_is_adopted_and_said_and_not_reset() {
    let _turn = beside().unwrap();
    Lab::with("foreign", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let a = &nodes[0];
        let mac = "02:aa:bb:cc:dd:ee";
        a.sh(&format!(
            "ip link add weave address {mac} type bridge stp_state 1 forward_delay 200 mcast_snooping 1
             ip link set weave mtu 1300
             ip addr add 10.32.0.200/24 dev weave
             ip link set weave up"
        ))?;

        let daemons = cluster(&nodes, &[])?;

        let said = daemons[0].proc.stderr();
        let said: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
        println!("{}", said.join("\n"));
        for word in ["STP is on", "multicast snooping", "MAC", "MTU"] {
            ensure!(said.iter().any(|line| line.contains(word)), "nothing of {word} in {said:?}");
        }
        all_answer(&pods(&nodes)?, MEET)?;
        let link = a.run(&["ip", "-d", "link", "show", "weave"])?;
        for kept in [mac, "mtu 1300", "stp_state 1", "mcast_snooping 1"] {
            ensure!(link.contains(kept), "no {kept} in {link}");
        }
        ensure!(a.run(&["ip", "addr", "show", "weave"])?.contains("10.32.0.200/24"));
        Ok(())
    })
    .unwrap();
}

#[test]
fn without_privileges_or_nft_it_says_what_is_missing() {
    let _turn = beside().unwrap();
    Lab::with("root", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        let bounded = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
        refused(a, &bounded, &[], 1, &["CAP_NET_ADMIN", "run as root"])?;
        // An unprivileged user must be able to execute it, wherever the build directory is.
        let copy = lab.dir().join("weftd");
        std::fs::copy(bin("weftd")?, &copy)?;
        a.run(&["chmod", "-R", "a+rX", &lab.dir().display().to_string()])?;
        let nobody = format!("exec setpriv --reuid 65534 --clear-groups {}", copy.display());
        refused(a, &["sh", "-c", &nobody], &[], 1, &["CAP_NET_ADMIN", "run as root"])?;
        // nft is also looked for where PATH does not lead.
        let hide = "mount -t tmpfs lab /usr/sbin; exec \"$@\"";
        let without = ["unshare", "--mount", "env", "PATH=/bin", "sh", "-ec", hide, "sh"];
        refused(a, &without, &[], 1, &["nft", "install"])?;
        untouched(a)
    })
    .unwrap();
}

/// Nothing of ours is there.
fn untouched(node: &Node) -> Result<()> {
    let (links, rules) = (node.run(&["ip", "-br", "link"])?, node.run(&["nft", "list", "tables"])?);
    ensure!(!links.contains("weave") && !rules.contains("weft"), "{links}{rules}");
    Ok(())
}
