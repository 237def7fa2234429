//! How the program says that it failed: one line with what, why and what to do.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use switch::engine::StartError;
use switch::{OpenError, WiringError};

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

fn remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let errno = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    if matches!(errno, Some(libc::EMFILE | libc::ENFILE)) {
        return Some("raise the limit of open files (ulimit -n)");
    }
    match error.downcast_ref::<StartError>() {
        Some(StartError::Socket(error)) => return remedy_for_socket(error),
        Some(StartError::Wiring(error)) => return remedy_for_wiring(error),
        Some(StartError::Thread(_)) | None => {}
    }
    if let Some(error) = error.downcast_ref::<OpenError>() {
        return remedy_for_socket(error);
    }
    remedy_for_wiring(error.downcast_ref::<WiringError>()?)
}

fn remedy_for_wiring(error: &WiringError) -> Option<&'static str> {
    match error {
        WiringError::NotABridge(_) => {
            Some("choose another name with --bridge, or remove that link")
        }
        WiringError::NotATap(_) => Some(
            "choose another name with --tap, or remove that link (a TAP with one queue needs --tap plain, one with several --tap offload)",
        ),
        WiringError::Elsewhere(_) => {
            Some("unplug it (ip link set TAP nomaster), or choose another --tap")
        }
        WiringError::BridgeInUse(..) => Some(
            "remove that TAP first (weft-switch --tap NAME --cleanup), or name another --bridge",
        ),
        WiringError::Busy(_) => {
            Some("stop the process that has it open, or choose another --tap and --bridge")
        }
        WiringError::Denied(_) => Some("run as root, or with CAP_NET_ADMIN"),
        WiringError::Tap(..) => Some("is /dev/net/tun there, and the tun module loaded?"),
        WiringError::TapGone(_) | WiringError::Netlink(..) | WiringError::Socket(_) => None,
    }
}

fn remedy_for_socket(error: &OpenError) -> Option<&'static str> {
    match error {
        OpenError::Taken(_) => Some(
            "stop the other weft-switch or remove the kernel vxlan device that has it (ss -ulpn, ip -d link show type vxlan), or choose another --port",
        ),
        OpenError::NoSuchAddress(_) => Some("give --local an address that `ip address` shows here"),
        OpenError::Other(..) => None,
    }
}
