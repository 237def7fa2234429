use crate::layers::{TCP, UDP};
use crate::{Frame, Layers};

/// A number that is the same for all frames of a flow: what spreads flows over source ports, so
/// that routers and network cards on the way can spread them too (RFC 7348 §5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowHash(u32);

impl FlowHash {
    /// The hash of a frame: over addresses, protocol and ports of an IP packet, over addresses
    /// alone for its fragments, and over MACs for anything else.
    pub fn of(octets: &[u8], layers: Option<&Layers>) -> Self {
        let mut hash = Mix::default();
        match layers {
            Some(layers) => {
                hash.add(layers.addresses(octets));
                // All fragments of a packet must take one path, and only the first has the ports.
                if !layers.fragment && matches!(layers.protocol, TCP | UDP) {
                    hash.add(
                        octets.get(layers.transport..layers.transport + 4).unwrap_or_default(),
                    );
                }
                hash.add(&[layers.protocol]);
            }
            None => {
                if let Ok(frame) = Frame::parse(octets) {
                    hash.add(&frame.dst().0);
                    hash.add(&frame.src().0);
                }
            }
        }
        Self(hash.finish())
    }

    /// One of `n` choices; 0 when there is none.
    pub fn pick(self, n: usize) -> usize {
        // The high bits of the product: a multiply instead of a division.
        usize::try_from((u64::from(self.0) * n as u64) >> 32).unwrap_or_default()
    }
}

/// Multiply and fold, eight octets at a time. Not keyed: who picks their ports to collide only
/// shares a source port with themselves.
#[derive(Default)]
struct Mix(u64);

impl Mix {
    /// 2^64 divided by the golden ratio, made odd: spreads consecutive inputs (Knuth, TAOCP 6.4).
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    fn add(&mut self, octets: &[u8]) {
        for chunk in octets.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            let product = u128::from(self.0 ^ u64::from_le_bytes(word)) * u128::from(Self::FACTOR);
            self.0 = low(product) ^ low(product >> 64) ^ Self::FACTOR;
        }
    }

    fn finish(self) -> u32 {
        let product = u128::from(self.0) * u128::from(Self::FACTOR);
        u32::try_from((low(product) ^ low(product >> 64)) >> 32).unwrap_or_default()
    }
}

fn low(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    fn hash_of(ports: (u16, u16), payload: &[u8]) -> FlowHash {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(ports.0, ports.1)
            .write(&mut frame, payload)
            .unwrap();
        FlowHash::of(&frame, Layers::parse(&frame).as_ref())
    }

    proptest! {
        #[test]
        fn a_flow_keeps_its_hash(a: u16, b: u16, x: [u8; 9], y: [u8; 30]) {
            prop_assert_eq!(hash_of((a, b), &x), hash_of((a, b), &y));
        }

        #[test]
        fn a_pick_is_one_of_the_choices(hash: u32, n in 1..100usize) {
            prop_assert!(FlowHash(hash).pick(n) < n);
        }
    }

    #[test]
    fn flows_that_differ_in_a_port_spread_over_all_choices() {
        let mut hits = [0; 16];
        for port in 0..1600 {
            hits[hash_of((40_000 + port, 80), b"").pick(16)] += 1;
        }

        assert!(hits.iter().all(|hits| (50..200).contains(hits)), "{hits:?}");
    }
}
