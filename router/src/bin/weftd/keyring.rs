//! Who has said a probe: the keys that this node shares with each of the others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peer_mesh::PeerName;
use router::Input;
use router::liveness::{Line, Packet};
use router::pmtu::SizeProbe;
use router::probe::{self, Key, Said, Sealed, Secret};
use switch::{Token, Via};

/// What each peer has told, and what follows from that.
type Keys = BTreeMap<PeerName, (String, Option<Key>)>;

/// The keys. Clones are the same.
///
/// # Thread-safety
/// Tasks of the mesh write, those that probes pass through read; each holds the lock for as long as a key takes.
#[derive(Clone, Debug)]
pub(crate) struct Keyring {
    secret: Arc<Secret>,
    keys: Arc<Mutex<Keys>>,
    bad: Arc<AtomicU64>,
}

/// On which line a probe came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Came {
    /// On UDP 6784: the kernel's line and the process's end there both.
    Vxlan,
    /// On UDP 6783, from its sender.
    Sleeve,
    /// On UDP 6783, passed on by another.
    Relay,
    /// Over the mesh.
    Mesh,
}

impl Keyring {
    pub(crate) fn new(secret: Secret) -> Self {
        Self { secret: Arc::new(secret), keys: Arc::default(), bad: Arc::default() }
    }

    /// What the others are to be told.
    pub(crate) fn public(&self) -> String {
        self.secret.public()
    }

    /// What is listened for.
    pub(crate) fn token(&self) -> Token {
        self.secret.token()
    }

    /// What a peer has told; of one that is not there any more, nothing.
    pub(crate) fn note(&self, name: PeerName, public: Option<&str>) {
        let known = self.lock().get(&name).map(|(public, _)| public.clone());
        match public {
            None => drop(self.lock().remove(&name)),
            Some(public) if known.as_deref() == Some(public) => {}
            Some(public) => {
                // Outside the lock: this takes a while.
                let key = self.secret.shared(public);
                self.lock().insert(name, (public.to_owned(), key));
            }
        }
    }

    /// The frame that says it; `None` without a key.
    pub(crate) fn seal(&self, said: &Said, from: PeerName, to: PeerName) -> Option<Vec<u8>> {
        let key = self.lock().get(&to)?.1.clone()?;
        Some(probe::emit(said, from, to, &key))
    }

    /// What came, so long, if it is what it says and came as it says: `frame` is its beginning. Everything else is counted.
    pub(crate) fn open(&self, frame: &[u8], len: usize, came: Came) -> Option<Input> {
        let opened = self.try_open(frame, len, came);
        if opened.is_none() {
            self.bad.fetch_add(1, Relaxed);
        }
        opened
    }

    /// How many frames were no probes, or nobody's.
    pub(crate) fn bad(&self) -> u64 {
        self.bad.load(Relaxed)
    }

    fn try_open(&self, frame: &[u8], len: usize, came: Came) -> Option<Input> {
        let sealed = Sealed::parse(frame).filter(|sealed| sealed.has_size(len))?;
        let key = self.lock().get(&sealed.from)?.1.clone()?;
        let said = sealed.open(&key)?;
        let (Said::Line(Packet { line, .. }) | Said::Size(SizeProbe { line, .. })) = said;
        let fits = match line {
            Line::Fast | Line::User => came == Came::Vxlan,
            Line::Sleeve => came == Came::Sleeve,
            Line::Mesh => matches!(came, Came::Mesh | Came::Relay),
        };
        fits.then_some(match said {
            Said::Line(packet) => Input::Probe(sealed.from, packet),
            Said::Size(probe) => Input::Size(sealed.from, probe),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Came {
    /// How the frame path says it.
    pub(crate) const fn by(via: Via) -> Self {
        match via {
            Via::User => Self::Vxlan,
            Via::Sleeve => Self::Sleeve,
            Via::Relay => Self::Relay,
        }
    }
}
