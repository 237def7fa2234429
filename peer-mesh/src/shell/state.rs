//! The state file: what a peer must remember from one start to the next.
//!
//! `mesh.json` in the state directory: the name, the highest incarnation used under it, the address book,
//! and of which machine it is. It is written to a file beside it, forced to disk, then renamed, so that a
//! crash leaves the old one or the new one. What cannot be read as such is renamed to `mesh.json.bad`.
//! A lock on the directory keeps a second process out.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::{Known, PeerName, Saved};

/// The file's name in the state directory.
const FILE: &str = "mesh.json";
/// The version of the format that we write, and the only one we read.
const VERSION: u64 = 1;
/// Unusable files kept.
const ASIDE_MAX: u32 = 9;
/// Opening never waits (open(2)).
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
/// No book of ours is as long as this, so such a file is not ours.
const SIZE_MAX: u64 = 4 << 20;

/// What is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct State {
    /// The name.
    pub name: PeerName,
    /// What the core wants to have stored.
    pub saved: Saved,
    /// Where it was written.
    pub machine: Machine,
}

/// What was there at the start.
#[derive(Debug, Eq, PartialEq)]
pub enum Found {
    /// No file: a first start.
    Nothing,
    /// What an earlier start left.
    State(State),
    /// Something else, which was put aside.
    Bad {
        /// Where it is now.
        moved_to: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be made or used. Nothing was changed.
    #[error("cannot use the state directory {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    /// Another process uses it. Nothing was changed.
    #[error("the state directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The file is there and cannot be read. It is left as it is.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The file cannot be written. The one before it is still there.
    #[error("cannot write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// A later version wrote it. It is left as it is: under another name this would be another peer.
    #[error("{} was written by a later version ({version}): run that one again, or move the file away to start under another name", .file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// The version of its format.
        version: u64,
    },
    /// There is no name to be had: the system gives no random numbers.
    #[error("no random numbers")]
    Random(#[source] io::Error),
}

/// A state directory of ours. Another process may use it once this is dropped.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    file: PathBuf,
    /// Whether an earlier start has left a state.
    restored: bool,
    /// Locked as long as it is open.
    _lock: File,
}

impl Store {
    /// Takes the directory, makes it when missing, and reads what is there.
    pub fn open(dir: &Path) -> Result<(Self, Found), StateError> {
        let refused = |error| StateError::Directory(dir.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(refused)?;
        let mut options = OpenOptions::new();
        // Whatever somebody keeps under this name is left as it is, and no FIFO is waited for.
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.custom_flags(NONBLOCK).open(dir.join("lock"));
        let lock = lock.or_else(|error| existing_lock(dir, error)).map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        let (dir, file) = (dir.to_owned(), dir.join(FILE));
        let mut store = Self { dir, file, restored: false, _lock: lock };
        let found = store.read()?;
        store.restored = matches!(found, Found::State(_));
        Ok((store, found))
    }

    /// Whether one can do without a first state that could not be written: an earlier one is there, or it is only room that lacks.
    pub(super) fn can_wait(&self, error: &StateError) -> bool {
        self.restored || matches!(error, StateError::Write(_, why) if is_full(why))
    }

    /// Replaces what is stored. It is on disk when this returns. Blocks.
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        let write = || -> io::Result<()> {
            let fresh = self.dir.join("mesh.json.new");
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(&Text::of(state))?)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &self.file)?;
            // The rename itself is on disk only when the directory is.
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|error| StateError::Write(self.file.clone(), error))
    }

    /// A name that nobody has, for a file that is put aside; the last one is used again.
    fn aside(&self) -> PathBuf {
        let names = (1..=ASIDE_MAX).map(|n| match n {
            1 => self.file.with_extension("json.bad"),
            n => self.file.with_extension(format!("json.bad{n}")),
        });
        let mut last = PathBuf::new();
        for name in names {
            last = name;
            if !last.exists() {
                break;
            }
        }
        last
    }

    fn read(&self) -> Result<Found, StateError> {
        let failed = |error| StateError::Read(self.file.clone(), error);
        let mut octets = Vec::new();
        match OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&self.file) {
            Ok(file) if file.metadata().map_err(failed)?.is_file() => {
                file.take(SIZE_MAX + 1).read_to_end(&mut octets).map_err(failed)?
            }
            Ok(_) => return Err(failed(io::Error::other("it is no regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(failed(error)),
        };
        match parse(&octets) {
            Ok(state) => Ok(Found::State(state)),
            Err(Bad::Newer(version)) => Err(StateError::Newer { file: self.file.clone(), version }),
            Err(Bad::Unusable(reason)) => {
                let moved_to = self.aside();
                fs::rename(&self.file, &moved_to)
                    .map_err(|error| StateError::Write(moved_to.clone(), error))?;
                Ok(Found::Bad { moved_to, reason })
            }
        }
    }
}

/// One that is there can be locked by who may only read it, as on a disk that has failed.
fn existing_lock(dir: &Path, error: io::Error) -> io::Result<File> {
    let only_readable = [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied];
    if !only_readable.contains(&error.kind()) {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    let lock = options.read(true).custom_flags(NONBLOCK).open(dir.join("lock"));
    lock.map_err(|_| error)
}

fn is_full(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a file is of no use.
#[derive(Debug)]
enum Bad {
    Newer(u64),
    Unusable(String),
}

impl From<String> for Bad {
    fn from(reason: String) -> Self {
        Self::Unusable(reason)
    }
}

/// The file as text. Fields we do not know are of a newer minor version: they are let go.
#[derive(Debug, Deserialize, Serialize)]
struct Text {
    version: u64,
    name: String,
    incarnation: u64,
    #[serde(default)]
    machine: Machine,
    #[serde(default)]
    book: Vec<Entry>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    addr: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Text {
    fn of(state: &State) -> Self {
        let entry =
            |it: &Known| Entry { addr: it.addr, name: it.name.map(|name| name.to_string()) };
        Self {
            version: VERSION,
            name: state.name.to_string(),
            incarnation: state.saved.incarnation,
            machine: state.machine,
            book: state.saved.book.iter().map(entry).collect(),
        }
    }
}

fn parse(octets: &[u8]) -> Result<State, Bad> {
    if octets.len() as u64 > SIZE_MAX {
        return Err(format!("it is longer than {SIZE_MAX} octets").into());
    }
    let value: serde_json::Value =
        serde_json::from_slice(octets).map_err(|error| error.to_string())?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(VERSION) => {}
        Some(later @ VERSION..) => return Err(Bad::Newer(later)),
        Some(other) => {
            return Err(
                format!("it has version {other}, this program reads version {VERSION}").into()
            );
        }
        None => return Err("it has no version".to_owned().into()),
    }
    let text: Text = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let name = |text: &str| text.parse::<PeerName>().map_err(|error| error.to_string());
    let known = |entry: Entry| -> Result<Known, String> {
        Ok(Known { addr: entry.addr, name: entry.name.as_deref().map(name).transpose()? })
    };
    let book = text.book.into_iter().map(known).collect::<Result<_, _>>()?;
    Ok(State {
        name: name(&text.name)?,
        saved: Saved { incarnation: text.incarnation, book },
        machine: text.machine,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::scratch::Scratch;

    fn state() -> State {
        let name = "0a:1b:2c:3d:4e:5f".parse().unwrap();
        let known = |addr: &str, name| Known { addr: addr.parse().unwrap(), name };
        let book = vec![known("10.99.0.2:6783", Some(name)), known("[fd99::3]:6783", None)];
        State {
            name,
            saved: Saved { incarnation: 7, book },
            machine: Machine::from_texts(Some("0123456789abcdef"), None),
        }
    }

    #[test]
    fn a_first_start_finds_nothing_and_makes_the_directory() {
        let scratch = Scratch::new("first");

        let (_store, found) = Store::open(&scratch.path().join("a/b")).unwrap();

        assert_eq!(found, Found::Nothing);
    }

    #[test]
    fn what_was_written_is_found_by_the_next_start() {
        let scratch = Scratch::new("again");
        let (store, _) = Store::open(scratch.path()).unwrap();
        store.write(&State { saved: Saved::default(), ..state() }).unwrap();
        store.write(&state()).unwrap();
        drop(store);

        let (_store, found) = Store::open(scratch.path()).unwrap();

        assert_eq!(found, Found::State(state()));
    }

    #[test]
    fn what_makes_no_sense_is_put_aside_with_a_reason_and_never_lost() {
        let bad: [(&[u8], &str); 7] = [
            (b"", "EOF"),
            (b"\0\xff garbage", "expected value"),
            (b"{\"version\":1,\"name\":\"0a:1b:2c:3d:4e:5f\"", "EOF"),
            (b"{}", "no version"),
            (b"{\"version\":0}", "version 0"),
            (b"{\"version\":1,\"name\":\"01:00:00:00:00:00\",\"incarnation\":1}", "no peer name"),
            (b"{\"version\":1,\"name\":\"0a:1b:2c:3d:4e:5f\",\"incarnation\":-1}", "invalid value"),
        ];
        for (octets, why) in bad {
            let scratch = Scratch::new("bad");
            fs::write(scratch.path().join(FILE), octets).unwrap();

            let (store, found) = Store::open(scratch.path()).unwrap();

            let Found::Bad { moved_to, reason } = found else { panic!("{found:?}") };
            assert!(reason.contains(why), "{reason}");
            assert_eq!(moved_to, scratch.path().join("mesh.json.bad"));
            assert_eq!(fs::read(moved_to).unwrap(), octets);
            store.write(&state()).unwrap();
        }
    }

    #[test]
    fn a_file_of_a_later_version_is_left_and_refused() {
        let scratch = Scratch::new("later");
        let text = "{\"version\":2,\"name\":\"0a:1b:2c:3d:4e:5f\"}";
        fs::write(scratch.path().join(FILE), text).unwrap();

        let refused = Store::open(scratch.path());

        assert!(matches!(refused, Err(StateError::Newer { version: 2, .. })));
        assert_eq!(fs::read_to_string(scratch.path().join(FILE)).unwrap(), text);
    }

    #[test]
    fn what_was_put_aside_before_is_kept_and_so_is_a_file_named_lock() {
        let scratch = Scratch::new("aside");
        fs::write(scratch.path().join("lock"), "precious").unwrap();
        for garbage in ["one", "two"] {
            fs::write(scratch.path().join(FILE), garbage).unwrap();
            drop(Store::open(scratch.path()).unwrap());
        }

        let text = |name: &str| fs::read_to_string(scratch.path().join(name)).unwrap();
        assert_eq!([text("mesh.json.bad"), text("mesh.json.bad2")], ["one", "two"]);
        assert_eq!(text("lock"), "precious");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let scratch = Scratch::new("long");
        let file = File::create(scratch.path().join(FILE)).unwrap();
        file.set_len(1 << 40).unwrap();

        let (_store, found) = Store::open(scratch.path()).unwrap();

        assert!(matches!(found, Found::Bad { reason, .. } if reason.contains("longer")));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_stays() {
        let scratch = Scratch::new("unreadable");
        fs::create_dir(scratch.path().join(FILE)).unwrap();

        assert!(matches!(Store::open(scratch.path()), Err(StateError::Read(..))));
        assert!(scratch.path().join(FILE).exists());
    }

    #[test]
    fn a_field_that_a_newer_minor_version_added_does_no_harm() {
        let text =
            b"{\"version\":1,\"name\":\"0a:1b:2c:3d:4e:5f\",\"incarnation\":3,\"node_uid\":\"x\"}";

        assert_eq!(parse(text).unwrap().saved.incarnation, 3);
    }

    #[test]
    fn a_second_process_is_kept_out_until_the_first_is_done() {
        let scratch = Scratch::new("lock");
        let (first, _) = Store::open(scratch.path()).unwrap();

        assert!(matches!(Store::open(scratch.path()), Err(StateError::InUse(_))));
        drop(first);
        assert!(Store::open(scratch.path()).is_ok());
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let scratch = Scratch::new("full");
        let (store, _) = Store::open(scratch.path()).unwrap();
        store.write(&state()).unwrap();
        fs::create_dir(scratch.path().join("mesh.json.new")).unwrap();

        assert!(matches!(store.write(&state()), Err(StateError::Write(..))));
        drop(store);
        assert_eq!(Store::open(scratch.path()).unwrap().1, Found::State(state()));
    }
}
