//! One thread that starts every process of the lab.
//!
//! The parent-death signal is sent when the *thread* that forked ends, not the process. Tests
//! start processes from threads that come and go, so one thread that never ends forks for all.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// A command to start and where to send the outcome.
type Job = (Command, Sender<io::Result<Child>>);

/// Starts `command` as a child of the thread that lives as long as the process.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel();
        thread::spawn(move || work(&inbox));
        jobs
    });
    let (reply, outcome) = mpsc::channel();
    jobs.send((command, reply)).map_err(|_gone| io::Error::other("the spawner is gone"))?;
    outcome.recv().map_err(|_gone| io::Error::other("the spawner is gone"))?
}

fn work(inbox: &Receiver<Job>) {
    for (mut command, reply) in inbox {
        // A caller that no longer listens drops the child; its Drop is not ours to run.
        let _unheard = reply.send(command.spawn());
    }
}
