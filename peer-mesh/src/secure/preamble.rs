//! The first six octets of either end, in clear: `"weft" | oldest u8 | newest u8`.

use std::ops::RangeInclusive;

use super::SecureError;

/// The versions of the protocol that one end speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Preamble {
    oldest: u8,
    newest: u8,
}

impl Preamble {
    pub(super) const LEN: usize = 6;

    pub(super) fn new(versions: &RangeInclusive<u8>) -> Self {
        Self { oldest: *versions.start(), newest: *versions.end() }
    }

    /// `None` while octets are missing. What is no preamble is known at its first wrong octet: who
    /// speaks HTTP to us waits for an answer and never sends a sixth.
    pub(super) fn parse(octets: &[u8]) -> Result<Option<Self>, SecureError> {
        if octets.iter().zip(&MAGIC).any(|(theirs, ours)| theirs != ours) {
            return Err(SecureError::NotWeft);
        }
        let Some(&[_, _, _, _, oldest, newest]) = octets.first_chunk() else { return Ok(None) };
        if oldest > newest {
            return Err(SecureError::Malformed("an empty range of versions"));
        }
        Ok(Some(Self { oldest, newest }))
    }

    pub(super) const fn octets(self) -> [u8; Self::LEN] {
        let [w, e, f, t] = MAGIC;
        [w, e, f, t, self.oldest, self.newest]
    }

    /// The newest version that both speak.
    pub(super) fn agree(self, theirs: Self) -> Result<u8, SecureError> {
        let version = self.newest.min(theirs.newest);
        if version < self.oldest.max(theirs.oldest) {
            let Self { oldest, newest } = theirs;
            return Err(SecureError::OtherVersion { oldest, newest });
        }
        Ok(version)
    }
}

const MAGIC: [u8; 4] = *b"weft";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ends_agree_on_the_same_version_or_both_on_none(a: [u8; 2], b: [u8; 2]) {
            let preamble = |[x, y]: [u8; 2]| Preamble { oldest: x.min(y), newest: x.max(y) };
            let (a, b) = (preamble(a), preamble(b));

            let version = a.agree(b);

            prop_assert_eq!(version.clone().ok(), b.agree(a).ok());
            let spoken = |p: Preamble, v: u8| (p.oldest..=p.newest).contains(&v);
            let best = (0..=u8::MAX).rev().find(|&v| spoken(a, v) && spoken(b, v));
            prop_assert_eq!(version.ok(), best);
        }

        #[test]
        fn a_preamble_is_read_as_it_was_written(x: u8, y: u8) {
            let preamble = Preamble { oldest: x.min(y), newest: x.max(y) };

            prop_assert_eq!(Preamble::parse(&preamble.octets()), Ok(Some(preamble)));
        }
    }
}
