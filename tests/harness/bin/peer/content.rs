//! What is sent: pseudo-random octets, a hash to compare them by, and payloads in hex.

use anyhow::{Context, Result, bail, ensure};

/// Octets per word of the generator and of the hash.
const WORD: usize = 8;

/// An endless sequence of octets, the same for the same seed (splitmix64).
pub(crate) struct Content(u64);

impl Content {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Each call starts at a new word.
    pub(crate) fn fill(&mut self, octets: &mut [u8]) {
        let mut words = octets.chunks_exact_mut(WORD);
        for chunk in &mut words {
            chunk.copy_from_slice(&self.word().to_le_bytes());
        }
        for (octet, random) in words.into_remainder().iter_mut().zip(self.word().to_le_bytes()) {
            *octet = random;
        }
    }

    pub(crate) fn octets(&mut self, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        self.fill(&mut octets);
        octets
    }
}

/// A hash over octets in order. Every step is invertible, so that one changed, lost or swapped
/// word changes the result for sure or with all but 2^-64.
pub(crate) struct Hash {
    state: u64,
    length: u64,
    pending: Vec<u8>,
}

impl Hash {
    pub(crate) fn new() -> Self {
        Self { state: 0x6a09_e667_f3bc_c908, length: 0, pending: Vec::with_capacity(WORD) }
    }

    pub(crate) fn update(&mut self, mut octets: &[u8]) {
        self.length += octets.len() as u64;
        if !self.pending.is_empty() {
            let missing = (WORD - self.pending.len()).min(octets.len());
            let (first, rest) = octets.split_at(missing);
            self.pending.extend_from_slice(first);
            octets = rest;
            if let Some(word) = self.pending.first_chunk::<WORD>().copied() {
                self.pending.clear();
                self.mix(u64::from_le_bytes(word));
            }
        }
        let (words, rest) = octets.as_chunks::<WORD>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        self.pending.extend_from_slice(rest);
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn finish(mut self) -> String {
        let mut last = [0; WORD];
        for (to, from) in last.iter_mut().zip(&self.pending) {
            *to = *from;
        }
        self.mix(u64::from_le_bytes(last));
        self.mix(self.length);
        format!("{:016x}", self.state)
    }

    fn mix(&mut self, word: u64) {
        self.state = (self.state ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29);
    }
}

/// A payload given as `HEX`, `HEX+N` or `+N`.
pub(crate) struct Payload {
    head: Vec<u8>,
    random: usize,
}

impl Payload {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (hex, random) = match text.split_once('+') {
            Some((hex, random)) => (hex, random.parse().context("octets after +")?),
            None => (text, 0),
        };
        Ok(Self { head: unhex(hex)?, random })
    }

    pub(crate) fn parse_all(texts: &[&str]) -> Result<Vec<Self>> {
        texts.iter().map(|text| Self::parse(text)).collect()
    }

    pub(crate) fn emit(&self, content: &mut Content) -> Vec<u8> {
        let mut octets = self.head.clone();
        octets.extend(content.octets(self.random));
        octets
    }
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    ensure!(odd.is_empty(), "an odd number of hex digits");
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut octets = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => octets.push(high << 4 | low),
            (_, _) => bail!("{text} is not hex"),
        }
    }
    Ok(octets)
}
