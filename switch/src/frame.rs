use crate::{Mac, PROBE};

/// Octets of an Ethernet II header without VLAN tags.
pub const ETHERNET_LEN: usize = 14;

/// Octets of one VLAN tag (IEEE 802.1Q).
pub const VLAN_TAG_LEN: usize = 4;

/// An Ethernet II frame without its FCS: 14 octets of header, then payload. Accessors cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    header: &'a [u8; ETHERNET_LEN],
    payload: &'a [u8],
}

/// Fewer octets than an Ethernet header has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{len} octets are shorter than an Ethernet header")]
pub struct Runt {
    /// Octets in the frame.
    pub len: usize,
}

/// The EtherTypes weft looks at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EtherType {
    /// Internet Protocol version 4.
    Ipv4,
    /// Internet Protocol version 6.
    Ipv6,
    /// Anything else: carried as it is.
    Other(u16),
}

impl<'a> Frame<'a> {
    /// The frame in `octets`, or why there is none.
    pub fn parse(octets: &'a [u8]) -> Result<Self, Runt> {
        let (header, payload) = octets.split_first_chunk().ok_or(Runt { len: octets.len() })?;
        Ok(Self { header, payload })
    }

    /// The station or group it is for.
    pub fn dst(self) -> Mac {
        let [a, b, c, d, e, f, ..] = *self.header;
        Mac([a, b, c, d, e, f])
    }

    /// The station that sent it.
    pub fn src(self) -> Mac {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.header;
        Mac([a, b, c, d, e, f])
    }

    /// Whether it is a probe of weft's own ([`PROBE`]), tagged or not.
    pub fn is_probe(self) -> bool {
        self.ether_type().0 == EtherType::Other(PROBE)
    }

    /// Whether it says that it carries IP, tagged or not.
    pub fn is_ip(self) -> bool {
        matches!(self.ether_type().0, EtherType::Ipv4 | EtherType::Ipv6)
    }

    /// The EtherType behind up to two VLAN tags (802.1Q, 802.1ad), and the octets of the tags.
    pub fn ether_type(self) -> (EtherType, usize) {
        let [.., a, b] = *self.header;
        let mut ether_type = u16::from_be_bytes([a, b]);
        let mut rest = self.payload;
        let mut tags = 0;
        while let (0x8100 | 0x88a8, true) = (ether_type, tags < 2 * VLAN_TAG_LEN) {
            let Some(([_, _, a, b], inner)) = rest.split_first_chunk::<VLAN_TAG_LEN>() else {
                break;
            };
            ether_type = u16::from_be_bytes([*a, *b]);
            rest = inner;
            tags += VLAN_TAG_LEN;
        }
        let ether_type = match ether_type {
            0x0800 => EtherType::Ipv4,
            0x86dd => EtherType::Ipv6,
            other => EtherType::Other(other),
        };
        (ether_type, tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 14] = [0x02, 0, 0, 0, 0, 0xb, 0x02, 0, 0, 0, 0, 0xa, 0x08, 0x00];

    #[test]
    fn addresses_are_read_in_wire_order() {
        let frame = Frame::parse(&PLAIN).unwrap();

        assert_eq!(frame.dst(), "02:00:00:00:00:0b".parse().unwrap());
        assert_eq!(frame.src(), "02:00:00:00:00:0a".parse().unwrap());
        assert_eq!(frame.ether_type(), (EtherType::Ipv4, 0));
    }

    #[test]
    fn fewer_than_14_octets_are_a_runt() {
        for len in 0..14 {
            assert_eq!(Frame::parse(&PLAIN[..len]).unwrap_err(), Runt { len });
        }
    }

    #[test]
    fn vlan_tags_are_looked_through() {
        let mut tagged = PLAIN[..12].to_vec();
        tagged.extend([0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 7, 0x86, 0xdd]);

        assert_eq!(Frame::parse(&tagged).unwrap().ether_type(), (EtherType::Ipv6, 8));
    }

    #[test]
    fn a_tag_cut_short_stays_a_tag() {
        let mut tagged = PLAIN[..12].to_vec();
        tagged.extend([0x81, 0x00, 0]);

        assert_eq!(Frame::parse(&tagged).unwrap().ether_type(), (EtherType::Other(0x8100), 0));
    }
}
