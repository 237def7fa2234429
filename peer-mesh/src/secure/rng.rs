//! Randomness for Noise out of a seed, so that the core never asks the kernel for any.

use std::cell::Cell;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

/// snow's own cryptography with our source of randomness.
pub(super) struct Resolver(Cell<Option<Stream>>);

impl Resolver {
    /// A private key for the handshake and what resolves the rest of it, both out of one seed.
    /// INVARIANT: no octet of the stream is used twice, so the stream itself moves into Noise.
    pub(super) fn from_seed(seed: [u8; 32]) -> ([u8; 32], Self) {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut private = [0; 32];
        rng.fill_bytes(&mut private);
        (private, Self(Cell::new(Some(Stream(rng)))))
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(self.0.take()?))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct Stream(ChaCha20Rng);

impl Random for Stream {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_given_out_once() {
        let (private, resolver) = Resolver::from_seed([1; 32]);

        let mut first = [0; 32];
        resolver.resolve_rng().unwrap().try_fill_bytes(&mut first).unwrap();

        assert_ne!(first, private);
        assert!(resolver.resolve_rng().is_none());
    }
}
