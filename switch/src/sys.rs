//! The system calls that no safe crate offers. The functions are safe; each `unsafe` block says
//! what it relies on.
#![expect(unsafe_code, reason = "this module is where it lives")]

mod steering;

use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::{null_mut, read_unaligned};
use std::sync::Arc;

use socket2::SockAddr;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) use steering::steer_by_flow;

use crate::checksum::sum_lanes;
use crate::{Message, Slot};

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

/// Binds a packet socket to one interface and one EtherType: from now on it receives.
pub(crate) fn bind_packet(
    socket: BorrowedFd<'_>,
    interface: u32,
    ether_type: u16,
) -> io::Result<()> {
    let addr = packet_address(interface, ether_type);
    let len = socklen(size_of_val(&addr))?;
    // SAFETY: the kernel reads `len` octets of `addr`, which is that long and lives across the call.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const addr).cast(), len) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends an Ethernet frame out of one interface by a packet socket, without waiting.
pub(crate) fn send_packet(
    socket: BorrowedFd<'_>,
    interface: u32,
    ether_type: u16,
    frame: &[u8],
) -> io::Result<()> {
    let addr = packet_address(interface, ether_type);
    let len = socklen(size_of_val(&addr))?;
    // SAFETY: the kernel reads `frame.len()` octets of `frame` and `len` of `addr`, which are that long
    // and live across the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            (&raw const addr).cast(),
            len,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn packet_address(interface: u32, ether_type: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: ether_type.to_be(),
        sll_ifindex: libc::c_int::try_from(interface).unwrap_or_default(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn socklen(len: usize) -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(len).map_err(io::Error::other)
}

/// Most datagrams, or runs of datagrams, in one system call.
pub(crate) const CALL_MAX: usize = 32;

/// Socket options of UDP (include/uapi/linux/udp.h).
const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;

/// Room for one control message of up to eight octets, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 32]);

/// Makes a UDP socket hand over runs of datagrams in one piece. Kernels before 5.0 refuse.
pub(crate) fn set_udp_gro(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = socklen(size_of_val(&on))?;
    // SAFETY: the option reads one c_int from `on`, which lives across the call.
    let done = unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_UDP, UDP_GRO, value, len)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads datagrams into `slots`, as many as there are, without waiting. Returns how many.
pub(crate) fn recv_batch(socket: BorrowedFd<'_>, slots: &mut [Slot]) -> io::Result<usize> {
    let n = slots.len().min(CALL_MAX);
    // SAFETY: for these C structs of integers and pointers all zeroes is a valid value.
    let mut headers: [libc::mmsghdr; CALL_MAX] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut addresses: [libc::sockaddr_in6; CALL_MAX] = unsafe { zeroed() };
    let mut iovecs = [libc::iovec { iov_base: null_mut(), iov_len: 0 }; CALL_MAX];
    let mut controls = [Control([0; 32]); CALL_MAX];
    let pieces = slots.iter_mut().zip(&mut iovecs).zip(&mut addresses).zip(&mut controls);
    for (header, (((slot, iovec), address), control)) in headers.iter_mut().zip(pieces) {
        let room = slot.buf.spare_mut();
        iovec.iov_base = room.as_mut_ptr().cast();
        iovec.iov_len = room.len();
        let header = &mut header.msg_hdr;
        header.msg_name = (&raw mut *address).cast();
        header.msg_namelen = socklen(size_of::<libc::sockaddr_in6>())?;
        header.msg_iov = iovec;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut *control).cast();
        header.msg_controllen = size_of::<Control>();
    }
    let count = u32::try_from(n).map_err(io::Error::other)?;
    // SAFETY: the first `n` headers point to one iovec, address and control buffer each, with their
    // sizes; all of them, and the slots' storage, outlive the call and are not looked at during it.
    let got = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
            null_mut(),
        )
    };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let filled = slots.iter_mut().zip(&headers).zip(&addresses).zip(&controls);
    for (((slot, header), address), control) in filled.take(got) {
        slot.buf.set_len(usize::try_from(header.msg_len).unwrap_or_default());
        slot.from = ip_of(address);
        slot.stride = stride_of(&header.msg_hdr, control);
    }
    Ok(got)
}

/// The address in a `sockaddr_in6` that may be a `sockaddr_in`; unspecified when it is neither.
fn ip_of(address: &libc::sockaddr_in6) -> IpAddr {
    match i32::from(address.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in here, which is shorter than a sockaddr_in6
            // and, like it, valid for any bit pattern.
            let v4: libc::sockaddr_in = unsafe { read_unaligned((&raw const *address).cast()) };
            IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes())
        }
        libc::AF_INET6 => IpAddr::from(address.sin6_addr.s6_addr),
        _ => IpAddr::from([0, 0, 0, 0]),
    }
}

/// The size of each datagram but the last in a run (UDP_GRO); 0 when there is only one.
fn stride_of(header: &libc::msghdr, control: &Control) -> usize {
    if header.msg_controllen < size_of::<libc::cmsghdr>() + 4 {
        return 0;
    }
    // SAFETY: the control buffer is aligned for, and longer than, a cmsghdr, and any bit pattern is
    // a valid one.
    let cmsg: libc::cmsghdr = unsafe { read_unaligned(control.0.as_ptr().cast()) };
    if (cmsg.cmsg_level, cmsg.cmsg_type) != (libc::IPPROTO_UDP, UDP_GRO) {
        return 0;
    }
    let value = control.0.get(size_of::<libc::cmsghdr>()..).and_then(|rest| rest.first_chunk());
    usize::try_from(i32::from_ne_bytes(value.copied().unwrap_or_default())).unwrap_or_default()
}

/// Sends messages in order. Returns how many were sent before the first that could not be, and why
/// that could not.
pub(crate) fn send_batch(
    socket: BorrowedFd<'_>,
    messages: &[Message<'_>],
) -> (usize, Option<io::Error>) {
    let n = messages.len().min(CALL_MAX);
    // SAFETY: for these C structs of integers and pointers all zeroes is a valid value.
    let mut headers: [libc::mmsghdr; CALL_MAX] = unsafe { zeroed() };
    let mut controls = [Control([0; 32]); CALL_MAX];
    let mut addresses: [Option<SockAddr>; CALL_MAX] = [const { None }; CALL_MAX];
    let pieces = messages.iter().zip(&mut controls).zip(&mut addresses);
    for (header, ((message, control), address)) in headers.iter_mut().zip(pieces) {
        let address = address.insert(message.to.into());
        let header = &mut header.msg_hdr;
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len();
        // An IoSlice is guaranteed to have the layout of an iovec.
        header.msg_iov = message.parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = message.parts.len();
        if message.is_run() {
            *control = segment_control(message.size);
            header.msg_control = (&raw mut *control).cast();
            // CMSG_SPACE of a u16: 16 octets of header, and the value padded to eight.
            header.msg_controllen = size_of::<libc::cmsghdr>() + 8;
        }
    }
    let count = u32::try_from(n).unwrap_or_default();
    // SAFETY: the first `n` headers point to an address, control buffer and iovecs each, with
    // their lengths; all of them, and what the iovecs point to, outlive the call, which only reads.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
    };
    match usize::try_from(sent) {
        Ok(sent) => (sent, None),
        Err(_) => (0, Some(io::Error::last_os_error())),
    }
}

fn segment_control(size: usize) -> Control {
    let mut control = Control([0; 32]);
    // CMSG_LEN of a u16.
    let len = size_of::<libc::cmsghdr>() + 2;
    let fields = [
        &len.to_ne_bytes()[..],
        &libc::IPPROTO_UDP.to_ne_bytes(),
        &UDP_SEGMENT.to_ne_bytes(),
        &u16::try_from(size).unwrap_or(u16::MAX).to_ne_bytes(),
    ];
    for (to, from) in control.0.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    control
}

/// Flags of TUNSETIFF (include/uapi/linux/if_tun.h).
const IFF_VNET_HDR: libc::c_int = 0x4000;
const IFF_MULTI_QUEUE: libc::c_int = 0x0100;

/// Attaches an open /dev/net/tun to the TAP `name`, with offload headers and several queues.
pub(crate) fn attach_tap(tun: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // SAFETY: for this C struct of integers all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    let (room, name) = (request.ifr_name.len() - 1, name.as_bytes());
    if name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives across the call.
    let done = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Says which unfinished frames the reader of a TAP takes: a set of `TUN_F_*`.
pub(crate) fn set_tap_offloads(tap: BorrowedFd<'_>, offloads: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    let done =
        unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the size of the header before each frame: another user of the device may have changed it.
pub(crate) fn set_tap_header_len(tap: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let len = libc::c_int::try_from(len).map_err(io::Error::other)?;
    // SAFETY: TUNSETVNETHDRSZ reads one c_int, which lives across the call.
    let done = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A descriptor that tokio can wait for until there is something to read. To be called inside a
/// tokio runtime.
pub(crate) fn readable(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the descriptor is owned by the Arc that the result holds, which hands out no other one
    // and closes it only after the result has deregistered it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// A partial one's complement sum, by the widest registers that this processor has.
pub(crate) fn sum_chunks(chunks: &[[u8; 32]]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which is all that the function asks for.
        return unsafe { sum_chunks_avx2(chunks) };
    }
    sum_lanes(chunks)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_chunks_avx2(chunks: &[[u8; 32]]) -> u64 {
    sum_lanes(chunks)
}
