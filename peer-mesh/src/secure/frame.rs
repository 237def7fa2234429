//! Frames: `len u16 | len octets of a Noise message`, or a reject in clear: `0 u16 | code u8`.

use std::ops::RangeInclusive;

use super::SecureError;
use super::preamble::Preamble;

/// Octets of a frame's header.
pub(super) const HEADER_LEN: usize = 2;

/// A whole frame.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Frame<'a> {
    Noise(&'a [u8]),
    Reject(u8),
}

/// Why an end gives up a handshake, told in clear: the two have no key to say it under.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Reject {
    WrongPassword = 1,
    Malformed = 2,
}

impl Reject {
    pub(super) const fn octets(self) -> [u8; HEADER_LEN + 1] {
        [0, 0, self as u8]
    }

    /// What a reject says about the connection it came on.
    pub(super) const fn error(code: u8) -> SecureError {
        const WRONG_PASSWORD: u8 = Reject::WrongPassword as u8;
        const MALFORMED: u8 = Reject::Malformed as u8;
        match code {
            WRONG_PASSWORD => SecureError::WrongPassword,
            MALFORMED => SecureError::Malformed("the other end cannot read us"),
            _ => SecureError::Malformed("a reject for an unknown reason"),
        }
    }
}

/// Appends a frame of `len` octets that `write` fills; nothing if that fails.
pub(super) fn append(
    out: &mut Vec<u8>,
    len: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, snow::Error>,
) -> Result<(), snow::Error> {
    let header = u16::try_from(len).map_err(|_| snow::Error::Input)?;
    let start = out.len();
    out.extend(header.to_be_bytes());
    out.resize(start + HEADER_LEN + len, 0);

    let written = out.get_mut(start + HEADER_LEN..).map_or(Err(snow::Error::Input), write);
    match written {
        Ok(written) if written == len => Ok(()),
        // A message of another length than its header's would be a hole in the stream.
        Ok(_) => {
            out.truncate(start);
            Err(snow::Error::Input)
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Octets that came and are not used yet.
/// INVARIANT: after it had nothing whole to give, it holds less than one frame.
#[derive(Default)]
pub(super) struct Inbox {
    octets: Vec<u8>,
    used: usize,
}

impl Inbox {
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.compact();
        self.octets.extend_from_slice(octets);
    }

    pub(super) fn preamble(&mut self) -> Result<Option<Preamble>, SecureError> {
        let preamble = Preamble::parse(self.rest())?;
        match preamble {
            Some(_) => self.used += Preamble::LEN,
            None => self.compact(),
        }
        Ok(preamble)
    }

    /// The next frame, if it is whole. A length out of `lengths` is refused as soon as it is read,
    /// so that nobody makes us hold more.
    pub(super) fn frame(
        &mut self,
        lengths: &RangeInclusive<usize>,
    ) -> Result<Option<Frame<'_>>, SecureError> {
        let Some(end) = self.end_of_frame(lengths)? else {
            self.compact();
            return Ok(None);
        };
        let start = self.used;
        self.used = end;
        match self.octets.get(start..end) {
            Some(&[0, 0, code]) => Ok(Some(Frame::Reject(code))),
            Some([_, _, message @ ..]) => Ok(Some(Frame::Noise(message))),
            Some(_) | None => Ok(None),
        }
    }

    /// Where the next frame ends; `None` if it is not whole.
    fn end_of_frame(&self, lengths: &RangeInclusive<usize>) -> Result<Option<usize>, SecureError> {
        let Some(&[high, low]) = self.rest().first_chunk() else { return Ok(None) };
        let len = match usize::from(u16::from_be_bytes([high, low])) {
            0 => 1,
            len if len < *lengths.start() => return Err(SecureError::Malformed("a short frame")),
            len if len > *lengths.end() => return Err(SecureError::Malformed("a long frame")),
            len => len,
        };
        let end = self.used + HEADER_LEN + len;
        Ok((end <= self.octets.len()).then_some(end))
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.rest().len()
    }

    fn rest(&self) -> &[u8] {
        self.octets.get(self.used..).unwrap_or_default()
    }

    fn compact(&mut self) {
        self.octets.drain(..self.used.min(self.octets.len()));
        self.used = 0;
        if self.octets.is_empty() && self.octets.capacity() > KEEP {
            self.octets = Vec::new();
        }
    }
}

/// An idle connection keeps at most this much, in octets: enough for keepalives.
const KEEP: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_out_of_range_is_refused_before_the_frame_is_there() {
        for (len, why) in [(9_u16, "a short frame"), (21, "a long frame")] {
            let mut inbox = Inbox::default();

            inbox.push(&len.to_be_bytes());

            assert_eq!(inbox.frame(&(10..=20)), Err(SecureError::Malformed(why)));
        }
    }

    #[test]
    fn an_inbox_that_was_emptied_holds_no_memory_but_a_little() {
        let mut inbox = Inbox::default();
        inbox.push(&[0, 10]);
        inbox.push(&[7; 10]);
        inbox.push(&[0xff; 2]);
        inbox.push(&[9; 65_535]);

        assert_eq!(inbox.frame(&(1..=65_535)), Ok(Some(Frame::Noise(&[7; 10]))));
        assert_eq!(inbox.frame(&(1..=65_535)), Ok(Some(Frame::Noise(&[9; 65_535]))));
        assert_eq!(inbox.frame(&(1..=65_535)), Ok(None));

        assert!(inbox.octets.capacity() <= KEEP);
    }

    #[test]
    fn a_frame_that_cannot_be_written_leaves_nothing() {
        let mut out = vec![1];

        assert!(append(&mut out, 70_000, |_| Ok(70_000)).is_err());
        assert!(append(&mut out, 20, |_| Err(snow::Error::Input)).is_err());

        assert_eq!(out, [1]);
    }
}
