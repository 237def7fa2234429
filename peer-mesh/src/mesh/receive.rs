//! What comes on a connection.

use std::time::Duration;

use super::Mesh;
use super::channel::{Letter, Parcel};
use crate::secure::{Received, SecureError};
use crate::wire::{Message, close_reason, messages};
use crate::{CloseReason, ConnId};

impl Mesh {
    /// Octets came, any number.
    pub fn handle_bytes(&mut self, id: ConnId, octets: &[u8], now: Duration) {
        self.stats.received_octets += octets.len() as u64;
        let Some(secure) = self.conns.get_mut(&id).and_then(|conn| {
            conn.heard = now;
            conn.secure.as_mut()
        }) else {
            return;
        };
        secure.handle_bytes(octets);
        while let Some(received) = self.poll_received(id, now) {
            match received {
                Received::Hello(hello) => self.handle_hello(id, &hello, now),
                Received::Batch(batch) => self.handle_batch(id, &batch, now),
            }
        }
        self.transmit_handshake(id);
        self.flush(now);
    }

    fn poll_received(&mut self, id: ConnId, now: Duration) -> Option<Received> {
        match self.conns.get_mut(&id)?.secure.as_mut()?.poll_received() {
            Ok(received) => received,
            Err(error) => {
                self.transmit_handshake(id);
                self.close(id, &secure_reason(&error), now);
                None
            }
        }
    }

    /// Either all messages of a batch make sense, or none has an effect.
    pub(super) fn handle_batch(&mut self, id: ConnId, batch: &[u8], now: Duration) {
        let parsed: Result<Vec<_>, _> = messages(batch).collect();
        match parsed {
            Err(error) => self.close(id, &CloseReason::Malformed(error.to_string()), now),
            Ok(messages) => {
                for message in messages {
                    self.handle_message(id, message, now);
                }
            }
        }
        self.apply_changes(now);
    }

    fn handle_message(&mut self, id: ConnId, message: Message, now: Duration) {
        let Some(conn) = self.conns.get(&id) else { return };
        match message {
            Message::Welcome { known, observed: _ } => self.handle_welcome(id, known, now),
            Message::Keepalive { root, digests } if conn.is_linked() => {
                self.handle_keepalive(id, root, &digests, now)
            }
            Message::Record(record) => self.learn(record, None, id, now),
            Message::Patch(patch) => self.learn_patch(patch, id, now),
            Message::Buckets(buckets) => self.handle_buckets(id, &buckets, now),
            Message::Held { buckets, entries } => self.handle_held(id, buckets, &entries, now),
            Message::Want(names) => self.handle_want(id, &names, now),
            Message::Addresses(addresses) => self.handle_addresses(id, &addresses, now),
            Message::Broadcast { channel, hops, octets } if conn.is_linked() => {
                self.handle_broadcast(id, Parcel { channel, hops, octets }, now)
            }
            Message::Unicast { channel, from, to, hops, octets } if conn.is_linked() => {
                self.handle_unicast(Letter { channel, from, to, hops, octets }, now);
            }
            Message::Close { code, text, name } => {
                self.handle_close(id, &close_reason(code, &text, name), now)
            }
            // Before a link is up, or of a newer version.
            Message::Keepalive { .. }
            | Message::Broadcast { .. }
            | Message::Unicast { .. }
            | Message::Unknown(_) => {}
        }
    }
}

fn secure_reason(error: &SecureError) -> CloseReason {
    match *error {
        SecureError::OtherVersion { oldest, newest } => {
            CloseReason::OtherVersion { oldest, newest }
        }
        SecureError::NotWeft => CloseReason::NotWeft,
        SecureError::WrongPassword => CloseReason::WrongPassword,
        SecureError::Malformed(what) => CloseReason::Malformed(what.to_owned()),
    }
}
