//! Which machine this is: how a peer notices that its disk was copied.
//!
//! machine-id is confidential (machine-id(5)), so only fingerprints of it are kept and compared.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use blake2::{Blake2s256, Digest};
use serde::{Deserialize, Serialize};

use crate::PeerName;

/// Unique per installation; shared by clones of a disk until somebody makes a new one.
const MACHINE_ID: &str = "/etc/machine-id";
/// Unique per (virtual) machine, and readable by root only.
const PRODUCT_UUID: &str = "/sys/class/dmi/id/product_uuid";

/// Fingerprints of what tells one machine from another, as far as it can be read.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Machine {
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_id: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_uuid: Option<Fingerprint>,
}

impl Machine {
    /// The machine we run on.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(Path::new(path)).ok();
        Self::from_texts(text(MACHINE_ID).as_deref(), text(PRODUCT_UUID).as_deref())
    }

    /// The machine with this machine-id and this product UUID. Texts that name no machine count as none.
    pub fn from_texts(machine_id: Option<&str>, product_uuid: Option<&str>) -> Self {
        let print = |label, text: Option<&str>| {
            let text = text?.trim().to_ascii_lowercase();
            // What machine-id holds before the first boot is done, and what firmware without a UUID says.
            let real =
                text.bytes().any(|octet| octet.is_ascii_hexdigit() && !b"0f".contains(&octet));
            (real && text != "uninitialized").then(|| Fingerprint::of(label, &text))
        };
        Self {
            machine_id: print("weft machine-id", machine_id),
            product_uuid: print("weft product-uuid", product_uuid),
        }
    }

    /// Whether both are known and differ: what cannot be read (any more) proves nothing.
    pub fn differs_from(&self, other: &Self) -> bool {
        let differ =
            |one: Option<_>, two: Option<_>| one.zip(two).is_some_and(|(one, two)| one != two);
        differ(self.machine_id, other.machine_id) || differ(self.product_uuid, other.product_uuid)
    }

    /// The same machine, with what an earlier start could read of it and we cannot.
    pub(super) fn or(self, earlier: Self) -> Self {
        Self {
            machine_id: self.machine_id.or(earlier.machine_id),
            product_uuid: self.product_uuid.or(earlier.product_uuid),
        }
    }

    /// The name that this machine has by itself, if anything is known of it.
    pub fn name(&self) -> Option<PeerName> {
        if *self == Self::default() {
            return None;
        }
        let mut hash = Blake2s256::new_with_prefix(b"weft peer name");
        for print in [self.machine_id, self.product_uuid] {
            hash.update(print.unwrap_or_default().0);
        }
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
        Some(PeerName::local(u64::from_be_bytes([a, b, c, d, e, f, g, h])))
    }
}

/// A hash of a text, enough of it to tell two machines apart. Hex in files.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Fingerprint([u8; 8]);

impl Fingerprint {
    fn of(label: &str, text: &str) -> Self {
        let hash = Blake2s256::new_with_prefix(label).chain_update([0]).chain_update(text);
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
        Self([a, b, c, d, e, f, g, h])
    }
}

impl From<Fingerprint> for String {
    fn from(print: Fingerprint) -> Self {
        print.0.iter().fold(Self::new(), |mut text, octet| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{octet:02x}");
            text
        })
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no fingerprint of 16 hex digits");
        if text.len() != 16 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(&text, 16).map(|raw| Self(raw.to_be_bytes())).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Option<&str> = Some("0123456789abcdef0123456789abcdef\n");
    const OTHER_ID: Option<&str> = Some("fedcba9876543210fedcba9876543210\n");
    const UUID: Option<&str> = Some("4C4C4544-0042-3510-8057-B5C04F4B4D32\n");

    #[test]
    fn a_machine_is_another_one_when_what_is_known_of_both_differs() {
        let machine = Machine::from_texts(ID, UUID);

        assert!(machine.differs_from(&Machine::from_texts(OTHER_ID, UUID)));
        assert!(machine.differs_from(&Machine::from_texts(ID, Some("4c4c4544-1"))));
        assert!(!machine.differs_from(&Machine::from_texts(ID, UUID)));
        assert!(!machine.differs_from(&Machine::from_texts(ID, None)));
        assert!(!machine.differs_from(&Machine::from_texts(None, None)));
    }

    #[test]
    fn a_name_comes_from_the_machine_and_is_a_local_one() {
        let name = Machine::from_texts(ID, UUID).name().unwrap();

        assert_eq!(Machine::from_texts(ID, UUID).name(), Some(name));
        assert_ne!(Machine::from_texts(OTHER_ID, UUID).name(), Some(name));
        assert_eq!(name.octets()[0] & 0x03, 0x02);
    }

    #[test]
    fn texts_that_name_no_machine_give_no_name() {
        for text in
            ["", "\n", "uninitialized\n", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF"]
        {
            assert_eq!(Machine::from_texts(Some(text), Some(text)).name(), None, "{text:?}");
        }
    }

    #[test]
    fn a_file_holds_fingerprints_and_not_the_ids() {
        let machine = Machine::from_texts(ID, UUID);

        let text = serde_json::to_string(&machine).unwrap();

        assert!(!text.contains("0123456789abcdef0123"));
        assert_eq!(serde_json::from_str::<Machine>(&text).unwrap(), machine);
        assert!(serde_json::from_str::<Machine>("{\"machine_id\":\"+123456789abcdef\"}").is_err());
    }
}
