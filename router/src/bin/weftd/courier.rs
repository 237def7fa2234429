//! What the control core has for the mesh, in order, off the control loop: the mesh's own loop may be busy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use peer_mesh::shell::{Handle, Stopped};
use peer_mesh::{ChannelName, PeerName};
use router::Output;
use tokio::sync::{Notify, mpsc};

/// Messages of stations that may wait; more are let go, as neighbours compare digests.
const WAITING: usize = 256;

/// Where outputs for the mesh go.
#[derive(Debug)]
pub(crate) struct Courier {
    to: mpsc::UnboundedSender<Errand>,
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

/// What is carried.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Something of the control core's.
    Told(Output),
    /// A probe.
    Probe(PeerName, Vec<u8>),
    /// A label that goes with those of the control core.
    Label(String, String),
    /// Whether this node holds leases.
    Leases(bool),
}

/// The channel of probes that ask over the mesh who is there.
#[expect(clippy::expect_used, reason = "the text is a valid channel name")]
pub(crate) fn probes() -> ChannelName {
    ChannelName::new("probes").expect("a valid name")
}

/// The channel of stations.
#[expect(clippy::expect_used, reason = "the text is a valid channel name")]
pub(crate) fn channel() -> ChannelName {
    ChannelName::new("stations").expect("a valid name")
}

impl Courier {
    /// Starts the task; `labels` go with those of the control core, and `refresh` is told when the mesh's view of data paths may have changed.
    pub(crate) fn start(
        mesh: Handle,
        labels: BTreeMap<String, String>,
        refresh: Arc<Notify>,
    ) -> Self {
        let (to, from) = mpsc::unbounded_channel();
        let (waiting, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        tokio::spawn(carry(mesh, from, Arc::clone(&waiting), (labels, refresh)));
        Self { to, waiting, dropped }
    }

    /// Takes an output for the mesh.
    pub(crate) fn send(&self, errand: Errand) {
        let message = matches!(
            errand,
            Errand::Probe(..) | Errand::Told(Output::Broadcast { .. } | Output::Tell { .. })
        );
        if message && self.waiting.load(Relaxed) >= WAITING {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        self.waiting.fetch_add(1, Relaxed);
        // A mesh that has stopped ends the process elsewhere.
        let _ = self.to.send(errand);
    }

    /// For who has a label to give.
    pub(crate) fn labeller(&self) -> Labeller {
        Labeller(self.to.clone())
    }

    /// Messages that were let go.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// Takes labels.
#[derive(Debug)]
pub(crate) struct Labeller(mpsc::UnboundedSender<Errand>);

impl Labeller {
    /// Others are to know this of us.
    pub(crate) fn label(&self, key: &str, value: String) {
        // A mesh that has stopped ends the process elsewhere.
        let _ = self.0.send(Errand::Label(key.to_owned(), value));
    }

    /// Whether this node holds leases: of two of one name the other one gives way then.
    pub(crate) fn leases(&self, leases: bool) {
        let _ = self.0.send(Errand::Leases(leases));
    }
}

async fn carry(
    mesh: Handle,
    mut from: mpsc::UnboundedReceiver<Errand>,
    waiting: Arc<AtomicUsize>,
    (mut labels, refresh): (BTreeMap<String, String>, Arc<Notify>),
) {
    let mut of_core = BTreeMap::new();
    while let Some(errand) = from.recv().await {
        if !matches!(errand, Errand::Label(..) | Errand::Leases(_)) {
            waiting.fetch_sub(1, Relaxed);
        }
        let done = match errand {
            Errand::Told(Output::Labels(all)) => {
                of_core = all;
                mesh.set_labels(joined(&of_core, &labels)).await
            }
            Errand::Label(key, value) => {
                labels.insert(key, value);
                mesh.set_labels(joined(&of_core, &labels)).await
            }
            Errand::Leases(leases) => mesh.set_leases(leases).await,
            Errand::Told(output) => perform(&mesh, output, &refresh).await,
            Errand::Probe(to, frame) => mesh.send(probes(), to, frame).await.map(drop),
        };
        if done.is_err() {
            return;
        }
    }
}

fn joined(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    a.iter().chain(b).map(|(key, value)| (key.clone(), value.clone())).collect()
}

async fn perform(mesh: &Handle, output: Output, refresh: &Notify) -> Result<(), Stopped> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are not for the mesh")]
    match output {
        Output::Broadcast { message, except } => {
            mesh.broadcast(channel(), message, except).await?;
        }
        // Who has no room, or is a neighbour no more, is told when digests differ again.
        Output::Tell { to, message } => drop(mesh.broadcast_to(channel(), to, message).await?),
        Output::Digest(digest) => mesh.set_digest(channel(), digest).await?,
        Output::DataPath(name, direct) => {
            mesh.data_path(name, direct).await?;
            refresh.notify_one();
        }
        _ => {}
    }
    Ok(())
}
