//! `lab-rtnl LINK SECONDS`: whoever changes links or asks for them waits for so long (`rtnl_mutex`, `net/core/rtnetlink.c`).
//!
//! The kernel reads the request of an ethtool ioctl with that lock held (`net/ethtool/ioctl.c`), here from a page that is filled only after
//! that time (`userfaultfd(2)`).
#![expect(unsafe_code, reason = "an ioctl whose memory is not there yet")]
#![expect(clippy::print_stdout, reason = "a command that reports to its user")]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weft_tests::harness::pause;

/// `include/uapi/linux/userfaultfd.h`.
const UFFD_API: u64 = 0xaa;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_COPY: libc::c_ulong = 0xc028_aa03;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;
/// `include/uapi/linux/ethtool.h`: its first word is read without the lock, what follows with it.
const ETHTOOL_GFEATURES: u32 = 0x3a;
const PAGE: usize = 4096;
/// Until somebody reads the page.
const DEADLINE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [link, seconds] = args.as_slice() else { bail!("usage: lab-rtnl LINK SECONDS") };
    let time = Duration::from_secs_f64(seconds.parse()?);
    // SAFETY: the kernel chooses where; nothing of ours is there.
    let pages = unsafe {
        let (rights, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        libc::mmap(std::ptr::null_mut(), 2 * PAGE, rights, kind, -1, 0)
    };
    ensure!(pages != libc::MAP_FAILED, io::Error::last_os_error());
    let absent = pages.addr() + PAGE;
    let faults = faults(absent).context("userfaultfd")?;
    let filler = thread::spawn(move || fill(&faults, absent, time));
    // SAFETY: the word before the second page is in the first, which is ours to write.
    let request = unsafe {
        let at = pages.cast::<u8>().add(PAGE - 4);
        at.cast::<u32>().write(ETHTOOL_GFEATURES);
        at
    };
    // SAFETY: for this C struct of integers and pointers all zeroes is a valid value.
    let mut asked: libc::ifreq = unsafe { zeroed() };
    ensure!(link.len() < asked.ifr_name.len(), "{link} is too long");
    for (to, from) in asked.ifr_name.iter_mut().zip(link.as_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    asked.ifr_ifru.ifru_data = request.cast();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: an ethtool_gfeatures that has room for no block, which lives across the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut asked) };
    let outcome = if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    outcome.with_context(|| format!("ask for what {link} can"))?;
    filler.join().map_err(|_| anyhow::anyhow!("who fills the page panicked"))?
}

/// What tells of reads of this page.
fn faults(page: usize) -> Result<OwnedFd> {
    // SAFETY: it takes flags and gives a descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
    ensure!(fd >= 0, io::Error::last_os_error());
    // SAFETY: it is new, and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) };
    ask(&fd, UFFDIO_API, &mut [UFFD_API, 0, 0])?;
    let page = [u64::try_from(page)?, u64::try_from(PAGE)?];
    ask(&fd, UFFDIO_REGISTER, &mut [page[0], page[1], UFFDIO_REGISTER_MODE_MISSING, 0])?;
    Ok(fd)
}

/// Fills the page so long after somebody has read it.
fn fill(faults: &OwnedFd, page: usize, time: Duration) -> Result<()> {
    let mut ready = [rustix::event::PollFd::new(faults, rustix::event::PollFlags::IN)];
    let deadline = rustix::time::Timespec::try_from(DEADLINE)?;
    ensure!(rustix::event::poll(&mut ready, Some(&deadline))? == 1, "nobody has read the page");
    println!("holding");
    pause(time);
    let nothing = [0_u64; PAGE / 8];
    let from = u64::try_from(nothing.as_ptr().addr())?;
    ask(faults, UFFDIO_COPY, &mut [u64::try_from(page)?, from, u64::try_from(PAGE)?, 0, 0])
}

fn ask<const N: usize>(fd: &OwnedFd, what: libc::c_ulong, words: &mut [u64; N]) -> Result<()> {
    // SAFETY: each of these requests reads and writes a struct of so many words, which lives across the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), what, words.as_mut_ptr()) };
    ensure!(done >= 0, io::Error::last_os_error());
    Ok(())
}
