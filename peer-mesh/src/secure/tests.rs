//! Both ends, and what may come between them.

mod broken;
mod outcomes;
mod secrecy;

use super::*;

/// Enough of a mesh: two passwords and none. Argon2 is not what is tested here.
fn password(which: u8) -> Psk {
    match which {
        0 => Psk::open(),
        which => Psk::raw([which; 32]),
    }
}

const HELLO_A: &[u8] = b"hello, I am the initiator";
const HELLO_B: &[u8] = b"hello, I am the responder";
const V1: RangeInclusive<u8> = 1..=1;

/// An end and what it has said to its owner.
struct End {
    secure: Secure,
    received: Vec<Received>,
    error: Option<SecureError>,
}

impl End {
    fn dial(psk: &Psk, versions: RangeInclusive<u8>) -> Self {
        Self::new(Secure::dial(psk, HELLO_A, [1; 32], versions))
    }

    fn accept(psk: &Psk, versions: RangeInclusive<u8>) -> Self {
        Self::new(Secure::accept(psk, HELLO_B, [2; 32], versions))
    }

    fn new(secure: Secure) -> Self {
        Self { secure, received: Vec::new(), error: None }
    }

    fn feed(&mut self, octets: &[u8]) {
        self.secure.handle_bytes(octets);
        loop {
            match self.secure.poll_received() {
                Ok(Some(received)) => self.received.push(received),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(self.secure.poll_received(), Err(error.clone()), "errors are final");
                    assert!(!self.secure.is_open());
                    self.error = Some(error);
                    break;
                }
            }
        }
    }

    fn sealed(&mut self, batch: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(self.secure.seal(batch, &mut out));
        out
    }
}

/// A message that is due now.
fn sent(end: &mut End) -> Vec<u8> {
    end.secure.take_transmit()
}

/// Exchanges what the two have to send until neither has more; gives all octets of each.
fn settle(a: &mut End, b: &mut End) -> (Vec<u8>, Vec<u8>) {
    let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
    loop {
        let (x, y) = (sent(a), sent(b));
        if x.is_empty() && y.is_empty() {
            return (from_a, from_b);
        }
        a.feed(&y);
        b.feed(&x);
        from_a.extend(x);
        from_b.extend(y);
    }
}

/// Two ends with these passwords, settled.
fn pair(a: u8, b: u8) -> (End, End) {
    let mut ends = (End::dial(&password(a), V1), End::accept(&password(b), V1));
    settle(&mut ends.0, &mut ends.1);
    ends
}

/// Two open ends.
fn open_pair() -> (End, End) {
    let (a, b) = pair(1, 1);
    assert!(a.secure.is_open() && b.secure.is_open());
    (a, b)
}
