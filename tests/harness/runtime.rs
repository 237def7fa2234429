//! What a container runtime does: network namespaces, and calls of a CNI plugin.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::host::{Host, Output};
use super::node::Node;
use super::proc::Proc;
use super::wait::wait_until;
use super::weftd;

/// How long a call may take.
const WAIT: Duration = Duration::from_secs(20);

/// A container without an interface: a network namespace with a process in it.
#[derive(Debug)]
pub struct Container {
    host: Host,
    /// Its first process, by which the namespace is found.
    pub init: Proc,
    /// Its id.
    pub id: String,
}

impl Container {
    /// A container on a node.
    pub fn new(node: &Node, id: &str) -> Result<Self> {
        let host = node.run.namespace(&format!("{}-{id}", node.name()))?;
        let init = host.spawn_quietly(&["sleep", "3600"])?;
        let its = format!("/proc/{}/ns/net", init.pid());
        let named = format!("/run/netns/{}", host.netns());
        // Until it has entered, it is in the namespace of whoever runs the lab.
        wait_until(WAIT, "a container's process in its namespace", || {
            let inode = |path: &str| std::fs::metadata(path).map(|it| it.ino()).ok();
            inode(&named).is_some() && inode(&its) == inode(&named)
        })?;
        Ok(Self { host, init, id: id.to_owned() })
    }

    /// Where commands run in it.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The path of its network namespace, as every process sees it.
    #[must_use]
    pub fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.init.pid())
    }

    /// Ends it: nothing is left of its namespace.
    pub fn delete(mut self) -> Result<()> {
        self.init.kill()?;
        self.host.run.root_run(&["ip", "netns", "del", &self.host.netns()]).map(drop)
    }
}

/// A network's configuration for the plugin.
#[must_use]
pub fn network(version: &str) -> Value {
    json!({ "cniVersion": version, "name": "weft", "type": "weft-cni" })
}

/// Calls `weft-cni` on a node.
pub fn call(
    node: &Node,
    verb: &str,
    (id, ifname, netns): (&str, &str, &str),
    config: &Value,
) -> Result<Output> {
    call_with(node, verb, (id, ifname, netns), config, &[])
}

/// The same with more variables.
pub fn call_with(
    node: &Node,
    verb: &str,
    (id, ifname, netns): (&str, &str, &str),
    config: &Value,
    more: &[&str],
) -> Result<Output> {
    let plugin = weftd::path("weft-cni")?;
    let set = [
        format!("CNI_COMMAND={verb}"),
        format!("CNI_CONTAINERID={id}"),
        format!("CNI_IFNAME={ifname}"),
        format!("CNI_NETNS={netns}"),
        "CNI_PATH=/opt/cni/bin:/usr/lib/cni".to_owned(),
        format!("CONFIG={config}"),
    ];
    let mut argv = vec!["env"];
    argv.extend(set.iter().map(String::as_str));
    argv.extend(more);
    let line = format!("printf %s \"$CONFIG\" | {plugin}");
    argv.extend(["sh", "-c", &line]);
    node.try_run_for(WAIT, &argv)
}

/// Adds a container to the network; what the plugin said.
pub fn add(node: &Node, container: &Container) -> Result<Value> {
    let of = (&*container.id, "eth0", &*container.netns());
    let output = call(node, "ADD", of, &network("1.1.0"))?;
    ensure!(output.status.success(), "ADD {}: {output:?}", container.id);
    Ok(serde_json::from_str(&output.stdout)?)
}

/// Takes it off the network again, as containerd does: without a namespace.
pub fn del(node: &Node, id: &str) -> Result<()> {
    let output = call(node, "DEL", (id, "eth0", ""), &network("1.1.0"))?;
    ensure!(output.status.success() && output.stdout.is_empty(), "DEL {id}: {output:?}");
    Ok(())
}

/// The code of the error that a plugin has told.
pub fn code(output: &Output) -> Result<u64> {
    ensure!(!output.status.success(), "it did not fail: {output:?}");
    let error: Value =
        serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
    error.pointer("/code").and_then(Value::as_u64).with_context(|| format!("no code: {error}"))
}

/// The first address of a result.
pub fn address(result: &Value) -> Result<IpAddr> {
    let text = result.pointer("/ips/0/address").and_then(Value::as_str);
    let text = text.with_context(|| format!("no address: {result}"))?;
    Ok(text.split('/').next().unwrap_or_default().parse()?)
}
