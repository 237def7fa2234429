//! Probes, on the wire.
//!
//! ```text
//! dst MAC 6 | src MAC 6 | 0x88b5 | "weft" 4 | version 3 | token 8 | line 1 | flags 1 | 0 | seq u64 | echo u64 | delay u32 | interval u16 | MAC 16
//! ```
//! A frame of 68 octets between the two nodes' bridges (their names are the addresses). It travels as frames do on its line: 1 in VXLAN that the kernel sends, 2 in VXLAN that the process sends, 3 on
//! UDP 6783; on line 4, the mesh, the frame is the message. Flags: 1 answer at once, 2 there is traffic. `delay`
//! is in microseconds since `echo` was heard, `interval` in milliseconds until the sender speaks again.
//!
//! Flag 4 makes it a size probe: `echo` is the size of the inner IP packet that it stands for, and it is filled up with
//! zeros to that and 14 octets, so that it is as large as a frame with such a packet. With flag 8 it is its
//! acknowledgement, of 68 octets, with the same `seq` and size.
//!
//! The token is the receiver's, for one start: it follows from its public key, which pods are not told, and probes do not come by
//! where pods are. So a filter in the kernel keeps away what pods make up (`switch::ProbePort`).
//!
//! The MAC (BLAKE2s, 16 octets, over all before it) is under a key that only the two nodes have: each start of a node has an
//! X25519 key (RFC 7748) and publishes its public half in the mesh, as label `data.key`. Who can send on the underlay, or
//! sits in a pod, can neither make probes nor play old ones again: numbers only grow, and keys end with the start.

use std::fmt;
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use curve25519_dalek::montgomery::MontgomeryPoint;
use peer_mesh::PeerName;
use switch::{PROBE, Token};

use crate::liveness::{Line, Packet};
use crate::pmtu::SizeProbe;

/// The mesh's label for the public half of a node's key.
pub const KEY: &str = "data.key";

/// Octets of a probe.
pub const FRAME: usize = 14 + HEAD + BODY + MAC;
const HEAD: usize = 4 + 1 + TOKEN;
/// Octets of a packet, without the addresses.
pub(crate) const BODY: usize = 1 + 1 + 1 + 8 + 8 + 4 + 2;
const MAC: usize = 16;
const TOKEN: usize = size_of::<Token>();
const MAGIC: [u8; 4] = *b"weft";
const VERSION: u8 = 3;
const POLL: u8 = 1;
const ACTIVE: u8 = 2;
const SIZE: u8 = 4;
const ACKNOWLEDGES: u8 = 8;
/// Octets of an Ethernet header.
const ETHERNET: usize = 14;

/// A node's own key, for one start.
pub struct Secret([u8; 32]);

/// What only two nodes know.
#[derive(Clone)]
pub struct Key {
    seal: [u8; 32],
    /// What the other one listens for.
    token: Token,
}

/// What a probe says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    /// How a line is.
    Line(Packet),
    /// What it carries.
    Size(SizeProbe),
}

/// A probe as it came: whose it is has yet to be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sealed<'a> {
    /// From whom, as it says.
    pub from: PeerName,
    /// For whom.
    pub to: PeerName,
    said: Said,
    frame: &'a [u8; FRAME],
}

impl Secret {
    /// Of octets that nobody can guess.
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// What others are told: hexadecimal digits.
    pub fn public(&self) -> String {
        let octets = MontgomeryPoint::mul_base_clamped(self.0).to_bytes();
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// What we listen for.
    pub fn token(&self) -> Token {
        token_of(&MontgomeryPoint::mul_base_clamped(self.0).to_bytes())
    }

    /// What we share with the node that has told us this; `None` for what is no key.
    pub fn shared(&self, public: &str) -> Option<Key> {
        let theirs = hex(public)?;
        let ours = MontgomeryPoint::mul_base_clamped(self.0).to_bytes();
        let shared = MontgomeryPoint(theirs).mul_clamped(self.0).to_bytes();
        // Some points give everybody the same (RFC 7748, section 6.1).
        if shared == [0; 32] {
            return None;
        }
        let (low, high) = if ours < theirs { (ours, theirs) } else { (theirs, ours) };
        let hash = Blake2s256::new().chain_update("weft probe 3").chain_update(shared);
        let hash = hash.chain_update(low).chain_update(high).finalize();
        Some(Key { seal: hash.into(), token: token_of(&theirs) })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// The frame that says it.
pub fn emit(said: &Said, from: PeerName, to: PeerName, key: &Key) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME);
    frame.extend(to.octets());
    frame.extend(from.octets());
    frame.extend(PROBE.to_be_bytes());
    frame.extend(MAGIC);
    frame.push(VERSION);
    frame.extend(key.token);
    frame.extend(match said {
        Said::Line(packet) => emit_body(packet),
        Said::Size(probe) => emit_size(probe),
    });
    let mac = seal(key, &frame);
    frame.extend(mac);
    if let Said::Size(SizeProbe { acknowledges: false, octets, .. }) = said {
        frame.resize((ETHERNET + usize::from(*octets)).max(FRAME), 0);
    }
    frame
}

impl<'a> Sealed<'a> {
    /// Reads a frame, if it is a probe. Octets after it are filling.
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let frame: &[u8; FRAME] = octets.first_chunk()?;
        let (to, rest) = frame.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (ether_type, rest) = rest.split_first_chunk::<2>()?;
        let (magic, rest) = rest.split_first_chunk::<4>()?;
        let ([version], rest) = rest.split_first_chunk::<1>()?;
        let (_token, rest) = rest.split_first_chunk::<TOKEN>()?;
        if u16::from_be_bytes(*ether_type) != PROBE || *magic != MAGIC || *version != VERSION {
            return None;
        }
        let body = rest.first_chunk()?;
        let said = if body[1] & SIZE == 0 {
            Said::Line(parse_body(body)?)
        } else {
            Said::Size(parse_size(body)?)
        };
        let name = |octets: &[u8; 6]| PeerName::new(*octets);
        Some(Self { from: name(from)?, to: name(to)?, said, frame })
    }

    /// Whether a frame that was so long when it came is as long as it says, if it says that.
    pub fn has_size(&self, len: usize) -> bool {
        match self.said {
            Said::Size(SizeProbe { acknowledges: false, octets, .. }) => {
                len == (ETHERNET + usize::from(octets)).max(FRAME)
            }
            Said::Size(_) | Said::Line(_) => true,
        }
    }

    /// What it says, if it was made by who has the key.
    pub fn open(&self, key: &Key) -> Option<Said> {
        let (told, mac) = self.frame.split_at(FRAME - MAC);
        let mut made = keyed(key)?;
        made.update(told);
        made.verify_slice(mac).is_ok().then_some(self.said)
    }
}

/// A packet by itself.
pub(crate) fn emit_body(packet: &Packet) -> [u8; BODY] {
    let Packet { line, poll, active, seq, echo, delay, interval } = packet;
    let flags = if *poll { POLL } else { 0 } | if *active { ACTIVE } else { 0 };
    let delay = u32::try_from(delay.as_micros()).unwrap_or(u32::MAX);
    let interval = u16::try_from(interval.as_millis()).unwrap_or(u16::MAX);
    fields(*line, flags, [*seq, *echo], (delay, interval))
}

fn emit_size(probe: &SizeProbe) -> [u8; BODY] {
    let SizeProbe { line, acknowledges, number, octets } = *probe;
    let flags = SIZE | if acknowledges { ACKNOWLEDGES } else { 0 };
    fields(line, flags, [number, octets.into()], (0, 0))
}

fn fields(
    line: Line,
    flags: u8,
    [seq, echo]: [u64; 2],
    (delay, interval): (u32, u16),
) -> [u8; BODY] {
    let line = match line {
        Line::Fast => 1,
        Line::User => 2,
        Line::Sleeve => 3,
        Line::Mesh => 4,
    };
    let mut body = [0; BODY];
    let fields = [line, flags, 0].into_iter().chain(seq.to_be_bytes()).chain(echo.to_be_bytes());
    let fields = fields.chain(delay.to_be_bytes()).chain(interval.to_be_bytes());
    body.iter_mut().zip(fields).for_each(|(to, octet)| *to = octet);
    body
}

fn parse_size(body: &[u8; BODY]) -> Option<SizeProbe> {
    let Packet { line, seq, echo, .. } = parse_body(body)?;
    let acknowledges = body[1] & ACKNOWLEDGES != 0;
    Some(SizeProbe { line, acknowledges, number: seq, octets: echo.try_into().ok()? })
}

/// Reads a packet by itself.
pub(crate) fn parse_body(body: &[u8; BODY]) -> Option<Packet> {
    let ([line, flags, _], rest) = body.split_first_chunk::<3>()?;
    let (seq, rest) = rest.split_first_chunk()?;
    let (echo, rest) = rest.split_first_chunk()?;
    let (delay, rest) = rest.split_first_chunk()?;
    let (interval, _) = rest.split_first_chunk()?;
    let line = match line {
        1 => Line::Fast,
        2 => Line::User,
        3 => Line::Sleeve,
        4 => Line::Mesh,
        _ => return None,
    };
    Some(Packet {
        line,
        poll: flags & POLL != 0,
        active: flags & ACTIVE != 0,
        seq: u64::from_be_bytes(*seq),
        echo: u64::from_be_bytes(*echo),
        delay: Duration::from_micros(u32::from_be_bytes(*delay).into()),
        interval: Duration::from_millis(u16::from_be_bytes(*interval).into()),
    })
}

fn seal(key: &Key, told: &[u8]) -> [u8; MAC] {
    // A key of 32 octets is one that BLAKE2s takes.
    keyed(key).map_or([0; MAC], |mac| mac.chain_update(told).finalize().into_bytes().into())
}

fn keyed(key: &Key) -> Option<Blake2sMac<U16>> {
    KeyInit::new_from_slice(&key.seal).ok()
}

fn token_of(public: &[u8; 32]) -> Token {
    let hash = Blake2s256::new().chain_update("weft probe token").chain_update(public).finalize();
    let mut token = Token::default();
    token.iter_mut().zip(hash).for_each(|(to, octet)| *to = octet);
    token
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut octets = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 2 * octets.len() {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: PeerName = PeerName::local(1);
    const B: PeerName = PeerName::local(2);

    fn keys() -> (Key, Key) {
        let (a, b) = (Secret::new([1; 32]), Secret::new([2; 32]));
        (a.shared(&b.public()).unwrap(), b.shared(&a.public()).unwrap())
    }

    fn said() -> impl Strategy<Value = Said> {
        let line = prop::sample::select(&Line::ALL[..]);
        let size = (line, any::<bool>(), any::<u64>(), any::<u16>());
        let size = size.prop_map(|(line, acknowledges, number, octets)| {
            Said::Size(SizeProbe { line, acknowledges, number, octets })
        });
        prop_oneof![packet().prop_map(Said::Line), size]
    }

    fn packet() -> impl Strategy<Value = Packet> {
        let line = prop::sample::select(&Line::ALL[..]);
        let flags = (any::<bool>(), any::<bool>());
        (line, flags, any::<u64>(), any::<u64>(), any::<u32>(), any::<u16>()).prop_map(
            |(line, (poll, active), seq, echo, delay, interval)| Packet {
                line,
                poll,
                active,
                seq,
                echo,
                delay: Duration::from_micros(delay.into()),
                interval: Duration::from_millis(interval.into()),
            },
        )
    }

    #[test]
    fn two_nodes_have_one_key_and_a_third_has_another() {
        let (a, b) = keys();
        let c = Secret::new([3; 32]).shared(&Secret::new([2; 32]).public()).unwrap();

        assert_eq!(a.seal, b.seal);
        assert_ne!(a.seal, c.seal);
        assert_eq!(a.token, Secret::new([2; 32]).token());
        assert_eq!(b.token, Secret::new([1; 32]).token());
        assert!(Secret::new([1; 32]).shared(&"00".repeat(32)).is_none());
        assert!(Secret::new([1; 32]).shared("+0").is_none());
    }

    #[test]
    fn the_key_agreement_is_that_of_rfc_7748() {
        // Section 6.1, Bob's.
        let secret = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
        let public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";

        assert_eq!(Secret::new(hex(secret).unwrap()).public(), public);
    }

    proptest! {
        #[test]
        fn a_probe_reads_back_with_the_key_and_with_no_octet_altered(
            said in said(),
            at in 0..FRAME,
            flip in 1_u8..,
        ) {
            let (ours, theirs) = keys();

            let mut frame = emit(&said, A, B, &ours);

            let len = match said {
                Said::Size(SizeProbe { acknowledges: false, octets, .. }) => {
                    68.max(usize::from(octets) + 14)
                }
                Said::Line(_) | Said::Size(_) => 68,
            };
            prop_assert_eq!(frame.len(), len);
            prop_assert!(switch::Frame::parse(&frame).unwrap().is_probe());
            let sealed = Sealed::parse(&frame).unwrap();
            prop_assert_eq!((sealed.from, sealed.to, sealed.open(&theirs)), (A, B, Some(said)));
            prop_assert!(sealed.has_size(len));
            frame[at] ^= flip;
            prop_assert_eq!(Sealed::parse(&frame).and_then(|it| it.open(&theirs)), None);
        }

        #[test]
        fn any_octets_are_a_probe_or_none(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let (key, _) = keys();
            prop_assert!(Sealed::parse(&octets).and_then(|it| it.open(&key)).is_none());
        }
    }
}
