//! The mesh's encrypted connection, under a script of somebody between its two ends.

use std::sync::LazyLock;

use peer_mesh::Psk;
use peer_mesh::secure::{MAX_BATCH, OVERHEAD, Received, Secure, SecureError};

/// Whatever somebody between two ends does, each has received a beginning of what the other sent,
/// in its order, until an error; after that nothing.
///
/// The input is an octet that says which ends they are, and then events of two octets: what, and
/// how much of it.
pub fn mesh_secure(octets: &[u8]) {
    let Some((&ends, script)) = octets.split_first() else { return };
    let mut line = Line::new(ends);
    for event in script.chunks(2) {
        let (what, amount) = (event[0], event.get(1).copied().unwrap_or(1));
        line.event(what, amount);
        line.check();
    }
}

/// Two ends; what `from` sent is on the way to the other until it is delivered.
struct Line {
    ends: [End; 2],
}

struct End {
    secure: Secure,
    hello: &'static [u8],
    sent: Vec<Received>,
    on_the_way: Vec<u8>,
    received: Vec<Received>,
    error: Option<SecureError>,
}

impl Line {
    /// Bit 0: the second end dials, too. Bit 1: it has another password. Bits 2 and 3: the versions
    /// it speaks.
    fn new(ends: u8) -> Self {
        let open = Psk::open();
        let psk = if ends & 2 == 0 { &open } else { &*OTHER };
        let first = Secure::dial(&open, HELLOS[0], [1; 32], 1..=2);
        let newest = [2, 1, 3, 3][usize::from(ends >> 2 & 3)];
        let versions = if newest == 3 && ends & 8 != 0 { 3..=3 } else { 1..=newest };
        let make = if ends & 1 == 0 { Secure::accept } else { Secure::dial };
        let second = make(psk, HELLOS[1], [2; 32], versions);
        Self { ends: [End::new(first, HELLOS[0]), End::new(second, HELLOS[1])] }
    }

    fn event(&mut self, what: u8, amount: u8) {
        let [a, b] = &mut self.ends;
        let (from, to) = if what & 1 == 0 { (a, b) } else { (b, a) };
        from.take_transmit();
        let at = usize::from(amount);
        match what >> 1 & 7 {
            // Most events deliver: a handshake takes several.
            0..=2 => {
                let len = from.on_the_way.len().min(if amount == 255 { usize::MAX } else { at });
                to.feed(&from.on_the_way.drain(..len).collect::<Vec<_>>());
            }
            3 => from.seal(&vec![amount; if amount == 255 { MAX_BATCH } else { at }]),
            4 => {
                if let Some(octet) = from.on_the_way.get_mut(at) {
                    *octet ^= 1 << (what >> 4 & 7);
                }
            }
            5 => from.on_the_way.insert(at.min(from.on_the_way.len()), what),
            6 => {
                from.on_the_way.drain(..at.min(from.on_the_way.len()));
            }
            _ => {
                let again = from.on_the_way[..at.min(from.on_the_way.len())].to_vec();
                from.on_the_way.extend(again);
            }
        }
    }

    fn check(&self) {
        let [a, b] = &self.ends;
        for (from, to) in [(a, b), (b, a)] {
            let mut sent = vec![Received::Hello(from.hello.to_vec())];
            sent.extend(from.sent.iter().cloned());
            assert!(sent.starts_with(&to.received));
            assert_eq!(to.secure.is_open(), !to.received.is_empty() && to.error.is_none());
        }
    }
}

impl End {
    fn new(secure: Secure, hello: &'static [u8]) -> Self {
        let (sent, received) = (Vec::new(), Vec::new());
        Self { secure, hello, sent, on_the_way: Vec::new(), received, error: None }
    }

    fn take_transmit(&mut self) {
        self.on_the_way.extend(self.secure.take_transmit());
    }

    fn seal(&mut self, batch: &[u8]) {
        let len = self.on_the_way.len();
        if self.secure.seal(batch, &mut self.on_the_way) {
            assert_eq!(self.on_the_way.len(), len + OVERHEAD + batch.len());
            self.sent.push(Received::Batch(batch.to_vec()));
        }
    }

    fn feed(&mut self, octets: &[u8]) {
        self.secure.handle_bytes(octets);
        loop {
            match self.secure.poll_received() {
                Ok(Some(received)) => {
                    assert_eq!(self.error, None, "nothing comes after an error");
                    self.received.push(received);
                }
                Ok(None) => return assert_eq!(self.error, None, "errors are final"),
                Err(error) => {
                    let first = self.error.get_or_insert_with(|| error.clone());
                    return assert_eq!(*first, error, "errors are final");
                }
            }
        }
    }
}

/// Made once: the key of a password costs as much as fifty handshakes.
static OTHER: LazyLock<Psk> = LazyLock::new(|| Psk::from_password("another").unwrap());

const HELLOS: [&[u8]; 2] = [b"the first end", b"the second end, at some more length"];
