//! Reading classic pcap files: what tcpdump writes.
//!
//! ```text
//! file    magic 4 (a1b2c3d4 us | a1b23c4d ns), version 4, zone 4, sigfigs 4, snaplen 4, link 4
//! packet  seconds 4, fraction 4, captured length 4, length on the wire 4, octets
//! ```
//! All in the byte order of the writer, which is this machine.

use std::time::Duration;

use anyhow::{Result, bail};

/// A frame that a [`super::Capture`] has seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// When, since 1970.
    pub at: Duration,
    /// From the Ethernet header on; a VLAN tag is where it was on the wire.
    pub octets: Vec<u8>,
}

/// All whole packets of a file; one that is still being written ends early.
pub(super) fn parse(file: &[u8]) -> Result<Vec<Packet>> {
    let Some((header, mut rest)) = file.split_first_chunk::<24>() else { return Ok(Vec::new()) };
    let [a, b, c, d, ..] = *header;
    let unit = match u32::from_ne_bytes([a, b, c, d]) {
        0xa1b2_c3d4 => 1000,
        0xa1b2_3c4d => 1,
        other => bail!("not a pcap file: {other:08x}"),
    };
    let mut packets = Vec::new();
    while let Some((at, octets, tail)) = packet(rest, unit) {
        packets.push(Packet { at, octets: octets.to_vec() });
        rest = tail;
    }
    Ok(packets)
}

fn packet(bytes: &[u8], unit: u32) -> Option<(Duration, &[u8], &[u8])> {
    let (seconds, bytes) = word(bytes)?;
    let (fraction, bytes) = word(bytes)?;
    let (captured, bytes) = word(bytes)?;
    let (_on_wire, bytes) = word(bytes)?;
    let (octets, tail) = bytes.split_at_checked(usize::try_from(captured).ok()?)?;
    Some((Duration::new(seconds.into(), fraction.saturating_mul(unit)), octets, tail))
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, tail) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_ne_bytes(*word), tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(words: &[u32], octets: &[u8]) -> Vec<u8> {
        let mut file: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        file.extend(octets);
        file
    }

    #[test]
    fn packets_come_with_time_and_octets() {
        let file = file(&[0xa1b2_c3d4, 0, 0, 0, 0, 1, 7, 5, 3, 3], b"abc");

        let packets = parse(&file).unwrap();

        let at = Duration::new(7, 5000);
        assert_eq!(packets, [Packet { at, octets: b"abc".to_vec() }]);
    }

    #[test]
    fn a_packet_that_is_still_being_written_is_left_for_later() {
        let file = file(&[0xa1b2_c3d4, 0, 0, 0, 0, 1, 7, 5, 3, 3], b"ab");

        assert_eq!(parse(&file).unwrap(), []);
        assert_eq!(parse(&[]).unwrap(), []);
    }

    #[test]
    fn another_kind_of_file_is_refused() {
        assert!(parse(&[0; 24]).is_err());
    }
}
