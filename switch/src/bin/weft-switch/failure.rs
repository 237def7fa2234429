//! How the program says that it failed: one line with what, why and what to do.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use switch::engine::remedy;

/// Prints an error as one line; exit code 0 or 1.
pub(crate) fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who does not listen gets the exit code all the same.
            drop(writeln!(std::io::stderr(), "weft-switch: {}", Line(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Says one line on stderr, whoever listens.
pub(crate) fn say(what: &str) {
    drop(writeln!(std::io::stderr(), "weft-switch: {what}"));
}

/// An error and its sources in one line, with what to do about it.
pub(crate) struct Line<'a>(pub(crate) &'a anyhow::Error);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:#}", self.0);
        write!(f, "{}", text.split_whitespace().collect::<Vec<_>>().join(" "))?;
        // The innermost cause knows best.
        match self.0.chain().filter_map(remedy).last() {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}
