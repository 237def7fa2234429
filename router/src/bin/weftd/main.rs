//! `weftd`: the node daemon. Nodes meet through any one of them, learn who is there, and carry each other's frames.

mod addresses;
mod apart;
mod args;
mod beacon;
mod control;
mod courier;
mod data;
mod desk;
mod ear;
mod exposed;
mod exposure;
mod failure;
mod given;
mod kernel;
mod keyring;
mod last;
mod latency;
mod logging;
mod look;
mod outlets;
mod plane;
mod pods;
mod replay;
mod reset;
mod run;
mod sentry;
mod start;
mod stations;
mod tick;
mod topology;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(args::Command::Run(config)) => failure::exit_code(run::run(*config)),
        Ok(args::Command::Reset(reset)) => failure::exit_code(reset::run(&reset)),
        Ok(args::Command::Replay(file)) => failure::exit_code(replay::run(&file)),
        Err(usage) => usage.exit("weftd"),
    }
}
