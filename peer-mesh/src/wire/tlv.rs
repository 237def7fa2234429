//! Type, length, value.
//!
//! ```text
//! type u8 | len u16 | value, len octets
//! ```

/// Why octets are not what they should be. Nothing was changed by them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// The TLVs of an area that holds nothing else. Ends after the first error.
#[derive(Clone, Copy, Debug)]
pub struct Tlvs<'a>(&'a [u8]);

impl<'a> Tlvs<'a> {
    /// The TLVs in these octets.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    fn take(&mut self) -> Option<(u8, &'a [u8])> {
        let ([kind, a, b], rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*a, *b])))?;
        self.0 = rest;
        Some((*kind, value))
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_none() {
            self.0 = &[];
        }
        Some(taken.ok_or(Malformed("a TLV is cut short")))
    }
}

/// Octets of a TLV before its value.
pub(super) const TLV_HEADER: usize = 1 + 2;

/// Appends a TLV. A value that is too long for one is cut to 65 535 octets, which is longer than any
/// that is taken.
pub fn put_tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.push(kind);
    out.extend(len.to_be_bytes());
    out.extend_from_slice(value.get(..usize::from(len)).unwrap_or(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read() {
        let mut octets = Vec::new();
        put_tlv(&mut octets, 7, b"seven");
        put_tlv(&mut octets, 200, b"");

        let read: Result<Vec<_>, _> = Tlvs::new(&octets).collect();

        assert_eq!(read, Ok(vec![(7, &b"seven"[..]), (200, &b""[..])]));
    }

    #[test]
    fn reading_ends_at_the_first_tlv_that_is_cut_short() {
        let octets = [1, 0, 1, 0xaa, 2, 0, 5, 0xbb];

        let read: Vec<_> = Tlvs::new(&octets).collect();

        assert_eq!(read, [Ok((1, &[0xaa][..])), Err(Malformed("a TLV is cut short"))]);
    }
}
