//! `weft`: what a node's daemon knows and does, and how to tell it more.

mod args;
mod commands;
mod fdb;
mod field;
mod journal;
mod json;
mod output;
mod partial;
mod pods;
mod reset;
mod setup_cni;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(usage) => usage.exit(),
    };
    output::exit_code(commands::run(&args))
}
