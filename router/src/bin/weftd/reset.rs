//! `weftd --reset`: removes what weft has made on this node, and only that.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use router::expose::Exposer;
use router::guard::Guard;
use switch::Remains;

use crate::start::be_sole;
use crate::{addresses, exposed, pods};

/// What is left after an end, and helps the next start.
const LAST: [&str; 5] = ["plan", "plan.new", "plan.bad", router::expose::FILE, "exposed.new"];
/// Who the node is, whom it was given, and what it owns.
const IDENTITY: [&str; 10] = [
    "mesh.json",
    "mesh.json.new",
    "peers.json",
    "peers.json.new",
    "peers.json.bad",
    "lock",
    router::ledger::FILE,
    pods::FILE,
    exposed::FILE,
    exposed::FRESH,
];

/// What is to be removed.
#[derive(Clone, Debug)]
pub(crate) struct Reset {
    pub(crate) state_dir: PathBuf,
    pub(crate) socket: PathBuf,
    /// Only say what would be.
    pub(crate) dry_run: bool,
    /// Although pods are plugged in.
    pub(crate) force: bool,
    /// The node's name and its peers, too.
    pub(crate) all: bool,
}

/// Does it, and prints what was removed, one a line.
pub(crate) fn run(reset: &Reset) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(remove(reset))
}

async fn remove(reset: &Reset) -> anyhow::Result<()> {
    // None can start meanwhile. What is only looked at may be in use.
    let sole = match be_sole() {
        Err(_) if reset.dry_run => None,
        sole => Some(sole.context("stop weftd first, then reset")?),
    };
    let remains = Remains::find().await?;
    let plugged = remains.pods().join(", ");
    if sole.is_some() {
        check_pods(reset, &plugged)?;
        check_addresses(reset)?;
    }
    let links: Vec<_> = remains.names().map(|name| format!("link {name}")).collect();
    let mut exposer =
        Exposer::open(&reset.state_dir).context("cannot read which addresses were exposed")?;
    let (bridge, exposed) = exposer.ours();
    let bridge = bridge.to_owned();
    let exposed: Vec<_> = exposed.iter().map(|it| format!("address {it} of {bridge}")).collect();
    let files: Vec<PathBuf> =
        files(reset).filter(|file| fs::symlink_metadata(file).is_ok()).collect();
    if reset.dry_run {
        let tables = Guard::tables().await?;
        let tables = tables.into_iter().map(|table| format!("table {table}"));
        let files = files.iter().map(|file| name(file));
        say(exposed.into_iter().chain(links).chain(tables).chain(files))?;
        if sole.is_none() {
            tell_what_is_first(&plugged);
        }
        return Ok(());
    }
    exposer.reconcile(&bridge, &BTreeSet::new()).await?;
    say(exposed)?;
    remains.remove().await?;
    say(links)?;
    // Last of what the kernel has: until here nobody could send to what was there.
    let tables = Guard::tables().await?;
    Guard::remove().await?;
    say(tables.into_iter().map(|table| format!("table {table}")))?;
    for file in &files {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    say(files.iter().map(|file| name(file)))
}

fn check_pods(reset: &Reset, pods: &str) -> anyhow::Result<()> {
    if pods.is_empty() || reset.force {
        return Ok(());
    }
    bail!(
        "pods are plugged into the bridge ({pods}): remove them, or say --force, and they lose their network"
    )
}

/// What is to be done before that can be removed. Not for whoever reads the list.
fn tell_what_is_first(pods: &str) {
    let pods =
        if pods.is_empty() { String::new() } else { format!(", and remove the pods {pods}") };
    // Who does not listen gets the exit code all the same.
    drop(writeln!(io::stderr(), "weftd runs: stop it{pods}, before a reset"));
}

/// What others take for this node's is not to be forgotten here alone.
fn check_addresses(reset: &Reset) -> anyhow::Result<()> {
    if !reset.all || reset.force {
        return Ok(());
    }
    let what_to_do = "start weftd and run weft reset, which hands them to another node; or say --force, and run weft rmpeer with this node's name on another one";
    match addresses::owned(&reset.state_dir) {
        Ok(None | Some((0, 0))) => Ok(()),
        Ok(Some((owned, leases))) => {
            bail!("this node owns {owned} addresses and has leased {leases}: {what_to_do}")
        }
        Err(error) => bail!("cannot see which addresses this node owns ({error:#}): {what_to_do}"),
    }
}

fn files(reset: &Reset) -> impl Iterator<Item = PathBuf> {
    let identity = IDENTITY.iter().filter(|_| reset.all);
    let state = LAST.iter().chain(identity).map(|name| reset.state_dir.join(name));
    let witness = reset.all.then(|| reset.socket.with_file_name(router::ledger::WITNESS));
    state.chain(witness).chain(is_stale(&reset.socket).then(|| reset.socket.clone()))
}

/// Whether a daemon that was killed has left it.
fn is_stale(socket: &Path) -> bool {
    let is_socket = fs::symlink_metadata(socket).is_ok_and(|it| it.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(socket).is_err_and(refused)
}

fn name(file: &Path) -> String {
    format!("file {}", file.display())
}

fn say(lines: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(error).context("cannot write to stdout");
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
