//! The mesh on a real network: sockets, a clock and a state file around the core.
//!
//! ```text
//!  listener --+                                  +--> a task per connection: reads and writes
//!  tasks -----+--> one bounded queue --> loop ---+--> dials
//!  Handle ----+    (inputs are values)  Mesh     +--> Notices (bounded)
//!  clock --------------------------------^       +--> state file
//! ```
//!
//! The loop is one task. It takes inputs in the order in which they came, some at a time, then looks at the
//! clock, and performs what the core asks for after each. Keepalives are the core's, so they come from this
//! loop: a loop that hangs is a dead peer to its neighbours, as it should be. Nothing in the loop waits for
//! a peer or for a reader: sockets have tasks of their own, events are dropped rather than waited for (and
//! the reader is told). For the disk it waits when the name or the incarnation has changed: half a second
//! for each write, once for a write that hangs.
//!
//! # What is bounded, and how
//! | what | bound |
//! |---|---|
//! | inputs that wait | 256, of 16 KiB at most; who sends waits, so a peer waits in its own socket |
//! | octets that wait for a socket | what the core gives, a window; the loop cuts at 2 MiB |
//! | connections from one source | 64 at once, 20 new ones a second; an IPv6 network ten times that |
//! | connections that came in and are no links | 448, or half the descriptors; 64 more while they end |
//! | dials | 16 at once |
//! | peers given by name | 64, of 16 addresses each |
//! | events that wait | 1 024, 128 of them of refused connections, with 8 MiB of channel messages |
//! | copies of everything for `recent` | ten a second |
//!
//! A source is an IPv4 address or an IPv6 /64; peers that share one count together. Where all places for
//! connections that are no links are taken, a newcomer takes one of the source that has most.

mod conn;
mod control;
mod gate;
mod givers;
mod handle;
mod identity;
mod input;
mod keeper;
mod listener;
mod machine;
mod notice;
mod password;
mod resolve;
#[cfg(test)]
mod scratch;
mod snapshot;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use gate::Refused;
pub use givers::Given;
pub use handle::{Handle, Stopped};
pub use identity::{Identity, Origin};
pub use machine::Machine;
pub use notice::{Notice, Notices};
pub use password::NoPassword;
pub use resolve::{Endpoint, NotAnEndpoint};
pub use snapshot::{PeerView, ShellStats, Snapshot};
pub use state::{Found, State, StateError, Store};

use crate::{Config, Mesh};
use control::Control;
use gate::Gate;
use givers::Givers;
use input::Clock;
use keeper::Keeper;
use snapshot::Recent;

/// Descriptors we would like to have: those of the gate, links, and as many again.
const DESCRIPTORS: u64 = 4096;

/// Why a mesh cannot be started. Nothing has gone out.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listening socket cannot be opened.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The first state cannot be stored.
    #[error(transparent)]
    State(#[from] StateError),
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random(#[source] io::Error),
}

/// Starts a mesh in the current tokio runtime, which needs IO and time.
///
/// The name in `config` is overruled by the identity's, the port by the first of `listen`, and the time of
/// the start by the clock. Blocks for a moment: the first state is on disk when this returns, if the
/// disk takes it.
pub fn start(
    identity: Identity,
    config: Config,
    listen: &[SocketAddr],
    peers: Vec<Endpoint>,
) -> Result<(Handle, Notices), StartError> {
    let mut listeners = Vec::new();
    for addr in listen {
        let opened = listener::listen(*addr).map_err(|error| StartError::Listen(*addr, error))?;
        listeners.push(opened);
    }
    let port = listeners.first().and_then(|it| it.local_addr().ok()).map(|addr| addr.port());
    let targets: Vec<_> = config.targets.into_iter().map(Endpoint::Addr).chain(peers).collect();
    let config = Config {
        name: identity.name,
        explicit: identity.origin == Origin::Given,
        port: port.unwrap_or(config.port),
        // Given below, so that who gave what is known.
        targets: Vec::new(),
        started: wall_clock(),
        ..config
    };
    let (clock, gate) = (Clock::start(), Gate::new(unfinished_max()));
    let seed = identity::random().map_err(StartError::Random)?;
    let mesh = Mesh::new(config, identity.saved, seed, clock.now());
    let mut keeper = Keeper::new(identity.store, identity.machine);
    keeper.write_first(mesh.name(), mesh.saved())?;

    let (inputs, queued) = mpsc::channel(input::QUEUE);
    let mut services = JoinSet::new();
    for listener in listeners {
        services.spawn(listener::accept(listener, gate.clone(), inputs.clone(), clock));
    }
    let recent = Recent::new(clock);
    let (teller, notices) = notice::notices();
    let mut control = Control {
        mesh,
        clock,
        inputs: inputs.clone(),
        gate,
        keeper,
        teller,
        givers: Givers::default(),
        recent: Arc::clone(&recent),
        conns: BTreeMap::new(),
        tasks: JoinSet::new(),
        overruns: 0,
        leavers: Vec::new(),
    };
    for peer in targets {
        if !control.connect(peer.clone(), clock.now()) {
            tracing::warn!(%peer, "not dialled: too many peers are given");
        }
    }
    let task = tokio::spawn(control.run(queued, services));
    Ok((Handle::new(inputs, recent, task.abort_handle()), notices))
}

/// Raises the limit of descriptors as far as we are allowed to, and leaves the other half to dials, to the
/// state file and to the rest of the process.
fn unfinished_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(DESCRIPTORS);
    let mut current = limit.current.unwrap_or(DESCRIPTORS);
    let wanted = DESCRIPTORS.min(maximum);
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    // Refused, we live with what there is.
    if current < wanted && setrlimit(Resource::Nofile, raised).is_ok() {
        current = wanted;
    }
    usize::try_from(current / 2).unwrap_or(gate::UNFINISHED).min(gate::UNFINISHED)
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a shell: the core is told when the process started")]
fn wall_clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}
