//! The lab itself: one run, its nodes, and their end.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{process, thread};

use anyhow::{Context, Result, bail};

use super::clean::{self, PREFIX, runs_dir};
use super::host::{Host, root_output};
use super::node::Node;
use super::proc::{Proc, quote};
use super::underlay::{Underlay, Wiring};

/// A throw-away cluster. Dropping it removes everything, also while a test unwinds; then it
/// first prints the logs of its processes and the state of its bridges.
#[derive(Debug)]
pub struct Lab {
    run: Arc<Run>,
    wiring: Mutex<Wiring>,
    nodes: Mutex<Vec<Node>>,
}

impl Lab {
    /// An empty lab; `test` names it in messages. Needs root.
    pub fn new(test: &str) -> Result<Self> {
        require_root()?;
        let run = Arc::new(Run::create(test)?);
        Ok(Self { run, wiring: Mutex::default(), nodes: Mutex::default() })
    }

    /// Runs `body` in a new lab and prints the lab's state when it returns an error, as a panic
    /// would. For tests that use `?`.
    pub fn with<T>(test: &str, body: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let lab = Self::new(test)?;
        body(&lab).inspect_err(|error| {
            eprintln!("lab: {test} failed: {error:#}");
            lab.dump();
        })
    }

    /// Adds nodes on `underlay`: exactly two the first time are joined by a veth pair, any other
    /// number by a bridge. Names go on as `n1`, `n2`, .. and addresses as .1, .2, ..
    pub fn nodes<const N: usize>(&self, underlay: &Underlay) -> Result<[Node; N]> {
        let mut wiring = self.wiring.lock().unwrap_or_else(PoisonError::into_inner);
        let made = wiring.add_nodes(&self.run, underlay, N, |node| {
            self.nodes.lock().unwrap_or_else(PoisonError::into_inner).push(node);
        })?;
        made.try_into().map_err(|_wrong| anyhow::anyhow!("the underlay made other than {N} nodes"))
    }

    /// The run's id: what its namespaces in `ip netns` start with.
    #[must_use]
    pub fn id(&self) -> &str {
        self.run.id()
    }

    /// A directory for files of the test, visible from every node; removed with the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.run.dir
    }

    /// Prints the tail of every process's logs and the links and bridges of every node.
    pub fn dump(&self) {
        eprintln!("==== lab {} ({}) ====", self.id(), self.run.test);
        for record in self.run.records().iter() {
            eprintln!("-- {}{}", record.label, quote(&record.stdout, &record.stderr));
        }
        for node in self.nodes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for look in [
                &["ip", "-d", "link"][..],
                &["ip", "-br", "addr"],
                &["bridge", "-d", "link"],
                &["bridge", "fdb"],
                &["nft", "list", "ruleset"],
            ] {
                let seen = node.run(look).unwrap_or_else(|error| format!("{error:#}"));
                eprintln!("-- {}: {}\n{}", node.name(), look.join(" "), seen.trim_end());
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dump();
        }
        if let Err(error) = clean::remove(self.id()) {
            eprintln!("lab {}: {error:#}", self.id());
        }
    }
}

/// An error that says so unless we are root: a lab makes namespaces and devices.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("the lab makes network namespaces and needs root: run it with sudo")
}

/// A program of this workspace: from `WEFT_BIN_DIR`, else from the profile directory that the
/// running test was built into.
pub fn bin(name: &str) -> Result<PathBuf> {
    let dir = match env::var_os("WEFT_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => profile_dir()?,
    };
    let path = dir.join(name);
    if path.is_file() {
        return Ok(path);
    }
    bail!("no {}: run `cargo build --workspace --bins` or set WEFT_BIN_DIR", path.display())
}

/// An example of this workspace: from `WEFT_BIN_DIR/examples`, else as [`bin`].
pub fn example(name: &str) -> Result<PathBuf> {
    match bin(&format!("examples/{name}")) {
        Ok(path) => Ok(path),
        Err(error) => {
            bail!("{error}; this one is an example: `cargo build --workspace --examples`")
        }
    }
}

/// `target/PROFILE` for `target/PROFILE/deps/TEST-HASH` and for `target/PROFILE/BIN`.
fn profile_dir() -> Result<PathBuf> {
    let exe = env::current_exe().context("cannot tell where this test lies")?;
    let dir = exe.parent().context("this test lies nowhere")?;
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    Ok(dir.to_owned())
}

/// What the parts of one lab share: its id, its directory, the list of its processes.
#[derive(Debug)]
pub(super) struct Run {
    id: String,
    test: String,
    pub(super) dir: PathBuf,
    /// Locked while this process lives: how `lab-clean` knows.
    _owner: File,
    logs: AtomicU32,
    records: Mutex<Vec<Record>>,
}

/// A process that a test has started, for [`Lab::dump`].
#[derive(Debug)]
pub(super) struct Record {
    label: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Run {
    fn create(test: &str) -> Result<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let _gate = clean::gate_shared()?;
        let counter = LABS.fetch_add(1, Ordering::Relaxed);
        let id = format!("{PREFIX}{}-{}", base36(process::id()), base36(counter));
        // A process with our pid may have died here before us.
        clean::remove(&id)?;
        let dir = runs_dir()?.join(&id);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let owner = File::create(dir.join("owner"))?;
        owner.try_lock().context("somebody else owns our run")?;
        fs::write(dir.join("test"), test)?;
        let (logs, records) = (AtomicU32::new(0), Mutex::default());
        Ok(Self { id, test: test.to_owned(), dir, _owner: owner, logs, records })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// A new file name, without extension, for the logs of `program`.
    pub(super) fn log_base(&self, program: &str) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        let program = Path::new(program).file_stem().unwrap_or_default();
        self.dir.join(format!("{number:04}-{}", program.display()))
    }

    pub(super) fn remember(&self, proc: &Proc, host: &str) {
        let label = format!("{} [{} on {host}]", proc.label(), proc.pid());
        let (stdout, stderr) = (proc.stdout_path().to_owned(), proc.stderr_path().to_owned());
        self.records().push(Record { label, stdout, stderr });
    }

    /// Runs a command outside the lab's namespaces.
    pub(super) fn root_run(&self, argv: &[&str]) -> Result<String> {
        root_output(self, argv)
    }

    /// Makes a network namespace with `lo` up and IPv6 addresses that work at once.
    pub(super) fn namespace(self: &Arc<Self>, name: &str) -> Result<Host> {
        let host = Host::new(self, name);
        self.root_run(&["ip", "netns", "add", &host.netns()])?;
        host.sh(SETTLE_NAMESPACE)?;
        Ok(host)
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No duplicate address detection (it takes a second), no router solicitations (noise), and
/// addresses that outlive a link that goes down, as IPv4's do.
const SETTLE_NAMESPACE: &str = "
cd /proc/sys/net/ipv6/conf
for each in all default; do
    echo 0 >$each/accept_dad
    echo 0 >$each/dad_transmits
    echo 0 >$each/router_solicitations
    echo 1 >$each/keep_addr_on_down
done
ip link set lo up";

/// Short names for numbers: digits, then letters.
fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(number % 36, 36));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::base36;

    #[test]
    fn base36_counts_with_letters() {
        assert_eq!(base36(0), "0");
        assert_eq!(base36(35), "z");
        assert_eq!(base36(36 * 36 + 1), "101");
    }
}
