//! What the gossip mesh reads: records, patches, batches of messages, hellos.

use peer_mesh::wire::{
    Announcement, Hello, MAX_RECORD, Message, Patch, PatchError, Record, content_hash, messages,
};

/// Octets of a record before its TLVs, and of a TLV before its value.
const RECORD_HEADER: usize = 32;
const TLV_HEADER: usize = 3;

/// A record is kept octet for octet, and what is known of it can be said again.
pub fn mesh_record(octets: &[u8]) {
    let Ok(record) = Record::parse(octets) else { return };
    assert!(octets.len() <= MAX_RECORD);
    assert_eq!(record.octets(), octets);
    assert_eq!(record.stamp().hash, content_hash(octets));
    let tlvs: usize = record.tlvs().map(|(_, value)| TLV_HEADER + value.len()).sum();
    assert_eq!(RECORD_HEADER + tlvs, octets.len());
    assert!(record.links().is_sorted_by(|a, b| a < b));
    assert!(record.unreached().is_sorted_by(|a, b| a < b));

    let known = Announcement::from(&record);
    assert_eq!(known.links.len(), record.links().count());
    assert_eq!(known.labels.len(), record.labels().count());
    let again = known.emit().unwrap();
    assert!(again.octets().len() <= octets.len());
    assert_eq!(Announcement::from(&again), known);
}

/// A patch gives what was promised or nothing.
///
/// The input is a length in two octets, a record of that length, and another record or a patch. The
/// patch is made to be one of that record's, whose name and hash no mutation would find.
pub fn mesh_patch(octets: &[u8]) {
    let Some(([a, b], rest)) = octets.split_first_chunk() else { return };
    let len = usize::from(u16::from_be_bytes([*a, *b]));
    let Some((old, other)) = rest.split_at_checked(len) else { return };
    let Ok(old) = Record::parse(old) else { return };

    if let Ok(new) = Record::parse(other)
        && let Some(patch) = Patch::between(&old, &new)
    {
        assert!(patch.emitted_len() < new.octets().len());
        assert_eq!(read_again(&patch).apply(&old), Ok(new));
    }
    let mut patch = other.to_vec();
    if let [name @ .., _, _, _, _, _, _, _, _] = patch.get_mut(..14).unwrap_or_default() {
        name.copy_from_slice(&old.name().octets());
        patch[6..14].copy_from_slice(&old.stamp().hash.to_be_bytes());
    }
    if let Ok(patch) = Patch::parse(&patch) {
        read_again(&patch);
        match patch.apply(&old) {
            Ok(new) => assert_eq!(new.stamp().hash, patch.hash()),
            Err(error) => assert!(matches!(error, PatchError::Malformed(_))),
        }
    }
}

/// Messages that are read are those that were sent; nothing is read behind an error.
pub fn mesh_batch(octets: &[u8]) {
    let read: Vec<_> = messages(octets).collect();
    let errors = read.iter().filter(|message| message.is_err()).count();
    assert!(errors == 0 || (errors == 1 && read.last().unwrap().is_err()));

    // What peers say on the mesh's own channel is read, too, and what is understood is what was said.
    for message in read.iter().flatten() {
        if let Message::Broadcast { octets, .. } | Message::Unicast { octets, .. } = message {
            peer_mesh::is_notice(octets);
        }
    }
    peer_mesh::is_notice(octets);

    let known = |message: &Message| !matches!(message, Message::Unknown(_));
    let said: Vec<_> = read.into_iter().flatten().filter(known).collect();
    let mut batch = Vec::new();
    for message in &said {
        let before = batch.len();
        message.emit(&mut batch);
        assert_eq!(batch.len() - before, message.emitted_len());
    }
    assert!(batch.len() <= octets.len());
    assert_eq!(messages(&batch).collect::<Result<Vec<_>, _>>(), Ok(said));
}

/// A hello that is read can be said again.
pub fn mesh_hello(octets: &[u8]) {
    let Ok(hello) = Hello::parse(octets) else { return };
    assert!(octets.len() <= Hello::MAX);

    assert_eq!(Hello::parse(&hello.emit()), Ok(hello));
}

/// The patch, once more over the wire.
fn read_again(patch: &Patch) -> Patch {
    let mut octets = Vec::new();
    patch.emit(&mut octets);
    assert_eq!(octets.len(), patch.emitted_len());
    let again = Patch::parse(&octets).unwrap();
    assert_eq!(&again, patch);
    again
}
