//! The network namespace of a container.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use rscni_types::error::Error;
use rustix::fs::{CWD, FsWord, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Files of namespaces are on this file system (`NSFS_MAGIC`, linux/magic.h).
const NSFS: FsWord = 0x6e73_6673;

/// An open network namespace.
#[derive(Debug)]
pub(crate) struct Netns {
    fd: OwnedFd,
    inode: u64,
}

impl Netns {
    /// Opens what a path leads to, by links too: runtimes name `/run/netns` by `/var/run`.
    ///
    /// # Errors
    /// It is no network namespace (8).
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let not = |why: String| Error::InvalidNetNS(format!("{}: {why}", path.display()));
        let fd = open(path).map_err(|why| not(why.to_string()))?;
        let Some(fd) = fd.filter(is_network) else {
            return Err(not("it is no network namespace".to_owned()));
        };
        let stat = rustix::fs::fstat(&fd).map_err(|why| not(why.to_string()))?;
        Ok(Self { fd, inode: stat.st_ino })
    }

    /// By this a namespace is known as long as it is there.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether this process is in it.
    pub(crate) fn is_own(&self) -> bool {
        fs::metadata("/proc/self/ns/net").is_ok_and(|own| own.ino() == self.inode)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `None`: it is there, but no namespace. What a file or a device does when it is opened is not found out.
fn open(path: &Path) -> io::Result<Option<OwnedFd>> {
    let place = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if fstatfs(&place)?.f_type != NSFS {
        return Ok(None);
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok(Some(openat(CWD, again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
}

/// The kernel says so when it is entered as one, by a thread that ends with it. Where that is forbidden, the daemon finds out.
fn is_network(fd: &OwnedFd) -> bool {
    let enter = || move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network));
    let entered = thread::scope(|scope| {
        let entering = thread::Builder::new().spawn_scoped(scope, enter);
        entering.ok().and_then(|it| it.join().ok())
    });
    !matches!(entered, Some(Err(Errno::INVAL)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_network_namespace_is_one() {
        let own = Netns::open(Path::new("/proc/self/ns/net")).unwrap();

        assert!(own.is_own());
        for other in
            ["/proc/self/ns/uts", "/proc/self/ns/mnt", "/dev/null", "/", "/none", "/tmp/\0"]
        {
            let error = Netns::open(Path::new(other)).unwrap_err();

            assert_eq!(u32::from(&error), 8, "{other}: {error}");
        }
    }
}
