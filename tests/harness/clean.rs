//! Removing runs: what a dropped lab does, and what `lab-clean` does for owners that died.
//!
//! A run is a directory under [`runs_dir`] (logs, captures, the owner's lock) and the network
//! namespaces whose names start with the run's id. Everything else in a run hangs on those.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::poll;

/// What the id of every run starts with.
pub(crate) const PREFIX: &str = "wl-";
/// Where `ip netns` keeps its names.
const NETNS_DIR: &str = "/run/netns";
/// How long somebody else's cleaning may take.
const GATE_WAIT: Duration = Duration::from_secs(60);
/// How long killed processes may take to go.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The directory of all runs, made when missing. It must be visible from inside the nodes,
/// whose `/run` and `/var/lib` are their own.
pub fn runs_dir() -> Result<PathBuf> {
    let dir = PathBuf::from("/tmp/weft-lab");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Removes the runs whose owner is dead, or with `all` every run; returns their ids.
pub fn clean(all: bool) -> Result<Vec<String>> {
    let _gate = gate()?;
    let mut removed = Vec::new();
    for run in runs()? {
        if all || !alive(&run)? {
            remove(&run)?;
            removed.push(run);
        }
    }
    Ok(removed)
}

/// Kills what runs in the run's namespaces, removes them and the run's directory.
/// Goes on after an error and reports the first; what is gone already is no error.
pub(crate) fn remove(run: &str) -> Result<()> {
    let spaces = namespaces(run)?;
    let mut steps = vec![kill_inside(&spaces, &[])];
    steps.extend(spaces.iter().map(|name| delete_namespace(name)));
    steps.push(match fs::remove_dir_all(runs_dir()?.join(run)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context("cannot remove the run's directory")
        }
        Ok(()) | Err(_) => Ok(()),
    });
    steps.into_iter().collect()
}

/// Kills with SIGKILL every process in these network namespaces except `spared`, until none
/// is left: one that forks while we look is found at the next look.
pub(crate) fn kill_inside(spaces: &[String], spared: &[u32]) -> Result<()> {
    let inodes = spaces.iter().filter_map(|name| inode(&Path::new(NETNS_DIR).join(name)));
    let mut inodes: BTreeSet<u64> = inodes.collect();
    // Never the namespace we are in ourselves, whatever bears the name.
    if let Some(own) = inode(Path::new("/proc/self/ns/net")) {
        inodes.remove(&own);
    }
    let gone = poll(KILL_WAIT, || {
        let pids = inhabitants(&inodes)?;
        let doomed: Vec<u32> = pids.into_iter().filter(|pid| !spared.contains(pid)).collect();
        for pid in &doomed {
            match kill(Pid::from_raw(i32::try_from(*pid)?), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context(format!("cannot kill {pid}")),
            }
        }
        Ok(doomed.is_empty().then_some(()))
    })?;
    gone.with_context(|| format!("processes in {spaces:?} survive SIGKILL"))
}

/// Held shared while a run is being made and exclusively while runs are being removed, so that
/// a run without its lock yet is never taken for a dead one.
pub(crate) fn gate_shared() -> Result<File> {
    pass_gate(File::try_lock_shared)
}

/// The exclusive side of [`gate_shared`].
fn gate() -> Result<File> {
    pass_gate(File::try_lock)
}

/// The run's network namespaces, pods before their nodes.
pub(crate) fn namespaces(run: &str) -> Result<Vec<String>> {
    let prefix = format!("{run}-");
    let mut names = entries(Path::new(NETNS_DIR))?;
    names.retain(|name| name.starts_with(&prefix));
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    Ok(names)
}

fn pass_gate(lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<File> {
    let path = runs_dir()?.join("gate.lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let passed = poll(GATE_WAIT, || match lock(&file) {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the gate"),
    })?;
    passed.context("somebody else cleans labs and does not end")?;
    Ok(file)
}

/// The ids of all runs, by their directories and by their namespaces.
fn runs() -> Result<BTreeSet<String>> {
    let mut names = entries(&runs_dir()?)?;
    names.extend(entries(Path::new(NETNS_DIR))?);
    Ok(names.iter().filter_map(|name| run_of(name)).collect())
}

/// `wl-3f2-0-n1` belongs to the run `wl-3f2-0`.
fn run_of(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let (pid, counter) = (parts.next()?, parts.next()?);
    Some(format!("{PREFIX}{pid}-{counter}"))
}

/// A run is alive while its owner holds the lock: unlike a pid, a lock is never reused.
fn alive(run: &str) -> Result<bool> {
    match File::open(runs_dir()?.join(run).join("owner")) {
        Ok(owner) => Ok(owner.try_lock().is_err()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("cannot open the owner's lock"),
    }
}

fn delete_namespace(name: &str) -> Result<()> {
    let output = Command::new("ip").args(["netns", "del", name]).output()?;
    if !output.status.success() && Path::new(NETNS_DIR).join(name).exists() {
        bail!("cannot delete {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The processes in these network namespaces. Zombies have none, so they do not count.
fn inhabitants(inodes: &BTreeSet<u64>) -> Result<Vec<u32>> {
    let pids = entries(Path::new("/proc"))?.into_iter().filter_map(|name| name.parse().ok());
    let inside = |pid: &u32| {
        inode(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|ino| inodes.contains(&ino))
    };
    Ok(pids.filter(inside).collect())
}

fn inode(path: &Path) -> Option<u64> {
    Some(fs::metadata(path).ok()?.ino())
}

/// The names in a directory; none when there is no such directory.
fn entries(dir: &Path) -> Result<Vec<String>> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", dir.display())),
    };
    let names =
        listing.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::run_of;

    #[test]
    fn the_run_of_a_namespace_is_its_first_three_parts() {
        assert_eq!(run_of("wl-3f2-0-n1-p1").as_deref(), Some("wl-3f2-0"));
        assert_eq!(run_of("wl-3f2-0").as_deref(), Some("wl-3f2-0"));
        assert_eq!(run_of("wl-3f2"), None);
        assert_eq!(run_of("cni-1234-0-x"), None);
    }
}
