//! Taking the rules out of a chain, so that frame threads do not notice.
//!
//! The kernel does it in some 50 us. nft takes 10 ms of a processor first, and a frame thread may wait for
//! that processor meanwhile. So the batch is sent by a thread of our own that has had its pause, and gives
//! way to all others: it comes to run on a processor where nothing waits.
//!
//! A batch of nfnetlink (include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h), three messages, each with
//!
//! ```text
//!  | length 4 | type 2 | flags 2 | sequence 4 | port 4 | family 1 | version 1 | resource 2, big endian |
//! ```
//!
//! in front, numbers in the host's order: begin, delete (no rule named: all of the chain), end. The kernel
//! does all or nothing, and has answered when the call returns.

use std::io;
use std::thread;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols};
use rustix::process::setpriority_process;
use tokio::sync::oneshot;

use super::nft::{DEADLINE, NftError};

/// Priorities go from -20 to this.
const LEAST_PRIORITY: i32 = 19;
/// Longer than frame threads need for what has come while a thread was made.
const PAUSE: Duration = Duration::from_millis(5);

const SUBSYSTEM: u16 = 10;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const DELETE_RULE: u16 = SUBSYSTEM << 8 | 8;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const ERROR: u16 = 2;
/// Attributes of a rule.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;

/// Takes all rules out of a chain, in the network namespace of the calling thread.
///
/// # Errors
/// [`NftError::Refused`], and no rule is gone; [`NftError::Process`]: there is no socket.
pub(super) async fn chain(table: [&str; 2], chain: &str) -> Result<(), NftError> {
    let octets = batch(table, chain);
    let socket = Socket::new(protocols::NETLINK_NETFILTER).map_err(NftError::Process)?;
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("flush".to_owned()).spawn(move || {
        give_way();
        // Who asked may have gone.
        let _unheard = tell.send(send(&socket, &octets));
    });
    drop(thread.map_err(NftError::Process)?);
    match tokio::time::timeout(DEADLINE, told).await {
        Err(_late) => Err(NftError::Late),
        Ok(Err(_panicked)) => Err(NftError::Process(io::ErrorKind::BrokenPipe.into())),
        Ok(Ok(outcome)) => outcome.map_err(|error| NftError::Refused(error.to_string())),
    }
}

/// From now on this thread runs when no other wants to; and those that it has kept waiting have run.
#[expect(clippy::disallowed_methods, reason = "a thread with nothing else to do")]
fn give_way() {
    // Without it all goes on, with more frames overtaken.
    let _refused = setpriority_process(None, LEAST_PRIORITY);
    thread::sleep(PAUSE);
}

fn send(socket: &Socket, octets: &[u8]) -> io::Result<()> {
    // The answer is there when the call returns, or never.
    socket.set_non_blocking(true)?;
    socket.send_to(octets, &SocketAddr::new(0, 0), 0)?;
    let (answer, _from) = socket.recv_from_full()?;
    match errno(&answer) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::Error::other("an answer that is none")),
    }
}

/// What an answer says: the first message of it is the first error, or the confirmation.
fn errno(answer: &[u8]) -> Option<i32> {
    let kind = answer.get(4..)?.first_chunk()?;
    let code = answer.get(16..)?.first_chunk()?;
    let code = i32::from_ne_bytes(*code).checked_neg()?;
    (u16::from_ne_bytes(*kind) == ERROR).then_some(code)
}

fn batch([family, table]: [&str; 2], chain: &str) -> Vec<u8> {
    let family = match family {
        "inet" => 1,
        "bridge" => 7,
        _ => 0,
    };
    let attributes = [attribute(TABLE, table), attribute(CHAIN, chain)].concat();
    [
        message(BEGIN, REQUEST, (0, SUBSYSTEM), &[]),
        message(DELETE_RULE, REQUEST | ACK, (family, 0), &attributes),
        message(END, REQUEST, (0, SUBSYSTEM), &[]),
    ]
    .concat()
}

fn message(kind: u16, flags: u16, (family, resource): (u8, u16), body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + body.len()).unwrap_or_default();
    let parts = [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 8],
        &[family, 0],
        &resource.to_be_bytes(),
        body,
    ];
    parts.concat()
}

/// A text with its zero, padded to four octets.
fn attribute(kind: u16, text: &str) -> Vec<u8> {
    let length = u16::try_from(4 + text.len() + 1).unwrap_or_default();
    let mut octets =
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), text.as_bytes(), &[0]].concat();
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_these_octets() {
        let octets = batch(["inet", "weft"], "receive");

        let begin = [20, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
        let delete = [44, 0, 0, 0, 8, 10, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        let named = b"\x09\0\x01\0weft\0\0\0\0\x0c\0\x02\0receive\0";
        let end = [20, 0, 0, 0, 0x11, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
        if cfg!(target_endian = "little") {
            assert_eq!(octets, [&begin[..], &delete, named, &end].concat());
        }
    }

    #[test]
    fn what_the_kernel_says_is_understood() {
        let said = |code: i32| [&[36, 0, 0, 0, 2, 0], &[0; 10][..], &code.to_ne_bytes()].concat();

        assert_eq!(errno(&said(0)), Some(0));
        assert_eq!(errno(&said(-libc::ENOENT)), Some(libc::ENOENT));
        assert_eq!(errno(&said(0)[..18]), None);
        assert_eq!(errno(&[0; 20]), None);
    }
}
