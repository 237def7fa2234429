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
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(args.log_level).init();
    match run::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who does not listen gets the exit code all the same.
            drop(writeln!(std::io::stderr(), "mesh: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
