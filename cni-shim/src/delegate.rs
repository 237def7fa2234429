//! Another plugin, which gives addresses: it is run with the same environment and configuration, within a time and a size.
#![expect(clippy::disallowed_methods, reason = "a shell: the deadline is of real time")]

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rscni_types::error::Error;
use rscni_types::types::{CNI_COMMAND, CNIResult, Cmd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::Deserialize;

use crate::call::Request;
use crate::failure::IPAM_FAILED;

/// How long it may take: less than runtimes wait for ADD, with time left to undo (kubelet: two minutes).
const WITHIN: Duration = Duration::from_secs(30);
/// Octets of its answer: more is none.
const STDOUT_MAX: usize = 1 << 20;
/// Octets read at once.
const READ: usize = 16 << 10;

/// An IPAM plugin.
#[derive(Debug)]
pub(crate) struct Delegate<'a> {
    /// What the configuration calls it.
    pub(crate) kind: &'a str,
    /// Where plugins are.
    pub(crate) path: &'a [PathBuf],
    /// The configuration, as it came.
    pub(crate) stdin: &'a [u8],
    pub(crate) within: Duration,
}

/// What plugins say when they fail. Those before 1.0.0 say no more than this.
#[derive(Debug, Deserialize)]
struct Failure {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

impl<'a> Delegate<'a> {
    pub(crate) fn of(request: &'a Request, kind: &'a str) -> Self {
        Self { kind, path: &request.path, stdin: &request.stdin, within: WITHIN }
    }

    /// Has it give addresses: at least one.
    ///
    /// # Errors
    /// Its own as it told it, or that it is not there (7), cannot be run (5), or makes no sense.
    pub(crate) fn add(&self) -> Result<CNIResult, Error> {
        let octets = self.run(Cmd::Add)?;
        let result = serde_json::from_slice::<CNIResult>(&octets);
        let result = result.map_err(|why| self.failed(&format!("its answer: {why}")))?;
        if result.ips.is_empty() {
            return Err(self.failed("it gave no address"));
        }
        Ok(result)
    }

    /// Has it do anything else.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(crate) fn tell(&self, verb: Cmd) -> Result<(), Error> {
        self.run(verb).map(drop)
    }

    fn run(&self, verb: Cmd) -> Result<Vec<u8>, Error> {
        let unable = |why: io::Error| Error::IOFailure(format!("ipam {}: {why}", self.kind));
        let mut running = Running::start(&self.find()?, verb).map_err(unable)?;
        if let Some(stdin) = running.child.stdin.take() {
            feed(stdin, self.stdin.to_vec()).map_err(unable)?;
        }
        let (status, octets) = match running.finish(Instant::now() + self.within) {
            Ok(done) => done,
            Err(why) if why.kind() == io::ErrorKind::TimedOut => {
                return Err(self.failed(&format!("it did not end within {:?}", self.within)));
            }
            Err(why) => return Err(unable(why)),
        };
        if status.success() {
            return Ok(octets);
        }
        match serde_json::from_slice::<Failure>(&octets) {
            Ok(its) => Err(Error::Custom(its.code, its.msg, its.details)),
            Err(_) => Err(self.failed(&format!("{status}; see its stderr"))),
        }
    }

    fn find(&self) -> Result<PathBuf, Error> {
        let wrong = |why: String| Err(Error::InvalidNetworkConfig(format!("ipam.type: {why}")));
        let mut places = self.path.iter().map(|directory| directory.join(self.kind));
        let Some(found) = places.find(|it| it.is_file()) else {
            let places: Vec<_> = self.path.iter().map(|it| it.display().to_string()).collect();
            return wrong(format!("there is no plugin {:?} in {}", self.kind, places.join(":")));
        };
        // It would run itself without end.
        if is_own(&found) {
            return wrong(format!("{:?} is this plugin; leave it out for weft's own", self.kind));
        }
        Ok(found)
    }

    fn failed(&self, why: &str) -> Error {
        Error::Custom(IPAM_FAILED, format!("IPAM plugin {} failed", self.kind), why.to_owned())
    }
}

/// A plugin at work. Dropped, it and what it has started are killed.
#[derive(Debug)]
struct Running {
    child: Child,
    done: bool,
}

impl Running {
    fn start(program: &Path, verb: Cmd) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.env(CNI_COMMAND, <&str>::from(verb)).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Ok(Self { child: command.spawn()?, done: false })
    }

    /// Waits for its end, and says what it has written: a child of its own that keeps stdout open is not waited for.
    fn finish(&mut self, deadline: Instant) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut stdout = self.child.stdout.take();
        let ended = self.ended()?;
        let mut octets = Vec::new();
        loop {
            let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
            fds.extend(stdout.as_ref().map(|it| PollFd::new(it, PollFlags::IN)));
            wait(&mut fds, deadline)?;
            let has_ended = !fds.first().is_none_or(|it| it.revents().is_empty());
            let has_written = fds.get(1).is_some_and(|it| !it.revents().is_empty());
            match &mut stdout {
                Some(from) if has_written => {
                    if take(from, &mut octets)? == 0 {
                        stdout = None;
                    }
                }
                Some(_) | None if has_ended => break,
                Some(_) | None => {}
            }
        }
        self.done = true;
        Ok((self.child.wait()?, octets))
    }

    /// Readable when it has ended.
    fn ended(&self) -> io::Result<OwnedFd> {
        let pid = self.pid().ok_or(io::ErrorKind::InvalidData)?;
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Not reaped yet, so the id is still its own.
        if let Some(pid) = self.pid() {
            kill_process_group(pid, Signal::KILL).ok();
        }
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// On a thread of its own: it may not read it, or not yet.
fn feed(mut stdin: ChildStdin, octets: Vec<u8>) -> io::Result<()> {
    let feeding = move || drop(stdin.write_all(&octets));
    thread::Builder::new().spawn(feeding).map(drop)
}

fn wait(fds: &mut [PollFd<'_>], deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(fds, Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
}

/// Reads what there is; says how much.
fn take(from: &mut (impl Read + AsFd), octets: &mut Vec<u8>) -> io::Result<usize> {
    let mut room = [0; READ];
    let read = from.read(&mut room)?;
    octets.extend(room.iter().take(read));
    if octets.len() > STDOUT_MAX {
        let why = format!("its answer is longer than {STDOUT_MAX} octets");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(read)
}

fn is_own(program: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let own = identity(Path::new("/proc/self/exe"));
    own.is_some() && own == identity(program)
}

#[cfg(test)]
mod tests;
