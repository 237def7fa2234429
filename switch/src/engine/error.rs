use std::error::Error;
use std::io;

use crate::{OpenError, WiringError};

/// Why the data plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be opened.
    #[error(transparent)]
    Socket(#[from] OpenError),
    /// Bridge or TAP are not to be had.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The system has no thread or descriptor to spare.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// What could not be kept up. It is tried again with the next call.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Bridge or TAP are not as they should be.
    #[error("cannot mend the bridge")]
    Mend(#[source] WiringError),
    /// The bridge's stations are not known; those learned before are kept.
    #[error("cannot read the bridge's stations")]
    Stations(#[source] io::Error),
    /// No thread runs.
    #[error("cannot start the frame thread again")]
    Restart(#[source] StartError),
}

/// What an operator can do about an error of a switch's program, in terms of its command line.
pub fn remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    if matches!(errno, Some(libc::EMFILE | libc::ENFILE)) {
        return Some("raise the limit of open files (ulimit -n)");
    }
    // It passes for its source, which is then not in the chain.
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
            "stop who has it, or remove the kernel vxlan device that has (ss -ulpn, ip -d link show type vxlan), or choose another --port",
        ),
        OpenError::NoSuchAddress(_) => Some("give --local an address that `ip address` shows here"),
        OpenError::NotTransparent(_) => Some("run as root, or with CAP_NET_ADMIN"),
        OpenError::Other(..) => None,
    }
}
