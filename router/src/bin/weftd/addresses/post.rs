//! What the allocator has for the mesh, in order, off its loop: the mesh's own loop may be busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use peer_mesh::ChannelName;
use peer_mesh::shell::{Handle, Stopped};
use router::ipam::Output;
use tokio::sync::mpsc;

/// Messages that may wait; more are let go: neighbours compare digests, and what has no answer is said again.
const WAITING: usize = 256;

/// The channel of address management.
#[expect(clippy::expect_used, reason = "the text is a valid channel name")]
pub(crate) fn channel() -> ChannelName {
    ChannelName::new("ipam").expect("a valid name")
}

/// Where outputs for the mesh go.
#[derive(Debug)]
pub(crate) struct Post {
    to: mpsc::UnboundedSender<Output>,
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

impl Post {
    /// Starts the task that carries them. Messages that are let go are counted there.
    pub(crate) fn start(mesh: Handle, dropped: Arc<AtomicU64>) -> Self {
        let (to, from) = mpsc::unbounded_channel();
        let waiting = Arc::<AtomicUsize>::default();
        tokio::spawn(carry(mesh, from, Arc::clone(&waiting)));
        Self { to, waiting, dropped }
    }

    /// Takes an output for the mesh. Of digests there is never too much: only the last one counts, and they wait for little.
    pub(super) fn send(&mut self, output: Output) {
        let is_message = !matches!(output, Output::Digest(_));
        if is_message && self.waiting.load(Relaxed) >= WAITING {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        self.waiting.fetch_add(1, Relaxed);
        // A mesh that has stopped ends the process elsewhere.
        let _ = self.to.send(output);
    }

    /// How many messages were let go, either way.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

async fn carry(mesh: Handle, mut from: mpsc::UnboundedReceiver<Output>, waiting: Arc<AtomicUsize>) {
    while let Some(output) = from.recv().await {
        waiting.fetch_sub(1, Relaxed);
        if perform(&mesh, output).await.is_err() {
            return;
        }
    }
}

async fn perform(mesh: &Handle, output: Output) -> Result<(), Stopped> {
    match output {
        Output::Broadcast { message, except } => {
            mesh.broadcast(channel(), message, except).await?;
        }
        // Who has no room, or is not there, is told again.
        Output::Tell { to, message } => drop(mesh.broadcast_to(channel(), to, message).await?),
        Output::Send { to, message } => drop(mesh.send(channel(), to, message).await?),
        Output::Digest(digest) => mesh.set_digest(channel(), digest).await?,
        Output::Save(..) | Output::Reply(..) | Output::Probe(..) | Output::Say(_) => {}
    }
    Ok(())
}
