//! A BPF program that says which queue of a TAP a frame goes to.
//!
//! By default the kernel sends a flow to the queue that last wrote its reverse direction: it may
//! change queues, and so worker and source port, in the middle. This program goes by the flow alone:
//! the sum of addresses and ports, which is the same in both directions, mixed and cut to 16 bits.
//! The kernel takes it modulo the number of queues (drivers/net/tun.c, tun_ebpf_select_queue).

use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `BPF_PROG_LOAD` and `BPF_PROG_TYPE_SOCKET_FILTER` (include/uapi/linux/bpf.h).
const PROG_LOAD: libc::c_long = 5;
const SOCKET_FILTER: u32 = 1;

/// `struct bpf_insn`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Insn {
    code: u8,
    /// Destination register in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The part of `union bpf_attr` that loading a program uses.
#[repr(C, align(8))]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

const fn insn(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: src << 4 | dst, offset, immediate }
}

/// r0 = the frame's octets at an offset; outside of the frame the program ends with 0.
const fn load(size: u8, at: i32) -> Insn {
    insn(0x20 | size, 0, 0, 0, at)
}
const W: u8 = 0x00;
const H: u8 = 0x08;
const B: u8 = 0x10;

const fn mov(dst: u8, src: u8) -> Insn {
    insn(0xbf, dst, src, 0, 0)
}
/// r7 += r0.
const fn sum() -> Insn {
    insn(0x0f, 7, 0, 0, 0)
}
const fn jump_if_equal(immediate: i32, over: i16) -> Insn {
    insn(0x15, 0, 0, over, immediate)
}
const fn jump_unless_equal(immediate: i32, over: i16) -> Insn {
    insn(0x55, 0, 0, over, immediate)
}
const fn jump(over: i16) -> Insn {
    insn(0x05, 0, 0, over, 0)
}

/// Offsets are those of an Ethernet frame without tags: 14, and 20 octets of IPv4 or 40 of IPv6.
const PROGRAM: [Insn; 47] = [
    mov(6, 1),
    insn(0xb7, 7, 0, 0, 0),
    load(H, 12),
    jump_if_equal(0x0800, 6),
    jump_if_equal(0x86dd, 21),
    // 5, neither: by the low halves of the addresses.
    load(W, 2),
    sum(),
    load(W, 8),
    sum(),
    jump(33),
    // 10, IPv4: addresses; ports unless it has options, is a fragment, or neither TCP nor UDP.
    load(W, 26),
    sum(),
    load(W, 30),
    sum(),
    load(B, 14),
    jump_unless_equal(0x45, 27),
    load(H, 20),
    insn(0x57, 0, 0, 0, 0x3fff),
    jump_unless_equal(0, 24),
    load(B, 23),
    jump_if_equal(6, 1),
    jump_unless_equal(17, 21),
    load(H, 34),
    sum(),
    load(H, 36),
    jump(16),
    // 26, IPv6: parts of the addresses; ports when they come first.
    load(W, 22),
    sum(),
    load(W, 30),
    sum(),
    load(W, 34),
    sum(),
    load(W, 38),
    sum(),
    load(W, 50),
    sum(),
    load(B, 20),
    jump_if_equal(6, 1),
    jump_unless_equal(17, 4),
    load(H, 54),
    sum(),
    load(H, 56),
    sum(),
    // 43: mix and cut.
    insn(0x24, 7, 0, 0, 0x9e37_79b1_u32.cast_signed()),
    insn(0x74, 7, 0, 0, 16),
    mov(0, 7),
    insn(0x95, 0, 0, 0, 0),
];

/// Sets the program on a TAP device. Needs CAP_BPF, or a kernel that lets everybody load filters.
pub(crate) fn steer_by_flow(tap: BorrowedFd<'_>) -> io::Result<()> {
    let program = load_program()?;
    let descriptor: libc::c_int = program.as_raw_fd();
    // SAFETY: TUNSETSTEERINGEBPF reads one c_int, which lives across the call. The device takes a
    // reference of its own to the program.
    let done =
        unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETSTEERINGEBPF, &raw const descriptor) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn load_program() -> io::Result<OwnedFd> {
    let address = |pointer: *const u8| pointer.expose_provenance() as u64;
    let load = Load {
        prog_type: SOCKET_FILTER,
        insn_cnt: u32::try_from(size_of_val(&PROGRAM) / size_of::<Insn>()).unwrap_or(0),
        insns: address(PROGRAM.as_ptr().cast()),
        license: address(c"Apache-2.0".as_ptr().cast()),
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the kernel reads `size_of::<Load>()` octets of `load`, the instructions and the
    // licence it points to; all of them live across the call.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) };
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just opened this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
