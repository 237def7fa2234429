//! Fields of messages, read and written.

use super::{
    BadMessage, Ballot, Epoch, MAX_MORE, MAX_PARTS, MAX_SPOTS, Offer, Offset, Owner, PeerName,
    Record, RingId, Segment, Span, Value,
};

/// What is still to be read.
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadMessage> {
        let (array, rest) = self.0.split_first_chunk().ok_or(BadMessage::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, BadMessage> {
        let [octet] = self.array()?;
        Ok(octet)
    }

    pub(super) fn u64(&mut self) -> Result<u64, BadMessage> {
        self.array().map(u64::from_be_bytes)
    }

    /// LEB128.
    pub(super) fn number(&mut self) -> Result<u64, BadMessage> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.u8()?;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if octet & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadMessage::Value("a number beyond 64 bits"))
    }

    pub(super) fn number32(&mut self, what: &'static str) -> Result<u32, BadMessage> {
        u32::try_from(self.number()?).map_err(|_| BadMessage::Value(what))
    }

    /// How many follow, each of at least so many octets.
    pub(super) fn count(&mut self, each: usize) -> Result<usize, BadMessage> {
        let count = usize::try_from(self.number()?).map_err(|_| BadMessage::Short)?;
        if count > self.0.len() / each.max(1) { Err(BadMessage::Short) } else { Ok(count) }
    }

    pub(super) fn name(&mut self) -> Result<PeerName, BadMessage> {
        PeerName::new(self.array()?).ok_or(BadMessage::Value("a name that is zero or a group's"))
    }

    pub(super) fn owner(&mut self) -> Result<Owner, BadMessage> {
        Ok(Owner { name: self.name()?, epoch: Epoch(self.u64()?) })
    }

    pub(super) fn owners(&mut self) -> Result<Vec<Owner>, BadMessage> {
        let count = self.count(Owner::LEN)?;
        (0..count).map(|_| self.owner()).collect()
    }

    pub(super) fn ring(&mut self) -> Result<RingId, BadMessage> {
        self.u64().map(RingId)
    }

    pub(super) fn ballot(&mut self) -> Result<Ballot, BadMessage> {
        Ok(Ballot { round: self.number()?, by: self.name()? })
    }

    pub(super) fn value(&mut self) -> Result<Value, BadMessage> {
        let id = self.ring()?;
        let owners = self.owners()?.into_iter().collect();
        Ok(Value { id, owners })
    }

    pub(super) fn span(&mut self) -> Result<Span, BadMessage> {
        let (start, len) = (self.number()?, self.number()?);
        let end = start.checked_add(len);
        end.and_then(|end| Span::new(start, end)).ok_or(BadMessage::Value("a part of the range"))
    }

    pub(super) fn spots(&mut self) -> Result<Vec<Offset>, BadMessage> {
        let count = self.count(1)?;
        if count > MAX_SPOTS {
            return Err(BadMessage::Value("too many addresses at once"));
        }
        (0..count).map(|_| self.number32("an address")).collect()
    }

    /// A record, with its length before it.
    pub(super) fn record(&mut self, range: Span) -> Result<Record, BadMessage> {
        let len = self.count(1)?;
        let (octets, rest) = self.0.split_at_checked(len).ok_or(BadMessage::Short)?;
        self.0 = rest;
        let record = Cursor(octets).record_body()?;
        let sound = record.is_sound(range);
        if sound { Ok(record) } else { Err(BadMessage::Value("a record that nobody writes")) }
    }

    fn record_body(mut self) -> Result<Record, BadMessage> {
        let (version, shown) = (self.number()?, self.u64()?);
        let (free, serial, flags) = (self.number()?, self.number()?, self.u8()?);
        let forced = flags & 1 != 0;
        let mut record = Record { version, shown, free, serial, forced, ..Record::default() };
        let mut at = 0u64;
        for _ in 0..self.parts(3)? {
            let (gap, len, version) = (self.number()?, self.number()?, self.number()?);
            let start = at.checked_add(gap);
            let end = start.and_then(|start| start.checked_add(len));
            let span = start.zip(end).and_then(|(start, end)| Span::new(start, end));
            let span = span.ok_or(BadMessage::Value("a segment"))?;
            record.segments.push(Segment { span, version });
            at = span.end();
        }
        for _ in 0..self.parts(19)? {
            let (serial, span, version) = (self.number()?, self.span()?, self.number()?);
            let (to, flags) = (self.owner()?, self.u8()?);
            let segment = Segment { span, version };
            record.offers.push(Offer { serial, segment, to, suspect: flags & 1 != 0 });
        }
        for _ in 0..self.parts(15)? {
            record.taken.push((self.owner()?, self.number()?));
        }
        if self.0.len() > MAX_MORE {
            return Err(BadMessage::Value("more behind a record than is kept"));
        }
        record.more = self.0.to_vec();
        Ok(record)
    }

    fn parts(&mut self, each: usize) -> Result<usize, BadMessage> {
        let count = self.count(each)?;
        if count > MAX_PARTS { Err(BadMessage::Value("too many parts")) } else { Ok(count) }
    }
}

/// Fields, written.
pub(super) mod put {
    use super::{Ballot, Offset, Owner, Record, Value};

    pub(in super::super) fn number(to: &mut Vec<u8>, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                return to.push(low & 0x7f);
            }
            to.push(low | 0x80);
        }
    }

    pub(in super::super) fn count(to: &mut Vec<u8>, count: usize) {
        number(to, u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(in super::super) fn octets(to: &mut Vec<u8>, octets: &[u8]) {
        count(to, octets.len());
        to.extend(octets);
    }

    pub(in super::super) fn owner(to: &mut Vec<u8>, owner: Owner) {
        to.extend(owner.name.octets());
        to.extend(owner.epoch.0.to_be_bytes());
    }

    pub(in super::super) fn ballot(to: &mut Vec<u8>, ballot: Ballot) {
        number(to, ballot.round);
        to.extend(ballot.by.octets());
    }

    pub(in super::super) fn value(to: &mut Vec<u8>, value: &Value) {
        to.extend(value.id.0.to_be_bytes());
        count(to, value.owners.len());
        value.owners.iter().for_each(|it| owner(to, *it));
    }

    pub(in super::super) fn spots(to: &mut Vec<u8>, spots: &[Offset]) {
        count(to, spots.len());
        spots.iter().for_each(|it| number(to, u64::from(*it)));
    }

    pub(in super::super) fn record(record: &Record) -> Vec<u8> {
        let mut to = Vec::with_capacity(32);
        number(&mut to, record.version);
        to.extend(record.shown.to_be_bytes());
        number(&mut to, record.free);
        number(&mut to, record.serial);
        to.push(u8::from(record.forced));
        count(&mut to, record.segments.len());
        let mut at = 0;
        for segment in &record.segments {
            number(&mut to, segment.span.start() - at);
            number(&mut to, segment.span.len());
            number(&mut to, segment.version);
            at = segment.span.end();
        }
        count(&mut to, record.offers.len());
        for offer in &record.offers {
            number(&mut to, offer.serial);
            number(&mut to, offer.segment.span.start());
            number(&mut to, offer.segment.span.len());
            number(&mut to, offer.segment.version);
            owner(&mut to, offer.to);
            to.push(u8::from(offer.suspect));
        }
        count(&mut to, record.taken.len());
        for (donor, serial) in &record.taken {
            owner(&mut to, *donor);
            number(&mut to, *serial);
        }
        to.extend(&record.more);
        to
    }
}
