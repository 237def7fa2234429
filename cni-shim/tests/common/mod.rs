//! A daemon that does what a test tells it, a container's namespace, and the plugin that is run for both.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests; each uses a part of this"
)]

pub mod daemon;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The plugin as it is built.
pub const PLUGIN: &str = env!("CARGO_BIN_EXE_weft-cni");
/// No run takes longer, whatever is wrong.
const DEADLINE: &str = "60";
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A directory of one test. Dropped, it is removed.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weft-cni-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Files that DEL has left for the daemon, by name.
    pub fn queued(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.at("state/unplug")) else { return Vec::new() };
        let mut all: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
        all.sort();
        all
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A network namespace of its own, as long as a process in it waits for its stdin to end: also when the test is killed.
pub struct Netns(Child);

impl Netns {
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo in; exec cat >&2"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        Self(child)
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    pub fn inode(&self) -> u64 {
        fs::metadata(self.path()).unwrap().ino()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// What the plugin did.
#[derive(Debug)]
pub struct Outcome {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Outcome {
    /// The answer: stdout is one JSON object and nothing else.
    pub fn json(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{self:?}"));
        assert!(value.is_object(), "{self:?}");
        value
    }

    /// The code of an error; 0 if it is none. Either is told as the specification has it.
    pub fn code(&self) -> u64 {
        if self.success {
            return 0;
        }
        let error = self.json();
        assert!(error["cniVersion"].is_string() && error["msg"].is_string(), "{self:?}");
        error["code"].as_u64().unwrap()
    }
}

/// A call of the plugin.
pub struct Call {
    pub env: BTreeMap<OsString, OsString>,
    pub stdin: Vec<u8>,
    pub program: PathBuf,
}

impl Call {
    pub fn new(scratch: &Scratch, verb: &str, config: &Value) -> Self {
        let call = Self {
            env: BTreeMap::new(),
            stdin: config.to_string().into_bytes(),
            program: PLUGIN.into(),
        };
        call.env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "c-1")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", scratch.at("bin"))
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("WEFT_SOCKET", scratch.at("weft.sock"))
            .env("WEFT_STATE_DIR", scratch.at("state"))
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.into(), value.as_ref().into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(OsStr::new(name));
        self
    }

    pub fn netns(self, path: impl AsRef<Path>) -> Self {
        self.env("CNI_NETNS", path.as_ref())
    }

    pub fn stdin(self, stdin: impl Into<Vec<u8>>) -> Self {
        Self { stdin: stdin.into(), ..self }
    }

    pub fn program(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    pub fn run(&self) -> Outcome {
        let began = Instant::now();
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", DEADLINE]).arg(&self.program).env_clear().envs(&self.env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Who refuses before it has read everything closes it.
        drop(child.stdin.take().unwrap().write_all(&self.stdin));
        let output = child.wait_with_output().unwrap();
        Outcome {
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: began.elapsed(),
        }
    }
}

pub fn config(version: &str) -> Value {
    json!({ "cniVersion": version, "name": "weft", "type": "weft-cni" })
}

/// What the verb needs besides.
pub fn config_for(verb: &str, version: &str, netns: &Path) -> Value {
    let mut config = config(version);
    match verb {
        "CHECK" => config["prevResult"] = previous(version, netns),
        "GC" => {
            config["cni.dev/valid-attachments"] =
                json!([{ "containerID": "c-1", "ifname": "eth0" }]);
        }
        _ => {}
    }
    config
}

/// What ADD has said of [`daemon::plugged`].
pub fn previous(version: &str, netns: &Path) -> Value {
    json!({
        "cniVersion": version,
        "interfaces": [
            { "name": "weave", "mac": "02:00:00:00:00:01" },
            { "name": "vethwe1234567", "mac": "02:00:00:00:00:02" },
            { "name": "eth0", "mac": "02:00:0a:20:00:05", "sandbox": netns },
        ],
        "ips": [{ "version": "4", "address": "10.32.0.5/12", "gateway": "10.32.0.1", "interface": 2 }],
    })
}
