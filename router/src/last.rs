//! The last plan: what a node knew of the others when it was last running, as a file.
//!
//! A start goes by it until the mesh has told everything again: peers keep their slots, paths and stations. It is of use only
//! to the node that wrote it, with the same overlay.
//!
//! ```text
//! file   "weftplan" 8 | version u16 | the plan, as MessagePack | digest 32
//! ```
//! The digest is BLAKE2s-256 of all that is before it.

use std::collections::BTreeMap;

use blake2::{Blake2s256, Digest as _};
use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::{Label, Vni};

use crate::node::Peer;
use crate::plan::Chosen;
use crate::station::Item;

const MAGIC: [u8; 8] = *b"weftplan";
/// What we write, and the only one we read.
const VERSION: u16 = 1;
const DIGEST: usize = 32;

/// What a node knew of the others.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Last {
    /// What the node was called.
    pub own: PeerName,
    /// The overlay.
    pub vni: Vni,
    /// Whether the underlay was IPv6.
    pub ipv6: bool,
    /// The node's label.
    pub label: Label,
    /// The others.
    pub peers: BTreeMap<PeerName, LastPeer>,
    /// Stations that are there, its own among them.
    pub stations: Vec<Item>,
}

/// A peer as it was known.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LastPeer {
    /// As the mesh had it.
    pub peer: Peer,
    /// Slot, address, MTU and path.
    pub chosen: Chosen,
    /// Through whom.
    pub via: Vec<PeerName>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadLast {
    /// It is something else.
    #[error("it is no plan of weft's")]
    NotOne,
    /// Another release's.
    #[error("it has version {0}, and this release reads version {VERSION}")]
    Version(u16),
    /// It is not what was written.
    #[error("it was cut off or altered: its digest is wrong")]
    Altered,
    /// What is in it makes no sense.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] rmp_serde::decode::Error),
}

impl Last {
    /// As a file.
    pub fn emit(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(VERSION.to_be_bytes());
        // What is in memory can be written to memory; if not, the reader says so.
        let _written = rmp_serde::encode::write(&mut file, self);
        let digest = Blake2s256::digest(&file);
        file.extend(digest);
        file
    }

    /// From a file.
    ///
    /// # Errors
    /// As [`BadLast`] says.
    pub fn parse(file: &[u8]) -> Result<Self, BadLast> {
        let (magic, rest) = file.split_first_chunk::<8>().ok_or(BadLast::NotOne)?;
        if *magic != MAGIC {
            return Err(BadLast::NotOne);
        }
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(BadLast::Altered)?;
        let version = u16::from_be_bytes(*version);
        if version != VERSION {
            return Err(BadLast::Version(version));
        }
        let (body, _) = rest.split_last_chunk::<DIGEST>().ok_or(BadLast::Altered)?;
        let (before, digest) = file.split_last_chunk::<DIGEST>().ok_or(BadLast::Altered)?;
        if Blake2s256::digest(before).as_slice() != digest {
            return Err(BadLast::Altered);
        }
        Ok(rmp_serde::from_slice(body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> Last {
        let own = PeerName::local(1);
        let label = crate::choose_label(own, None, []);
        let (peers, stations) = (BTreeMap::new(), Vec::new());
        Last { own, vni: Vni::DEFAULT, ipv6: false, label, peers, stations }
    }

    #[test]
    fn a_file_that_was_cut_off_or_altered_anywhere_is_refused() {
        let file = last().emit();

        assert_eq!(Last::parse(&file).unwrap(), last());
        for len in 0..file.len() {
            assert!(Last::parse(&file[..len]).is_err(), "{len} octets");
        }
        for at in 0..file.len() {
            let mut altered = file.clone();
            altered[at] ^= 1;
            assert!(Last::parse(&altered).is_err(), "octet {at}");
        }
    }

    #[test]
    fn a_file_of_another_version_says_so() {
        let mut file = last().emit();
        file[9] += 1;

        assert!(matches!(Last::parse(&file), Err(BadLast::Version(2))));
    }
}
