//! What is plugged in, on disk and in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use router::ledger::{Edit, Header, Ledger, LedgerThread};
use router::pods::{Key, Pod};
use tokio::sync::oneshot;
use tracing::warn;

/// The file's name in the state directory.
pub(crate) const FILE: &str = "pods.redb";
/// The number of the form that its values have.
const HEADER: Header = Header { format: 1 };

/// It cannot be made durable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what is plugged in cannot be saved: {0}")]
pub(crate) struct Unsaved(String);

/// Who waits for a commit, by its number.
type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<(), Unsaved>>>>>;

/// All of it. What is written is on disk when that returns.
pub(crate) struct Shelf {
    state: Mutex<State>,
    waiting: Waiting,
}

struct State {
    thread: LedgerThread,
    seq: u64,
    pods: BTreeMap<Key, Pod>,
}

impl Shelf {
    /// Opens what is stored in this directory, or makes it.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let (ledger, contents) = Ledger::open(&dir.join(FILE), &HEADER, None)?;
        let mut pods = BTreeMap::new();
        for (key, value) in &contents.entries {
            match rmp_serde::from_slice::<Pod>(value) {
                Ok(pod) => drop(pods.insert(pod.key.clone(), pod)),
                Err(error) => {
                    let key = String::from_utf8_lossy(key);
                    warn!(%key, %error, "what is stored of a pod makes no sense: it stays, and is not looked after");
                }
            }
        }
        let waiting = Waiting::default();
        let told = Arc::clone(&waiting);
        let thread = LedgerThread::start(ledger, move |seq, outcome| {
            let outcome = outcome.map(drop).map_err(|error| Unsaved(error.to_string()));
            if let Some(to) = locked(&told).remove(&seq) {
                // Who asked may have gone.
                let _ = to.send(outcome);
            }
        })?;
        Ok(Self { state: Mutex::new(State { thread, seq: 0, pods }), waiting })
    }

    /// What is known of it.
    pub(crate) fn get(&self, key: &Key) -> Option<Pod> {
        locked(&self.state).pods.get(key).cloned()
    }

    /// All that is known.
    pub(crate) fn all(&self) -> Vec<Pod> {
        locked(&self.state).pods.values().cloned().collect()
    }

    /// Whether a host's end is called that.
    pub(crate) fn has_host(&self, name: &str) -> bool {
        locked(&self.state).pods.values().any(|pod| pod.host == name)
    }

    /// Keeps it.
    pub(crate) async fn put(&self, pod: &Pod) -> Result<(), Unsaved> {
        let value = rmp_serde::to_vec_named(pod).map_err(|why| Unsaved(why.to_string()))?;
        let written = {
            let mut state = locked(&self.state);
            state.pods.insert(pod.key.clone(), pod.clone());
            self.submit(&mut state, &pod.key, Some(value))
        };
        written.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Forgets it.
    pub(crate) async fn remove(&self, key: &Key) -> Result<(), Unsaved> {
        self.forget(key).await.unwrap_or_else(|_| Err(ended()))
    }

    /// The same for who does not wait: the disk may fail at the moment.
    pub(crate) fn forget(&self, key: &Key) -> oneshot::Receiver<Result<(), Unsaved>> {
        let mut state = locked(&self.state);
        state.pods.remove(key);
        self.submit(&mut state, key, None)
    }

    fn submit(
        &self,
        state: &mut State,
        key: &Key,
        value: Option<Vec<u8>>,
    ) -> oneshot::Receiver<Result<(), Unsaved>> {
        let (to, written) = oneshot::channel();
        state.seq += 1;
        locked(&self.waiting).insert(state.seq, to);
        let edit = Edit { key: key.lease().into_bytes(), value };
        if state.thread.submit(state.seq, vec![edit]).is_err() {
            locked(&self.waiting).remove(&state.seq);
        }
        written
    }
}

fn ended() -> Unsaved {
    Unsaved("the ledger's thread has ended: please report this".to_owned())
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
