//! A step as it is written.
//!
//! ```text
//! step     microseconds u64 | wall clock in milliseconds u64 | count u32 | input* | 0 u8, or 1 u8 | hash u64
//! input    0 u8 | MessagePack
//!          1 u8 | peer 6 | packet 25                                           a probe
//! ```
//! Probes are nearly all there is, and recording is to cost next to nothing: they do without MessagePack.

use peer_mesh::PeerName;
use rmp_serde::decode::Error;

use crate::{Input, probe};

const PACKED: u8 = 0;
const PROBE: u8 = 1;

/// A step: what went in, and the hash that came of it if that changed.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) micros: u64,
    pub(super) wall_millis: u64,
    pub(super) inputs: Vec<Input>,
    pub(super) hash: Option<u64>,
}

/// Writes what goes into a step. Whether that worked.
pub(super) fn emit_inputs(to: &mut Vec<u8>, micros: u64, wall_millis: u64, all: &[Input]) -> bool {
    to.extend(micros.to_be_bytes());
    to.extend(wall_millis.to_be_bytes());
    to.extend(u32::try_from(all.len()).unwrap_or(u32::MAX).to_be_bytes());
    all.iter().all(|input| emit_input(to, input))
}

/// And what came of it.
pub(super) fn emit_hash(to: &mut Vec<u8>, hash: Option<u64>) {
    match hash {
        None => to.push(0),
        Some(hash) => {
            to.push(1);
            to.extend(hash.to_be_bytes());
        }
    }
}

fn emit_input(to: &mut Vec<u8>, input: &Input) -> bool {
    if let Input::Probe(from, packet) = input {
        to.push(PROBE);
        to.extend(from.octets());
        to.extend(probe::emit_body(packet));
        return true;
    }
    to.push(PACKED);
    rmp_serde::encode::write(to, input).is_ok()
}

/// Reads a step.
pub(super) fn parse(mut octets: &[u8]) -> Result<Step, Error> {
    let from = &mut octets;
    let (micros, wall_millis) = (u64::from_be_bytes(take(from)?), u64::from_be_bytes(take(from)?));
    let count = u32::from_be_bytes(take(from)?);
    let inputs = (0..count).map(|_| parse_input(from)).collect::<Result<_, _>>()?;
    let hash = match take(from)? {
        [0] => None,
        [1] => Some(u64::from_be_bytes(take(from)?)),
        [_] => return Err(Error::Uncategorized("neither a hash nor none".into())),
    };
    Ok(Step { micros, wall_millis, inputs, hash })
}

fn parse_input(from: &mut &[u8]) -> Result<Input, Error> {
    match take(from)? {
        [PACKED] => rmp_serde::from_read(from),
        [PROBE] => {
            let name = PeerName::new(take(from)?);
            let packet = probe::parse_body(&take(from)?);
            let read = name.zip(packet).map(|(name, packet)| Input::Probe(name, packet));
            read.ok_or_else(|| Error::Uncategorized("a probe from nobody, or on no line".into()))
        }
        [kind] => Err(Error::Uncategorized(format!("an input of kind {kind}"))),
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], Error> {
    let (first, rest) = from.split_first_chunk().ok_or_else(short)?;
    *from = rest;
    Ok(*first)
}

fn short() -> Error {
    Error::Uncategorized("it ends too early".into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use switch::Mac;

    use super::*;
    use crate::liveness::{Line, Packet};

    #[test]
    fn steps_read_back_as_they_were_written() {
        let (name, mac) = (PeerName::local(1), Mac::local(2));
        let packet = Packet {
            line: Line::Sleeve,
            poll: true,
            active: false,
            seq: u64::MAX,
            echo: 7,
            delay: Duration::from_micros(u32::MAX.into()),
            interval: Duration::from_millis(200),
        };
        let told = Input::Stations { via: name, message: vec![1, 2, 3] };
        let probe = Input::Probe(name, packet);
        let inputs = vec![probe.clone(), told, probe, Input::Heard(mac, [1; 4].into())];
        for hash in [None, Some(u64::MAX)] {
            let mut octets = Vec::new();
            assert!(emit_inputs(&mut octets, 1, 2, &inputs));
            emit_hash(&mut octets, hash);

            let step = parse(&octets).unwrap();

            assert_eq!((step.micros, step.wall_millis, step.hash), (1, 2, hash));
            assert_eq!(step.inputs, inputs);
            for len in 0..octets.len() {
                assert!(parse(&octets[..len]).is_err(), "{len}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_step_or_an_error(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&octets);
        }
    }
}
