//! `weftd --reset`: removes what weft has made on this node, and only that.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use router::guard::Guard;
use switch::Remains;

use crate::start::be_sole;

/// What is left after an end, and helps the next start.
const LAST: [&str; 3] = ["plan", "plan.new", "plan.bad"];
/// Who the node is, and whom it was given.
const IDENTITY: [&str; 6] =
    ["mesh.json", "mesh.json.new", "peers.json", "peers.json.new", "peers.json.bad", "lock"];

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
    // None can start meanwhile.
    let _sole = be_sole().context("stop weftd first, then reset")?;
    let remains = Remains::find().await?;
    let links: Vec<_> = remains.names().map(|name| format!("link {name}")).collect();
    let pods = remains.pods().join(", ");
    if !pods.is_empty() && !reset.force {
        bail!(
            "pods are plugged into the bridge ({pods}): remove them, or say --force, and they lose their network"
        );
    }
    let files: Vec<PathBuf> =
        files(reset).filter(|file| fs::symlink_metadata(file).is_ok()).collect();
    if reset.dry_run {
        let tables = Guard::tables().await?;
        let tables = tables.into_iter().map(|table| format!("table {table}"));
        return say(links.into_iter().chain(tables).chain(files.iter().map(|file| name(file))));
    }
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

fn files(reset: &Reset) -> impl Iterator<Item = PathBuf> {
    let identity = IDENTITY.iter().filter(|_| reset.all);
    let state = LAST.iter().chain(identity).map(|name| reset.state_dir.join(name));
    state.chain(is_stale(&reset.socket).then(|| reset.socket.clone()))
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
