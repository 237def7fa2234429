//! `weft-switch`: a stand-alone VXLAN switch with static peers.

mod args;
mod control;
mod failure;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    let config = match args::parse(std::env::args_os()) {
        Ok(args::Command::Run(config)) => config,
        Ok(args::Command::Cleanup(names)) => return failure::exit_code(control::cleanup(names)),
        Err(usage) => return usage.exit(),
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(config.log_level).init();
    failure::exit_code(control::run(config))
}
