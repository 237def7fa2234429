//! `weft-switch`: a stand-alone VXLAN switch with static peers.

mod args;
mod control;
mod events;
mod failure;
mod paths;
mod report;

use std::process::ExitCode;

use switch::Lines;

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(args::Command::Run(config)) => failure::exit_code(run(config)),
        Ok(args::Command::Cleanup(names)) => failure::exit_code(control::cleanup(names)),
        Err(usage) => usage.exit("weft-switch"),
    }
}

fn run(config: args::Config) -> anyhow::Result<()> {
    let log = Lines::start("log", std::io::stderr())?;
    let writer = log.clone();
    let level = config.log_level;
    tracing_subscriber::fmt().with_writer(move || writer.clone()).with_max_level(level).init();
    let outcome = control::run(config);
    log.finish();
    outcome
}
