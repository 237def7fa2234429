//! What is on disk of addresses: opened, or refused and left as it is.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use peer_mesh::PeerName;
use router::ipam::{Kept, Range, RefusedState, RingId};
use router::ledger::{
    Contents, FILE, Header, Ledger, OpenError, WITNESS, Witness, backup, set_aside_as,
};
use router::{Cidr, overlap};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::outside::{Ends, Office};
use crate::args::{Addressing, Config};
use crate::start::{AGAIN, PREDECESSOR};

/// The number of the form that the ledger's values have.
const HEADER: Header = Header { format: 1 };
/// What cannot be read is copied once under this label, before anybody tries to mend it.
const DAMAGED: &str = "damaged";
/// How often a ledger is put aside for a new one: once is enough.
const TRIES: usize = 2;

/// What was found.
pub(crate) enum Opened {
    /// Nobody wants to know.
    Off,
    /// It cannot be used, for this reason.
    Refused(Addressing, String),
    /// It can.
    Ready(Box<Ready>),
}

/// What can be used.
pub(crate) struct Ready {
    pub(super) addressing: Addressing,
    pub(super) name: PeerName,
    pub(super) ledger: Ledger,
    pub(super) kept: Kept,
}

impl Ready {
    /// The ring that the leases here began in.
    pub(crate) fn home(&self) -> Option<RingId> {
        self.kept.home
    }

    /// What is divided.
    pub(crate) const fn range(&self) -> Range {
        self.addressing.range
    }
}

impl Opened {
    /// Where others are to ask, with what the task is to start, and whether addresses are leased under this node's name.
    pub(crate) fn office(self) -> (Office, Option<(Ready, Ends)>, bool) {
        match self {
            Self::Off => (Office::Off, None, false),
            Self::Refused(addressing, why) => (Office::Refused(addressing, why), None, false),
            Self::Ready(ready) => {
                let (office, ends) = Office::with_task(ready.addressing.clone());
                let leases = !ready.kept.leases.is_empty();
                (office, Some((*ready, ends)), leases)
            }
        }
    }
}

/// Whether the range is free, and not somebody else's on this host.
pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
    let Some(Addressing { range, .. }) = &config.addressing else { return Ok(()) };
    let subnet = range.subnet();
    let range = Cidr::new(subnet.first(), subnet.prefix()).context("the range has no prefix")?;
    let routes = overlap::read().await?;
    Ok(overlap::check(range, &routes, &config.bridge)?)
}

/// What a node that does not run owns and has leased, as stored in this directory; `None`: nothing is stored.
pub(crate) fn owned(state_dir: &Path) -> anyhow::Result<Option<(u64, usize)>> {
    let file = state_dir.join(FILE);
    if !file.exists() {
        return Ok(None);
    }
    let (_, contents) = Ledger::open(&file, &HEADER, None)?;
    Ok(Kept::whose(&contents.entries)?.map(|(_, owned, leases)| (owned, leases)))
}

/// Opens what is stored for the node of this name.
pub(crate) async fn open(config: &Config, name: PeerName) -> anyhow::Result<Opened> {
    let Some(addressing) = config.addressing.clone() else { return Ok(Opened::Off) };
    let place = Place {
        file: config.state_dir.join(FILE),
        witness: config.socket.with_file_name(WITNESS),
        name,
    };
    let patience = Instant::now() + PREDECESSOR;
    loop {
        let (place, range) = (place.clone(), addressing.range);
        let outcome = spawn_blocking(move || place.read(range)).await?;
        let why = match outcome {
            Ok((ledger, kept)) => {
                return Ok(Opened::Ready(Box::new(Ready { addressing, name, ledger, kept })));
            }
            // A process that was killed a moment ago may still have it.
            Err((_, true)) if Instant::now() < patience => {
                sleep(AGAIN).await;
                continue;
            }
            Err((why, _)) => why,
        };
        warn!(
            why,
            "no addresses are leased, as what is stored of them cannot be used; the file stays as it is. Mend that, and start weftd again"
        );
        return Ok(Opened::Refused(addressing, format!("{why}; then start weftd again")));
    }
}

#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    witness: PathBuf,
    name: PeerName,
}

/// Why it cannot be used, and whether that may be otherwise in a moment.
type Refused = (String, bool);

impl Place {
    fn read(&self, range: Range) -> Result<(Ledger, Kept), Refused> {
        for _ in 0..TRIES {
            let (ledger, contents) =
                Ledger::open(&self.file, &HEADER, self.witness()).map_err(|it| self.refuse(&it))?;
            let label = match Kept::read(&contents.entries, self.name, range) {
                // There was something, and nothing of it counts.
                Ok(kept) if kept.epoch.is_none() && !contents.entries.is_empty() => {
                    warn!(%range, "what is stored of addresses is of another range, and nothing is leased of it: this node starts afresh");
                    "other-range".to_owned()
                }
                Ok(kept) => return Ok((ledger, self.witnessed(kept, &contents))),
                Err(RefusedState::OtherName(of)) => {
                    warn!(%of, own = %self.name, "what is stored of addresses is of a node with another name: this one starts afresh; run weft rmpeer with that name once that node is no more");
                    of.to_string()
                }
                Err(RefusedState::OtherRange { found, leases }) => {
                    return Err((self.other_range(found, leases, range), false));
                }
                Err(RefusedState::Malformed(why)) => {
                    drop(ledger);
                    self.keep_copy();
                    let file = self.file.display();
                    return Err((
                        format!(
                            "{file} makes no sense ({why}): put a copy of it back, or move it away and start without what it held"
                        ),
                        false,
                    ));
                }
            };
            drop(ledger);
            let moved = set_aside_as(&self.file, &label);
            let moved = moved.map_err(|error| {
                let file = self.file.display();
                (format!("{file} cannot be put aside ({error}): move it away"), false)
            })?;
            warn!(moved_to = %moved.display(), "put aside");
        }
        Err((format!("{} changes while it is read: see who writes it", self.file.display()), false))
    }

    fn other_range(&self, found: Range, leases: usize, range: Range) -> String {
        let file = self.file.display();
        format!(
            "{file} is of the range {found} and has {leases} leases, and the range is to be {range}: start with --ipalloc-range {found}, or remove those pods with that one first, or move the file away"
        )
    }

    fn witnessed(&self, mut kept: Kept, contents: &Contents) -> Kept {
        if let Some((found, told)) = contents.rolled_back {
            warn!(found, told, file = %self.file.display(), "what is stored of addresses was put back to an earlier state: this node leases no new ones; run weft rmpeer --force with its name on another node");
            kept.rolled_back = true;
        }
        kept
    }

    fn witness(&self) -> Option<Witness> {
        // The directory of the socket, which is made later.
        let dir = self.witness.parent().filter(|dir| !dir.as_os_str().is_empty());
        let made =
            dir.map_or(Ok(()), |dir| DirBuilder::new().recursive(true).mode(0o755).create(dir));
        let witness = made.and_then(|()| Witness::at(&self.witness));
        witness
            .inspect_err(|error| warn!(%error, file = %self.witness.display(), "a disk that is put back to an earlier state would not be noticed"))
            .ok()
    }

    fn refuse(&self, error: &OpenError) -> Refused {
        match error {
            OpenError::InUse(_) => return (error.to_string(), true),
            OpenError::Io { .. } | OpenError::Format { .. } => {}
            OpenError::Foreign(_) | OpenError::Damaged { .. } | OpenError::Panicked { .. } => {
                self.keep_copy();
            }
        }
        (error.to_string(), false)
    }

    fn keep_copy(&self) {
        if aside(&self.file).exists() {
            return;
        }
        match backup(&self.file, DAMAGED) {
            Ok(copy) => warn!(copy = %copy.display(), "a copy was made"),
            Err(error) => warn!(%error, file = %self.file.display(), "no copy could be made"),
        }
    }
}

/// The first copy that is made.
fn aside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{DAMAGED}-1"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use router::ipam::{Allocator, Config as Settings, Init, Input, Output, Range, Request, Wish};
    use router::ledger::Edit;

    use super::*;

    const NAME: PeerName = PeerName::local(1);

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let dir =
                std::env::temp_dir().join(format!("weft-state-{test}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn place(&self, name: PeerName) -> Place {
            Place { file: self.0.join(FILE), witness: self.0.join(WITNESS), name }
        }

        /// A node alone leases something, or only begins.
        fn fill(&self, leases: bool) {
            let (mut ledger, kept) = self.place(NAME).read(range("10.32.0.0/12")).unwrap();
            let range = range("10.32.0.0/12");
            let (subnet, init) = (range.subnet(), Init::Consensus(1));
            let config = Settings { name: NAME, range, subnet, init, seed: 1, flaw: None };
            let mut allocator = Allocator::new(config, kept);
            let wish = Wish::Allocate { id: "pod".to_owned(), subnet };
            let (token, until, wall) = (1, std::time::Duration::from_secs(9), 0);
            let request = Input::Request(Request { token, wish, until, wall });
            let mut inputs = if leases { vec![request] } else { Vec::new() };
            for _ in 0..8 {
                let now = std::time::Duration::from_millis(1);
                for output in allocator.step(now, std::mem::take(&mut inputs)) {
                    if let Output::Save(seq, edits) = output {
                        let edit = |it: router::ipam::Edit| Edit { key: it.key, value: it.value };
                        ledger.commit(&edits.into_iter().map(edit).collect::<Vec<_>>()).unwrap();
                        inputs.push(Input::Saved(seq));
                    }
                }
            }
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> =
                names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn range(text: &str) -> Range {
        Range::new(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_a_node_has_kept_is_there_again() {
        let dir = Scratch::new("kept");
        dir.fill(true);

        let (_, kept) = dir.place(NAME).read(range("10.32.0.0/12")).unwrap();

        assert_eq!((kept.leases.len(), kept.rolled_back), (1, false));
    }

    #[test]
    fn what_is_of_another_name_is_put_aside_and_the_node_starts_afresh() {
        let dir = Scratch::new("name");
        dir.fill(true);

        let (_, kept) = dir.place(PeerName::local(2)).read(range("10.32.0.0/12")).unwrap();

        assert!(kept.epoch.is_none() && kept.leases.is_empty());
        assert!(dir.names().contains(&format!("{FILE}.{NAME}-1")), "{:?}", dir.names());
    }

    #[test]
    fn of_another_range_it_is_refused_while_there_are_leases_and_else_put_aside() {
        let (leased, bare) = (Scratch::new("leased"), Scratch::new("bare"));
        leased.fill(true);
        bare.fill(false);

        let (why, again) = leased.place(NAME).read(range("10.64.0.0/12")).unwrap_err();
        let (_, kept) = bare.place(NAME).read(range("10.64.0.0/12")).unwrap();

        assert!(why.contains("--ipalloc-range 10.32.0.0/12") && !again, "{why}");
        let (_, as_before) = leased.place(NAME).read(range("10.32.0.0/12")).unwrap();
        assert_eq!(as_before.leases.len(), 1);
        assert!(kept.epoch.is_none());
        assert!(bare.names().contains(&format!("{FILE}.other-range-1")), "{:?}", bare.names());
    }

    #[test]
    fn garbage_is_refused_copied_once_and_left_as_it_is() {
        let dir = Scratch::new("garbage");
        fs::write(dir.0.join(FILE), "garbage").unwrap();

        let (why, _) = dir.place(NAME).read(range("10.32.0.0/12")).unwrap_err();
        dir.place(NAME).read(range("10.32.0.0/12")).unwrap_err();

        assert!(why.contains("move it away"), "{why}");
        assert_eq!(fs::read_to_string(dir.0.join(FILE)).unwrap(), "garbage");
        assert_eq!(dir.names(), [FILE.to_owned(), format!("{FILE}.damaged-1")]);
    }

    #[test]
    fn a_disk_that_was_put_back_in_the_same_boot_is_known_to_be() {
        let dir = Scratch::new("back");
        dir.fill(false);
        let before = fs::read(dir.0.join(FILE)).unwrap();
        dir.fill(true);
        fs::write(dir.0.join(FILE), before).unwrap();

        let (_, kept) = dir.place(NAME).read(range("10.32.0.0/12")).unwrap();

        assert!(kept.rolled_back);
    }
}
