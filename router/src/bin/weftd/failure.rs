//! How the program says that it failed: one line with what, why and what to do.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use peer_mesh::shell::{StartError, StateError};
use switch::engine;

/// Prints an error as one line; exit code 0 or 1.
pub(crate) fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who does not listen gets the exit code all the same.
            drop(writeln!(io::stderr(), "weftd: {}", Line(&error)));
            ExitCode::FAILURE
        }
    }
}

/// An error and its sources in one line, with what to do about it.
pub(crate) struct Line<'a>(pub(crate) &'a anyhow::Error);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for part in self.0.chain().map(ToString::to_string) {
            // Some errors name their source themselves.
            if !said.contains(&part) {
                let between = if said.is_empty() { "" } else { ": " };
                said = format!("{said}{between}{part}");
            }
        }
        write!(f, "{}", said.split_whitespace().collect::<Vec<_>>().join(" "))?;
        // The innermost cause knows best.
        match self.0.chain().filter_map(remedy).last() {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

fn remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<StateError>() {
        return state(error);
    }
    if let Some(StartError::Listen(_, why)) = error.downcast_ref::<StartError>() {
        return listening(why.kind());
    }
    engine::remedy(error)
}

fn state(error: &StateError) -> Option<&'static str> {
    match error {
        StateError::Directory(_, why) | StateError::Write(_, why) => Some(writable(why)),
        StateError::InUse(_) => Some("stop the other weftd, or give this one another --state-dir"),
        StateError::Read(..) => Some("make the file readable, or move it away"),
        StateError::Newer { .. } | StateError::Random(_) => None,
    }
}

/// What to do about a state directory that takes nothing.
pub(crate) fn writable(why: &io::Error) -> &'static str {
    if is_full(why) {
        "make room there, or make --state-dir a directory that can be written to"
    } else {
        "make --state-dir a directory that can be written to"
    }
}

/// Whether it is only room that lacks.
pub(crate) fn is_full(why: &io::Error) -> bool {
    matches!(why.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn listening(why: ErrorKind) -> Option<&'static str> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of many variants")]
    match why {
        ErrorKind::AddrInUse => Some("stop who has it (ss -tlpn), or choose another --port"),
        ErrorKind::AddrNotAvailable => Some("give --local an address that `ip address` shows here"),
        ErrorKind::InvalidInput => {
            Some("give --local an address that is good without an interface")
        }
        ErrorKind::PermissionDenied => Some("run as root, or give a --port above 1023"),
        _ => None,
    }
}
