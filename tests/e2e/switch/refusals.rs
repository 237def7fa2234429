//! Starts that fail: one line that says what, why and what to do, and nothing is touched.

use std::time::Duration;

use anyhow::Result;
use weft_tests::harness::weft::Switch;
use weft_tests::harness::{Lab, Node, Underlay, bin};

use crate::Cluster;

/// Runs a start that must fail with `code` and one line that has all of `words` in it.
fn refused(node: &Node, args: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let mut proc = Switch::spawn_raw(node, args)?;
    let status = proc.wait(Duration::from_secs(10))?;
    let stderr = proc.stderr();
    let said: Vec<_> = stderr.lines().filter(|it| it.starts_with("weft-switch: ")).collect();
    assert_eq!(status.code(), Some(code), "{args:?}: {stderr}");
    assert_eq!(said.len(), 1, "{args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args:?}: no {word:?} in {stderr}");
    }
    Ok(())
}

const LOCAL: [&str; 2] = ["--local", "10.99.0.1"];

fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
    LOCAL.iter().chain(args).copied().collect()
}

#[test]
fn bad_arguments_are_refused_with_code_2() {
    Lab::with("args", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        for (args, words) in [
            (vec!["--local", "nonsense", "--peer", "10.99.0.2"], vec!["nonsense", "--local"]),
            (with(&[]), vec!["--peer"]),
            (with(&["--peer", "10.99.0.2", "--peer", "10.99.0.2"]), vec!["10.99.0.2", "twice"]),
            (with(&["--peer", "10.99.0.1"]), vec!["10.99.0.1", "own"]),
            (with(&["--peer", "fd99::2"]), vec!["fd99::2", "families"]),
            (with(&["--peer", "10.99.0.2", "--mtu", "9"]), vec!["--mtu", "576"]),
            (with(&["--peer", "10.99.0.2", "--bridge", "all"]), vec!["--bridge", "all"]),
            (vec!["--local", "fe80::1", "--peer", "fe80::2"], vec!["fe80::1", "host"]),
        ] {
            refused(a, &args, 2, &words)?;
        }
        let links = a.run(&["ip", "-br", "link"])?;
        assert!(!links.contains("weave"), "{links}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_the_host_does_not_allow_is_refused_with_code_1() {
    Lab::with("host", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        let elsewhere = ["--local", "10.99.0.77", "--peer", "10.99.0.2"];
        refused(a, &elsewhere, 1, &["10.99.0.77", "ip address"])?;
        refused(a, &with(&["--peer", "192.0.2.1"]), 1, &["no route", "192.0.2.1", "add a route"])?;
        refused(a, &with(&["--peer", "10.99.0.255"]), 1, &["10.99.0.255", "broadcast"])?;
        let broadcast = ["--local", "10.99.0.255", "--peer", "10.99.0.2"];
        refused(a, &broadcast, 1, &["10.99.0.255", "broadcast"])?;
        a.run(&["ip", "address", "add", "10.99.0.7/24", "dev", "eth0"])?;
        refused(a, &with(&["--peer", "10.99.0.7"]), 1, &["10.99.0.7", "this host"])?;
        let links = a.run(&["ip", "-br", "link"])?;
        assert!(!links.contains("weave"), "{links}");

        a.run(&["ip", "link", "add", "wrong", "type", "veth", "peer", "name", "other"])?;
        let peer = ["--peer", "10.99.0.2"];
        let bridge = [&peer[..], &["--bridge", "wrong"]].concat();
        refused(a, &with(&bridge), 1, &["wrong", "not a bridge", "--bridge"])?;
        let tap = [&peer[..], &["--tap", "wrong"]].concat();
        refused(a, &with(&tap), 1, &["wrong", "not a TAP", "--tap"])?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_second_switch_on_the_port_is_refused_and_the_first_goes_on() {
    Lab::with("twice", |lab| {
        let mut cluster = Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        let Cluster { nodes, pods, .. } = &cluster;

        refused(&nodes[0], &with(&["--peer", "10.99.0.2"]), 1, &["6784", "taken", "--port"])?;
        let other_port = with(&["--peer", "10.99.0.2", "--port", "7000"]);
        refused(&nodes[0], &other_port, 1, &["weave-tap", "in use", "--tap"])?;

        assert!(pods[0].ping(pods[1].addr(), 5)?.perfect());
        assert_eq!(cluster.switches[0].count("/restarts")?, 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_kernel_vxlan_device_on_the_port_is_named_as_a_reason() {
    Lab::with("kernel", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        a.run(&["ip", "link", "add", "vx", "type", "vxlan", "id", "1", "dstport", "6784"])?;
        a.run(&["ip", "link", "set", "vx", "up"])?;

        refused(a, &with(&["--peer", "10.99.0.2"]), 1, &["6784", "vxlan device"])
    })
    .unwrap();
}

#[test]
fn too_few_descriptors_are_named_as_such() {
    Lab::with("files", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        let program = bin("weft-switch")?.display().to_string();
        for limit in [6, 20, 60] {
            let line = format!(
                "ulimit -n {limit}; exec {program} --local {} --peer {}",
                a.addr(),
                b.addr()
            );
            let output = a.try_run(&["bash", "-c", &line])?;

            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
            assert!(output.stderr.contains("ulimit -n"), "{output:?}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn without_root_it_says_what_is_missing() {
    Lab::with("root", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        // An unprivileged user must be able to execute it, wherever the build directory is.
        let copy = lab.dir().join("weft-switch");
        std::fs::copy(bin("weft-switch")?, &copy)?;
        let copy = copy.to_str().unwrap();
        a.run(&["chmod", "-R", "a+rX", lab.dir().to_str().unwrap()])?;
        let argv = ["setpriv", "--reuid", "65534", "--clear-groups", copy, "--local", "10.99.0.1"];
        let output = a.try_run(&[&argv[..], &["--peer", "10.99.0.2"]].concat())?;

        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stderr.contains("CAP_NET_ADMIN"), "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
        Ok(())
    })
    .unwrap();
}
