//! What is printed: on stdout what was asked for, on stderr one line when it was not done.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use api::Problem;

/// Prints on stdout. Who stops reading (`weft status peers | head`) has had enough: no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
            let problem = Problem {
                what: "cannot write to stdout".into(),
                why: why.to_string(),
                what_to_do: "send it where there is room".into(),
            };
            Err(problem.into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says something beside what was asked for, in one line.
pub(crate) fn note(text: &str) {
    // Who does not listen misses nothing.
    drop(writeln!(io::stderr(), "weft: {}", api::printable(text)));
}

/// Says what failed, in one line; exit code 0 or 1.
pub(crate) fn exit_code(outcome: Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let text = format!("{error:#}");
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Who does not listen gets the exit code all the same.
    drop(writeln!(io::stderr(), "weft: {}", api::printable(&line)));
    ExitCode::FAILURE
}
