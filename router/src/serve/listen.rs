//! The unix socket's file: made for its owner only, put in the place of one that nobody answers, and removed at the end.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use tokio::time::sleep;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Who starts beside us needs as long to look, and to listen.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody serves there.
    #[error(
        "cannot listen on {path}: another weftd answers there: stop it, or give another --socket"
    )]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// What is there is no socket. It stays.
    #[error("cannot listen on {path}: that is no socket: remove it, or give another --socket")]
    NoSocket {
        /// The file.
        path: PathBuf,
    },
    /// Others keep starting in the same directory.
    #[error(
        "cannot listen on {path}: another process holds the lock of its directory: stop it, or give another --socket"
    )]
    Locked {
        /// The socket.
        path: PathBuf,
    },
    /// The file system or the kernel refuses.
    #[error(
        "cannot listen on {path}: {why}: give a --socket of at most 107 characters in a directory that root may write"
    )]
    Unix {
        /// The socket.
        path: PathBuf,
        /// What it says.
        why: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} (TCP): {why}: give another --http-addr (WEAVE_HTTP_ADDR)")]
    Tcp {
        /// The address.
        addr: SocketAddr,
        /// What the kernel says.
        why: io::Error,
    },
}

/// The file of a socket that we listen on. Dropped, it is removed, unless another has come in its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

/// Listens on a unix socket. The directory is made if it is missing.
pub(super) async fn unix(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let failed = |why| ListenError::Unix { path: path.to_owned(), why };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = parent.unwrap_or_else(|| Path::new("."));
    DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
    // Of two that start at once the later would take the file of the earlier for a dead one's.
    let _lock = lock(dir)
        .await
        .map_err(failed)?
        .ok_or_else(|| ListenError::Locked { path: path.into() })?;
    clear(path)?;
    let listener = listen(path).map_err(failed)?;
    let file = SocketFile::of(path).map_err(failed)?;
    Ok((listener, file))
}

/// The directory's lock, until it is dropped; `None` if somebody else keeps it.
async fn lock(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let dir = OwnedFd::from(File::open(dir)?);
    for _ in 0..LOCK_TRIES {
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(dir)),
            Err(rustix::io::Errno::WOULDBLOCK) => sleep(LOCK_PAUSE).await,
            Err(why) => return Err(why.into()),
        }
    }
    Ok(None)
}

/// Removes the socket of a daemon that has died. One that answers stays, and so does what is no socket.
fn clear(path: &Path) -> Result<(), ListenError> {
    let failed = |why| ListenError::Unix { path: path.to_owned(), why };
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {}
        Ok(_) => return Err(ListenError::NoSocket { path: path.to_owned() }),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(failed(why)),
    }
    if is_answered(path).map_err(failed)? {
        return Err(ListenError::Taken { path: path.to_owned() });
    }
    fs::remove_file(path).map_err(failed)
}

/// Whether somebody listens. One whose backlog is full does, too (EAGAIN, since we do not wait).
fn is_answered(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(why) => Err(why),
    }
}

/// Nobody can connect before `listen`, and by then the file is its owner's only.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: id(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|id| id == self.id) {
            // Nobody is left to be told.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|it| (it.dev(), it.ino()))
}
