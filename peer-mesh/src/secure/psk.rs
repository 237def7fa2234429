//! The mesh's password as a key.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use blake2::{Blake2s256, Digest};

/// The key that every member of a mesh has and nobody else.
///
/// A mesh without a password uses [`Psk::open`], which everybody knows: its connections are
/// encrypted against who only listens, but whoever can reach a peer can be a member, or sit between
/// two members.
#[derive(Clone, Eq, PartialEq)]
pub struct Psk([u8; Self::LEN]);

impl Psk {
    /// Octets of a key (Noise, section 9).
    const LEN: usize = 32;

    /// The well-known key of a mesh without a password.
    pub fn open() -> Self {
        Self(Blake2s256::digest(OPEN_LABEL).into())
    }

    /// The key that a password stands for: its octets as they are, so two spellings of one text (a
    /// final newline, composed and decomposed letters) are two passwords.
    ///
    /// Takes tens of milliseconds and 19 MiB of memory for that time, by intent: do it once.
    ///
    /// # Errors
    /// The password is empty, or of 4 GiB.
    pub fn from_password(password: &str) -> Result<Self, PasswordError> {
        if password.is_empty() {
            return Err(PasswordError::Empty);
        }
        let mut key = [0; Self::LEN];
        let mut memory = vec![Block::new(); COST.block_count()];

        Argon2::new(Algorithm::Argon2id, Version::V0x13, COST)
            .hash_password_into_with_memory(password.as_bytes(), SALT, &mut key, &mut memory)
            .map_err(|_| PasswordError::TooLong)?;
        Ok(Self(key))
    }

    #[cfg(test)]
    pub(super) const fn raw(key: [u8; Self::LEN]) -> Self {
        Self(key)
    }

    pub(super) const fn key(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Without the key: a configuration may be logged.
impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::open() { "Psk(open)" } else { "Psk(secret)" })
    }
}

/// Why a password makes no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PasswordError {
    /// An empty password is a mistake: who wants none asks for [`Psk::open`].
    #[error("the password is empty")]
    Empty,
    /// Argon2 takes less than 4 GiB.
    #[error("the password is too long")]
    TooLong,
}

// These three are part of the protocol: another value is another key.
const OPEN_LABEL: &[u8] = b"weft mesh without a password 1";
/// Fixed, as members share nothing but the password: equal passwords of two meshes are equal keys.
const SALT: &[u8] = b"weft mesh psk 1";
/// 19 MiB, two passes, one lane: the least that OWASP's Password Storage Cheat Sheet allows.
const COST: Params = match Params::new(19 * 1024, 2, 1, Some(Psk::LEN)) {
    Ok(cost) => cost,
    Err(_) => panic!("argon2 takes these costs"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_password_is_refused() {
        assert_eq!(Psk::from_password(""), Err(PasswordError::Empty));
    }

    #[test]
    fn one_password_is_one_key_and_another_is_another() {
        let one = Psk::from_password("correct horse").unwrap();

        assert_eq!(Psk::from_password("correct horse"), Ok(one.clone()));
        assert_ne!(Psk::from_password("correct horse\n"), Ok(one.clone()));
        assert_ne!(one, Psk::open());
    }

    /// The keys as the reference implementations of Argon2 and BLAKE2 compute them.
    #[test]
    fn the_keys_are_those_of_the_protocol() {
        let hex =
            |psk: Psk| -> String { psk.0.iter().map(|octet| format!("{octet:02x}")).collect() };

        assert_eq!(
            hex(Psk::from_password("correct horse").unwrap()),
            "6649fb5157ef1e8611656c66d65d8efd199734ff7c3a7ece91c801e7ab7ede6a"
        );
        assert_eq!(
            hex(Psk::open()),
            "343dfc90a2b341a4a5a401dd56020321ca2f5f187b528d7323a43646f03d3433"
        );
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Psk::open()), "Psk(open)");
        assert_eq!(format!("{:?}", Psk([7; 32])), "Psk(secret)");
    }
}
