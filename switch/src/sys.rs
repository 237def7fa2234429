//! The system calls that no safe crate offers. The functions are safe; each `unsafe` block says
//! what it relies on.
#![expect(unsafe_code, reason = "this module is where it lives")]

use std::fs::File;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};

/// `SO_MEMINFO`'s counter of dropped packets: index 8 of its array of u32
/// (include/uapi/linux/sock_diag.h, `SK_MEMINFO_DROPS`).
const SK_MEMINFO_DROPS: usize = 8;
const SK_MEMINFO_VARS: usize = 9;

/// The open device of a `tun_tap` interface, which itself offers no vectored writes.
pub(crate) fn file_of(iface: tun_tap::Iface) -> File {
    // SAFETY: `into_raw_fd` consumes the interface and gives up its open descriptor, which nothing
    // else owns from here on.
    unsafe { File::from_raw_fd(iface.into_raw_fd()) }
}

/// Whether a TUN/TAP device outlives its last descriptor.
pub(crate) fn set_persistent(tap: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes its argument by value and touches no memory of ours; the
    // descriptor is open for as long as it is borrowed.
    let done = unsafe {
        libc::ioctl(tap.as_raw_fd(), libc::TUNSETPERSIST, libc::c_ulong::from(persistent))
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes an IPv6 socket refuse datagrams larger than the path carries, instead of fragmenting them.
pub(crate) fn set_ipv6_dont_fragment(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = socklen(size_of_val(&on))?;
    // SAFETY: the option reads one c_int from `on`, which lives across the call and has `len` octets.
    let done = unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, value, len)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Datagrams the kernel dropped because the socket's receive buffer was full.
pub(crate) fn socket_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut values = [0u32; SK_MEMINFO_VARS];
    let mut len = socklen(size_of_val(&values))?;
    // SAFETY: the kernel writes at most `len` octets to `values`, which is that long and for which
    // any bit pattern is valid, and the number written to `len`.
    let done = unsafe {
        let values = values.as_mut_ptr().cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values,
            &raw mut len,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(values.get(SK_MEMINFO_DROPS).copied().unwrap_or_default())
}

fn socklen(len: usize) -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(len).map_err(io::Error::other)
}
