//! cnitool, libcni's own client: a container runtime that nobody here wrote.
//!
//! It is built once, by Go, into a directory that outlives `target/`: `WEFT_CACHE`, else `~/.cache/weft`.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::host::Output;
use super::node::Node;
use super::runtime::Container;
use super::weftd::Daemon;

/// What is built, of github.com/containernetworking/cni.
const VERSION: &str = "v1.3.1";
/// Seconds that building may take, with all that has to be downloaded.
const BUILD_WAIT: &str = "600";
/// How long a call may take.
const WAIT: Duration = Duration::from_secs(20);

/// Builds `$1/cnitool` of version `$2`, unless it is there. It takes Go 1.21; an older one (Debian 12's) fetches a newer one as it
/// does any module, which comes without the right to run.
const BUILD: &str = r#"
mkdir -p "$1"
exec 9>"$1/lock"
flock 9
[ ! -x "$1/cnitool" ] || exit 0
export HOME="${HOME:-/root}" CGO_ENABLED=0 GOFLAGS=-mod=mod GOBIN="$1/partial" PATH="$PATH:/usr/local/go/bin"
cd "$1"
if [ -z "$(go env GOTOOLCHAIN)" ]; then
    newer=golang.org/toolchain@v0.0.1-go1.24.4.linux-$(go env GOARCH)
    newer=$(go mod download -json "$newer" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    chmod -R +x "$newer/bin" "$newer/pkg/tool"
    unset GOROOT
    PATH=$newer/bin:$PATH
fi
nice -n 5 go install "github.com/containernetworking/cni/cnitool@$2"
mv "$1/partial/cnitool" "$1/cnitool""#;

/// Where the program is. Call it before a turn is taken: the first time it is built.
pub fn program() -> Result<PathBuf> {
    let cache = env::var_os("WEFT_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        home.join(".cache/weft")
    });
    let dir = cache.join(format!("cnitool-{VERSION}"));
    let mut build = Command::new("timeout");
    build.args([BUILD_WAIT, "sh", "-ec", BUILD, "cnitool"]).arg(&dir).arg(VERSION);
    let built = build.output().context("cannot run timeout")?;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "cnitool cannot be built: {}: {said}", built.status);
    Ok(dir.join("cnitool"))
}

/// cnitool on a node, which has what `weft setup-cni` installs, and a directory of plugins of its own.
#[derive(Debug)]
pub struct Cnitool {
    node: Node,
    program: String,
}

impl Cnitool {
    /// Installs the plugins and the configuration.
    pub fn set_up(daemon: &Daemon) -> Result<Self> {
        let node = daemon.node().clone();
        let program = program()?.into_os_string().into_string().ok().context("no UTF-8")?;
        node.sh("mount -t tmpfs weft-lab /opt; mkdir -p /opt/cni/bin; ln -s /usr/lib/cni/* /opt/cni/bin/")?;
        daemon.weft("setup-cni")?;
        Ok(Self { node, program })
    }

    /// Changes the configuration that `weft setup-cni` has written.
    pub fn configure(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let path = "/etc/cni/net.d/10-weft.conflist";
        let mut all = serde_json::from_str(&self.node.run(&["cat", path])?)?;
        change(&mut all);
        self.node.sh(&format!("cat >{path} <<'END'\n{all}\nEND")).map(drop)
    }

    /// Calls it, with these variables.
    pub fn call(&self, verb: &str, netns: &str, env: &[&str]) -> Result<Output> {
        let mut argv = vec!["env", "CNI_PATH=/opt/cni/bin", "NETCONFPATH=/etc/cni/net.d"];
        argv.extend(env);
        argv.extend([&self.program, verb, "weft", netns]);
        self.node.try_run_for(WAIT, &argv)
    }

    /// Adds a container, with what its runtime wants of the plugins' capabilities. What all of them have said.
    pub fn add(&self, container: &Container, wanted: &Value) -> Result<Value> {
        let env = format!("CAP_ARGS={wanted}");
        let output = self.call("add", &container.netns(), &[&env])?;
        ensure!(output.status.success(), "add {}: {output:?}", container.id);
        Ok(serde_json::from_str(&output.stdout)?)
    }

    /// Takes it away again, with the same.
    pub fn del(&self, container: &Container, wanted: &Value) -> Result<()> {
        let env = format!("CAP_ARGS={wanted}");
        let output = self.call("del", &container.netns(), &[&env])?;
        ensure!(output.status.success(), "del {}: {output:?}", container.id);
        Ok(())
    }
}
