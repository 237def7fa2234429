//! Writing messages. What is longer than its bound is cut: a core never makes such, and what is not
//! cut would be refused by the receiver.

use super::{
    ADDRESSES, BROADCAST, BUCKETS, CLOSE, HASHES, HEADER, HELD, KEEPALIVE, MAX_DIGESTS,
    MAX_ENTRIES, MAX_PAYLOAD, MAX_TEXT, Message, PATCH, RECORD, UNICAST, WANT, WELCOME,
};
use crate::wire::cursor::{address_len, put_address};
use crate::wire::{MAX_ADDRESSES, clip};
use crate::{PeerName, PeerUid};

/// Octets of a list or text before its items.
const COUNT: usize = 2;

impl Message {
    /// Appends it to a batch. [`Message::Unknown`] appends nothing.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let Some(kind) = self.kind() else { return };
        let len = u16::try_from(self.body_len()).unwrap_or(u16::MAX);
        out.push(kind);
        out.extend(len.to_be_bytes());
        self.emit_body(out);
    }

    /// Octets that `emit` appends.
    pub fn emitted_len(&self) -> usize {
        self.kind().map_or(0, |_| HEADER + self.body_len())
    }

    const fn kind(&self) -> Option<u8> {
        Some(match self {
            Self::Welcome { .. } => WELCOME,
            Self::Keepalive { .. } => KEEPALIVE,
            Self::Record(_) => RECORD,
            Self::Patch(_) => PATCH,
            Self::Buckets(_) => HASHES,
            Self::Held { .. } => HELD,
            Self::Want(_) => WANT,
            Self::Broadcast { .. } => BROADCAST,
            Self::Unicast { .. } => UNICAST,
            Self::Addresses(_) => ADDRESSES,
            Self::Close { .. } => CLOSE,
            Self::Unknown(_) => return None,
        })
    }

    fn body_len(&self) -> usize {
        match self {
            Self::Welcome { observed, .. } => 8 + address_len(observed),
            Self::Keepalive { digests, .. } => {
                let items = digests.iter().take(MAX_DIGESTS);
                8 + COUNT + items.map(|(channel, _)| channel.emitted_len() + 8).sum::<usize>()
            }
            Self::Record(record) => record.octets().len(),
            Self::Patch(patch) => patch.emitted_len(),
            Self::Buckets(_) => BUCKETS * 8,
            Self::Held { entries, .. } => {
                8 + COUNT + entries.len().min(MAX_ENTRIES) * (PeerName::LEN + 8)
            }
            Self::Want(names) => COUNT + names.len().min(MAX_ENTRIES) * PeerName::LEN,
            Self::Broadcast { channel, octets, .. } => {
                channel.emitted_len() + 1 + COUNT + octets.len().min(MAX_PAYLOAD)
            }
            Self::Unicast { channel, octets, .. } => {
                let names = 2 * PeerName::LEN + 1;
                channel.emitted_len() + names + COUNT + octets.len().min(MAX_PAYLOAD)
            }
            Self::Addresses(list) => {
                COUNT + list.iter().take(MAX_ADDRESSES).map(address_len).sum::<usize>()
            }
            Self::Close { text, name, .. } => {
                let subject = if name.is_some() { PeerName::LEN + 8 } else { 0 };
                1 + COUNT + clip(text, MAX_TEXT).len() + 1 + subject
            }
            Self::Unknown(_) => 0,
        }
    }

    fn emit_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome { known, observed } => {
                out.extend(known.to_be_bytes());
                put_address(out, observed);
            }
            Self::Keepalive { root, digests } => {
                out.extend(root.to_be_bytes());
                put_list(out, MAX_DIGESTS, digests, |out, (channel, digest)| {
                    channel.emit(out);
                    out.extend(digest.to_be_bytes());
                });
            }
            Self::Record(record) => out.extend_from_slice(record.octets()),
            Self::Patch(patch) => patch.emit(out),
            Self::Buckets(hashes) => out.extend(hashes.iter().flat_map(|hash| hash.to_be_bytes())),
            Self::Held { buckets, entries } => {
                out.extend(buckets.to_be_bytes());
                put_list(out, MAX_ENTRIES, entries, |out, (name, hash)| {
                    out.extend(name.octets());
                    out.extend(hash.to_be_bytes());
                });
            }
            Self::Want(names) => {
                put_list(out, MAX_ENTRIES, names, |out, name| out.extend(name.octets()));
            }
            Self::Broadcast { channel, hops, octets } => {
                channel.emit(out);
                out.push(*hops);
                put_payload(out, octets);
            }
            Self::Unicast { channel, from, to, hops, octets } => {
                channel.emit(out);
                out.extend(from.octets());
                out.extend(to.octets());
                out.push(*hops);
                put_payload(out, octets);
            }
            Self::Addresses(list) => put_list(out, MAX_ADDRESSES, list, put_address),
            Self::Close { code, text, name } => put_close(out, *code, text, name.as_ref()),
            Self::Unknown(_) => {}
        }
    }
}

fn put_list<T>(out: &mut Vec<u8>, max: usize, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    let kept = items.get(..max).unwrap_or(items);
    put_count(out, kept.len());
    for item in kept {
        put(out, item);
    }
}

fn put_payload(out: &mut Vec<u8>, octets: &[u8]) {
    let kept = octets.get(..MAX_PAYLOAD).unwrap_or(octets);
    put_count(out, kept.len());
    out.extend_from_slice(kept);
}

fn put_close(out: &mut Vec<u8>, code: u8, text: &str, name: Option<&(PeerName, PeerUid)>) {
    let kept = clip(text, MAX_TEXT);
    out.push(code);
    put_count(out, kept.len());
    out.extend_from_slice(kept.as_bytes());
    out.push(u8::from(name.is_some()));
    if let Some((name, uid)) = name {
        out.extend(name.octets());
        out.extend(uid.to_u64().to_be_bytes());
    }
}

/// All bounds are below 2^16.
fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}
