//! A real runtime: containerd, with containers of busybox.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::{Lab, Node, Proc, Signal, serial, wait_until};

use crate::{WAIT, nothing_left, two};

/// How long a container may take.
const RUN: Duration = Duration::from_secs(60);

/// What programs are called that a container has of busybox.
const APPLETS: &str = "sh ping ip sleep nc wget";

/// A node has a /sys of its own: what its runtime needs of control groups, of either version, is mounted there again.
const CGROUPS: &str = "
if awk '$2 + 0 > 0 { found = 1 } END { exit !found }' /proc/cgroups; then
    mount -t tmpfs weft-lab /sys/fs/cgroup
    for each in $(awk '$2 + 0 > 0 { print $1 }' /proc/cgroups); do
        mkdir /sys/fs/cgroup/$each
        mount -t cgroup -o $each weft-lab /sys/fs/cgroup/$each
    done
else
    mount -t cgroup2 weft-lab /sys/fs/cgroup
fi";

/// A containerd of a node's own, and `ctr` for it. /opt is the node's own, too.
struct Runtime {
    node: Node,
    dir: String,
    proc: Proc,
}

impl Runtime {
    fn start(lab: &Lab, node: &Node) -> Result<Self> {
        let dir = lab.dir().join(format!("ctr-{}", node.name()));
        fs::create_dir_all(&dir)?;
        let dir = dir.to_str().context("no UTF-8")?.to_owned();
        fs::write(
            format!("{dir}/config.toml"),
            format!(
                "version = 2\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{dir}/sock\"\n"
            ),
        )?;
        node.sh(&format!(
            "mkdir -p {dir}/rootfs/bin {dir}/rootfs/proc {dir}/rootfs/sys {dir}/rootfs/dev {dir}/rootfs/tmp {dir}/rootfs/etc
mount -t tmpfs weft-lab /opt; mkdir -p /opt/cni/bin; cp /usr/lib/cni/* /opt/cni/bin/
cp /bin/busybox {dir}/rootfs/bin/
for each in {APPLETS}; do ln -s busybox {dir}/rootfs/bin/$each; done"
        ))?;
        node.sh(CGROUPS)?;
        let proc = node.spawn(&["containerd", "-c", &format!("{dir}/config.toml")])?;
        let runtime = Self { node: node.clone(), dir, proc };
        wait_until(WAIT, "containerd answers", || runtime.ctr("version").is_ok())?;
        Ok(runtime)
    }

    fn ctr(&self, line: &str) -> Result<String> {
        let command = format!("ctr -a {dir}/sock {line}", dir = self.dir);
        self.node.run_for(RUN, &["sh", "-ec", &command])
    }

    fn run(&self, words: &str, what: &str) -> Result<String> {
        self.ctr(&format!("run --cni {words} --rootfs {}/rootfs {what}", self.dir))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // What it has started ends with its namespaces.
        drop(self.proc.signal(Signal::SIGTERM));
    }
}

#[test]
fn containerd_runs_containers_that_reach_each_other_across_nodes() {
    let _turn = serial().unwrap();
    Lab::with("cni-containerd", |lab| {
        let (nodes, daemons) = two(lab)?;
        let runtimes = [Runtime::start(lab, &nodes[0])?, Runtime::start(lab, &nodes[1])?];
        for daemon in &daemons {
            daemon.weft("setup-cni")?;
        }
        // By the bandwidth plugin: 8 Mbit/s and a short burst.
        nodes[0].sh("sed -i 's/\"type\": *\"bandwidth\"/\"type\": \"bandwidth\", \"ingressRate\": 8000000, \"ingressBurst\": 80000, \"egressRate\": 8000000, \"egressBurst\": 80000/' /etc/cni/net.d/10-weft.conflist")?;

        runtimes[1].run("-d", "far /bin/sleep 300")?;
        let far = daemons[1].ask("ps")?;
        let far = far.pointer("/pods/0/addresses/0").and_then(|it| it.as_str());
        let far = far.and_then(|it| it.split('/').next()).context("no address")?.to_owned();
        let said = runtimes[0].run("--rm", &format!("near /bin/sh -c 'ip route; ping -c 5 -i 0.2 {far}'"))?;

        ensure!(said.contains("5 packets received"), "{said}");
        ensure!(said.contains("default via 10."), "{said}");
        nothing_left(&nodes[0], &daemons[0])?;
        // The limit is on the host's end while the container runs.
        runtimes[0].run("-d", "slow /bin/sleep 300")?;
        let limits = nodes[0].run(&["tc", "qdisc", "show"])?;
        ensure!(limits.contains("tbf") && limits.contains("rate 8Mbit"), "{limits}");
        for (runtime, name) in [(&runtimes[0], "slow"), (&runtimes[1], "far")] {
            runtime.ctr(&format!("task kill -s 9 {name}"))?;
            wait_until(WAIT, "its task ends", || {
                runtime.ctr(&format!("task rm {name} || ctr -a {}/sock task ls", runtime.dir)).is_ok_and(|it| !it.contains(name))
            })?;
        }
        // ctr does not call DEL for these; the operator does.
        for (daemon, name) in [(&daemons[0], "slow"), (&daemons[1], "far")] {
            daemon.weft(&format!("detach --id default-{name} --ifname eth0"))?;
        }
        nothing_left(&nodes[0], &daemons[0])?;
        nothing_left(&nodes[1], &daemons[1])
    })
    .unwrap();
}
