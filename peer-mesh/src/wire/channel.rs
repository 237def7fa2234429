use std::fmt;

use super::Malformed;

/// A channel's name: 1 to 16 octets of printable ASCII without spaces.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChannelName {
    /// INVARIANT: the name, then zeros; so that the derived order is that of the text.
    octets: [u8; Self::MAX],
}

impl ChannelName {
    /// Octets at most.
    pub const MAX: usize = 16;

    /// The name with this text.
    pub fn new(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes()).ok()
    }

    /// The name with these octets.
    pub fn parse(name: &[u8]) -> Result<Self, Malformed> {
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(Malformed("a channel's name is not printable ASCII"));
        }
        let mut octets = [0; Self::MAX];
        let head = octets.get_mut(..name.len());
        head.ok_or(Malformed("a channel's name is too long"))?.copy_from_slice(name);
        Ok(Self { octets })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        let name = self.octets.split(|octet| *octet == 0).next().unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// Appends it with its length before it.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let name = self.as_str().as_bytes();
        out.extend(u8::try_from(name.len()));
        out.extend_from_slice(name);
    }

    /// Octets of that.
    pub(super) fn emitted_len(&self) -> usize {
        1 + self.as_str().len()
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_the_name_it_was_given() {
        for text in ["a", "ipam", "0123456789abcdef"] {
            assert_eq!(ChannelName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn no_channel_is_unnamed_or_has_a_name_that_cannot_be_printed() {
        for text in ["", "two words", "0123456789abcdefg", "caf\u{e9}", "nul\0", "\u{7f}"] {
            assert_eq!(ChannelName::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn channels_are_ordered_as_their_texts() {
        let mut texts = ["b", "ab", "a", "a0", "~"];
        texts.sort_unstable();

        let names = texts.map(|text| ChannelName::new(text).unwrap());

        assert!(names.is_sorted());
    }
}
