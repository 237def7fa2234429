//! A host: a network namespace (with or without a mount namespace) where commands run.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use super::lab::Run;
use super::proc::{Proc, text};

/// How long a command may take when nothing else is said.
const RUN_LIMIT: Duration = Duration::from_secs(20);

/// What a finished command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Where commands run: a node or a pod.
///
/// Commands are entered by an exec chain (`setpriv`, `nsenter`, the command), so the pid is that
/// of the command and a signal reaches it. Their working directory is `/`: name files in full.
#[derive(Clone, Debug)]
pub struct Host {
    pub(super) run: Arc<Run>,
    name: String,
    mounts: Option<PathBuf>,
}

impl Host {
    pub(super) fn new(run: &Arc<Run>, name: &str) -> Self {
        Self { run: Arc::clone(run), name: name.to_owned(), mounts: None }
    }

    /// The same network namespace, with the mount namespace that `holder` is in.
    pub(super) fn with_mounts_of(&self, holder: u32) -> Self {
        Self { mounts: Some(format!("/proc/{holder}/ns/mnt").into()), ..self.clone() }
    }

    /// Its short name in the lab: `n1`, `n1-p1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its network namespace, as `ip netns` shows it.
    #[must_use]
    pub fn netns(&self) -> String {
        format!("{}-{}", self.run.id(), self.name)
    }

    /// Runs a command to its end and returns its stdout; an error when it fails or takes
    /// more than 20 s.
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        self.run_for(RUN_LIMIT, argv)
    }

    /// As [`Self::run`], with its own limit.
    pub fn run_for(&self, limit: Duration, argv: &[&str]) -> Result<String> {
        let output = self.try_run_for(limit, argv)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
        bail!("{}: `{}`: {}: {}", self.name, argv.join(" "), output.status, said.trim())
    }

    /// Runs a shell line as [`Self::run`] does a command.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.run(&["sh", "-ec", line])
    }

    /// Runs a command to its end, whatever that is; an error only when it does not start or
    /// takes more than 20 s.
    pub fn try_run(&self, argv: &[&str]) -> Result<Output> {
        self.try_run_for(RUN_LIMIT, argv)
    }

    /// As [`Self::try_run`], with its own limit.
    pub fn try_run_for(&self, limit: Duration, argv: &[&str]) -> Result<Output> {
        let mut proc = self.start(&[], argv)?;
        let status = proc.wait(limit)?;
        let output = Output { status, stdout: proc.stdout(), stderr: proc.stderr() };
        for log in [proc.stdout_path(), proc.stderr_path()] {
            fs::remove_file(log)?;
        }
        Ok(output)
    }

    /// Starts a command and leaves it running.
    pub fn spawn(&self, argv: &[&str]) -> Result<Proc> {
        self.spawn_env(&[], argv)
    }

    /// As [`Self::spawn`], with these environment variables added.
    pub fn spawn_env(&self, env: &[(&str, &str)], argv: &[&str]) -> Result<Proc> {
        let proc = self.start(env, argv)?;
        self.run.remember(&proc, &self.name);
        Ok(proc)
    }

    /// As [`Self::spawn`], but of no interest when a test fails.
    pub(super) fn spawn_quietly(&self, argv: &[&str]) -> Result<Proc> {
        self.start(&[], argv)
    }

    /// `ip -n NETNS ARGS`: quicker than entering, and works before there is a holder.
    pub(super) fn ip(&self, args: &str) -> Result<String> {
        let netns = self.netns();
        let mut argv = vec!["ip", "-n", &netns];
        argv.extend(args.split_whitespace());
        self.run.root_run(&argv)
    }

    fn start(&self, env: &[(&str, &str)], argv: &[&str]) -> Result<Proc> {
        let [program, ..] = argv else { bail!("{}: an empty command", self.name) };
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net=/run/netns/{}", self.netns()));
        if let Some(mounts) = &self.mounts {
            command.arg(format!("--mount={}", mounts.display()));
        }
        command.arg("--").args(argv).envs(env.iter().copied());
        let label = format!("{}: {}", self.name, argv.join(" "));
        Proc::start(command, label, &self.run.log_base(program))
    }
}

/// What a command in the root namespaces left: `ip netns` and its like.
pub(super) fn root_output(run: &Run, argv: &[&str]) -> Result<String> {
    let [program, args @ ..] = argv else { bail!("an empty command") };
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).args(args);
    let mut proc = Proc::start(command, argv.join(" "), &run.log_base(program))?;
    let status = proc.wait(RUN_LIMIT)?;
    let (stdout, stderr) = (text(proc.stdout_path()), text(proc.stderr_path()));
    for log in [proc.stdout_path(), proc.stderr_path()] {
        fs::remove_file(log)?;
    }
    if !status.success() {
        bail!("`{}`: {status}: {}", argv.join(" "), stderr.trim());
    }
    Ok(stdout)
}
