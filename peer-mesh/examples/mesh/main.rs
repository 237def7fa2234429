//! A peer of the mesh by itself: prints who is there, and what happens.
//!
//! Three peers on one machine, each in a terminal of its own:
//!
//! ```text
//! cargo run -p peer-mesh --example mesh -- --name 02:00:00:00:00:01 --listen 127.0.0.1 --port 7001
//! cargo run -p peer-mesh --example mesh -- --name 02:00:00:00:00:02 --listen 127.0.0.1 --port 7002 127.0.0.1:7001
//! cargo run -p peer-mesh --example mesh -- --name 02:00:00:00:00:03 --listen 127.0.0.1 --port 7003 127.0.0.1:7001
//! ```
//!
//! Ctrl-C leaves the mesh; kill -9 does not, and the others say `silent` instead of `gone`.

mod args;
mod lines;
mod print;
mod run;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(usage) => return usage.exit(),
    };
    let stderr = match lines::Lines::start("stderr", std::io::stderr()) {
        Ok(stderr) => stderr,
        Err(error) => return failed(&format!("cannot start a thread: {error}")),
    };
    let log = stderr.log();
    tracing_subscriber::fmt()
        .with_writer(move || log.clone())
        .with_max_level(args.log_level)
        .init();
    let outcome = run::run(args);
    let last = outcome.as_ref().err().map(|error| format!("mesh: {error:#}\n"));
    stderr.finish(&last.unwrap_or_default());
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(why: &str) -> ExitCode {
    // Who does not listen gets the exit code all the same.
    drop(writeln!(std::io::stderr(), "mesh: {why}"));
    ExitCode::FAILURE
}
