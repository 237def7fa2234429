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
