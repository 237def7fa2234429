//! `weft-cni`: what container runtimes run.

use std::io::{Write, stderr, stdin, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    let said = cni_shim::run(|name| std::env::var_os(name), stdin().lock());
    // Where stderr is closed, nobody is left to tell.
    drop(stderr().write_all(said.log.as_bytes()));
    match stdout().write_all(said.answer.as_bytes()).and_then(|()| stdout().flush()) {
        Ok(()) if said.success => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}
