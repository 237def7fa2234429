//! What is plugged in, on disk and in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use router::ledger::{Edit, Header, Ledger, LedgerThread};
use router::pods::{Key, Pod};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;

/// The file's name in the state directory.
pub(crate) const FILE: &str = "pods.redb";
/// The number of the form that its values have.
const HEADER: Header = Header { format: 1 };

/// It cannot be made durable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what is plugged in cannot be saved: {0}")]
pub(crate) struct Unsaved(String);

/// While the disk fails, whoever asks waits no longer than this: each time all is tried again.
const FAILING: Duration = Duration::from_secs(1);

/// Who waits for commits, by their numbers, and why nothing becomes durable at the moment.
#[derive(Default)]
struct Waiting {
    all: BTreeMap<u64, oneshot::Sender<Result<(), Unsaved>>>,
    failing: Option<Unsaved>,
}

impl Waiting {
    /// What the ledger's thread says. It says why it fails once for each reason, to one, and means all.
    fn hear(&mut self, seq: u64, outcome: &Result<(), Unsaved>) {
        let before = std::mem::replace(&mut self.failing, outcome.as_ref().err().cloned());
        if let Some(why) = self.failing.as_ref().filter(|_| before.is_none()) {
            warn!(%why, "nothing that becomes of pods can be saved; trying again");
        }
        let told = match outcome {
            Ok(()) => self.all.remove(&seq).into_iter().collect::<Vec<_>>(),
            Err(_) => std::mem::take(&mut self.all).into_values().collect(),
        };
        for to in told {
            // Who asked may have gone.
            let _ = to.send(outcome.clone());
        }
    }
}

/// What becomes durable.
pub(super) struct Written {
    told: oneshot::Receiver<Result<(), Unsaved>>,
    /// Why that may never be.
    failing: Option<Unsaved>,
}

impl Written {
    /// Waits until it is; where the disk fails already, for as long as it takes to try again.
    pub(super) async fn settled(self) -> Result<(), Unsaved> {
        let answer = match self.failing {
            None => self.told.await,
            Some(why) => match timeout(FAILING, self.told).await {
                Ok(answer) => answer,
                Err(_) => return Err(why),
            },
        };
        answer.unwrap_or_else(|_| Err(ended()))
    }
}

/// All of it. What is put or removed is so at once, and on disk when what is returned has settled.
pub(crate) struct Shelf {
    state: Mutex<State>,
    waiting: Arc<Mutex<Waiting>>,
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
        let waiting = Arc::<Mutex<Waiting>>::default();
        let told = Arc::clone(&waiting);
        let thread = LedgerThread::start(ledger, move |seq, outcome| {
            let outcome = outcome.map(drop).map_err(|error| Unsaved(error.to_string()));
            locked(&told).hear(seq, &outcome);
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

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        locked(&self.state).pods.is_empty()
    }

    /// Whether a host's end is called that.
    pub(crate) fn has_host(&self, name: &str) -> bool {
        locked(&self.state).pods.values().any(|pod| pod.host == name)
    }

    /// Keeps it.
    pub(super) fn put(&self, pod: &Pod) -> Written {
        let value = match rmp_serde::to_vec_named(pod) {
            Ok(value) => value,
            Err(why) => return refused(&Unsaved(why.to_string())),
        };
        let mut state = locked(&self.state);
        state.pods.insert(pod.key.clone(), pod.clone());
        self.submit(&mut state, &pod.key, Some(value))
    }

    /// Forgets it.
    pub(super) fn remove(&self, key: &Key) -> Written {
        let mut state = locked(&self.state);
        state.pods.remove(key);
        self.submit(&mut state, key, None)
    }

    fn submit(&self, state: &mut State, key: &Key, value: Option<Vec<u8>>) -> Written {
        let (to, written) = oneshot::channel();
        state.seq += 1;
        let failing = {
            let mut waiting = locked(&self.waiting);
            waiting.all.insert(state.seq, to);
            waiting.failing.clone()
        };
        let edit = Edit { key: key.lease().into_bytes(), value };
        if state.thread.submit(state.seq, vec![edit]).is_err() {
            locked(&self.waiting).all.remove(&state.seq);
        }
        Written { told: written, failing }
    }
}

/// What never will be.
fn refused(why: &Unsaved) -> Written {
    let (to, told) = oneshot::channel();
    // It is not full.
    let _ = to.send(Err(why.clone()));
    Written { told, failing: None }
}

fn ended() -> Unsaved {
    Unsaved("the ledger's thread has ended: please report this".to_owned())
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_told_that_the_disk_fails_though_it_is_said_once() {
        let mut waiting = Waiting::default();
        let mut asked = |seq| {
            let (to, written) = oneshot::channel();
            waiting.all.insert(seq, to);
            written
        };
        let [mut one, mut two] = [1, 2].map(&mut asked);

        waiting.hear(1, &Err(Unsaved("full".into())));

        for written in [&mut one, &mut two] {
            assert_eq!(written.try_recv().unwrap(), Err(Unsaved("full".into())));
        }
        assert_eq!(waiting.failing, Some(Unsaved("full".into())));
        // They become durable later all the same.
        waiting.hear(1, &Ok(()));
        assert_eq!(waiting.failing, None);
    }
}
