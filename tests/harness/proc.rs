//! A process of the lab: output in files, killed and reaped when dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::spawner;
use super::wait::poll;

/// Clock ticks per second in `/proc/PID/stat`: USER_HZ, 100 on every Linux of ours.
const USER_HZ: u64 = 100;
/// How long a killed process may take to go.
const REAP_WAIT: Duration = Duration::from_secs(10);
/// How much of a log an error message quotes.
const QUOTE_LINES: usize = 20;

/// A running (or ended) process. Dropping it kills it by pid and reaps it.
#[derive(Debug)]
pub struct Proc {
    child: Child,
    label: String,
    stdout: PathBuf,
    stderr: PathBuf,
    status: Option<ExitStatus>,
}

impl Proc {
    /// Starts `command` with its output in `base.out` and `base.err`.
    pub(super) fn start(mut command: Command, label: String, base: &Path) -> Result<Self> {
        let stdout = base.with_extension("out");
        let stderr = base.with_extension("err");
        let create =
            |path: &Path| File::create(path).with_context(|| format!("log {}", path.display()));
        command.stdin(Stdio::null()).stdout(create(&stdout)?).stderr(create(&stderr)?);
        let child = spawner::spawn(command).with_context(|| format!("cannot start `{label}`"))?;
        Ok(Self { child, label, stdout, stderr, status: None })
    }

    /// Its process id: that of the command itself, not of a wrapper.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command line, for messages.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// The file that takes its stdout.
    #[must_use]
    pub fn stdout_path(&self) -> &Path {
        &self.stdout
    }

    /// The file that takes its stderr.
    #[must_use]
    pub fn stderr_path(&self) -> &Path {
        &self.stderr
    }

    /// Waits for a whole line with `pattern` in it, on stdout or stderr, and returns the line.
    /// Fails at once when the process ends without it.
    pub fn wait_for_line(&mut self, pattern: &str, limit: Duration) -> Result<String> {
        let found = poll(limit, || {
            // Ask for the end first: what it wrote before ending is in the file by then.
            let ended = self.try_wait()?;
            let line = find_line(&self.stdout(), pattern).or_else(|| {
                // The borrow of the first text ends here; two small files beat one clever read.
                find_line(&self.stderr(), pattern)
            });
            match (line, ended) {
                (Some(line), _) => Ok(Some(line)),
                (None, None) => Ok(None),
                (None, Some(status)) => {
                    bail!("`{}` ended ({status}) without {pattern:?}{}", self.label, self.quote())
                }
            }
        })?;
        found.with_context(|| {
            format!("`{}`: no {pattern:?} within {limit:?}{}", self.label, self.quote())
        })
    }

    /// Sends a signal; an error when the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.try_wait()? {
            bail!("`{}` has ended ({status}), no {signal} for it", self.label);
        }
        kill(self.nix_pid()?, signal).with_context(|| format!("{signal} to `{}`", self.label))
    }

    /// Kills it with SIGKILL and reaps it; fine when it has ended already.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if self.try_wait()?.is_none() {
            self.child.kill().with_context(|| format!("cannot kill `{}`", self.label))?;
        }
        self.wait(REAP_WAIT)
    }

    /// Waits for the end; an error after `limit`, the process lives on.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = poll(limit, || self.try_wait())?;
        status
            .with_context(|| format!("`{}` still runs after {limit:?}{}", self.label, self.quote()))
    }

    /// The exit status if it has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("cannot wait for a child")?;
        }
        Ok(self.status)
    }

    /// Whether it still runs.
    #[must_use]
    pub fn running(&mut self) -> bool {
        matches!(self.try_wait(), Ok(None))
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        let status = self.proc_file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let value = line.and_then(|rest| rest.split_whitespace().next());
        value.context("no VmRSS")?.parse().context("VmRSS is not a number")
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> Result<usize> {
        let dir = format!("/proc/{}/fd", self.pid());
        Ok(fs::read_dir(&dir).with_context(|| format!("cannot list {dir}"))?.count())
    }

    /// Processor time used by all its threads, user and system.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.proc_file("stat")?;
        // The name in parentheses may hold spaces: count from behind it. utime and stime are
        // fields 14 and 15 of the line, so the 12th and 13th after the name.
        let (_name, rest) = stat.rsplit_once(')').context("malformed stat")?;
        let mut ticks = 0;
        for field in rest.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<u64>().context("malformed stat")?;
        }
        Ok(Duration::from_millis(ticks * 1000 / USER_HZ))
    }

    /// The last lines of both logs, for messages.
    pub(super) fn quote(&self) -> String {
        quote(&self.stdout, &self.stderr)
    }

    fn proc_file(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.pid());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    fn nix_pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.pid()).context("pid out of range")?))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("lab: {error:#}");
        }
    }
}

/// The last lines of a process's logs, indented.
pub(super) fn quote(stdout: &Path, stderr: &Path) -> String {
    let mut quoted = String::new();
    for (name, path) in [("stdout", stdout), ("stderr", stderr)] {
        let log = text(path);
        let lines: Vec<&str> = log.lines().collect();
        let skipped = lines.len().saturating_sub(QUOTE_LINES);
        for line in lines.iter().skip(skipped) {
            quoted.push_str("\n    ");
            quoted.push_str(name);
            quoted.push_str(": ");
            quoted.push_str(line);
        }
    }
    quoted
}

/// The whole file, or as much as can be read of it: logs may hold anything.
pub(super) fn text(path: &Path) -> String {
    fs::read(path).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default()
}

fn find_line(log: &str, pattern: &str) -> Option<String> {
    let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(str::trim_end).find(|line| line.contains(pattern)).map(str::to_owned)
}
