use proptest::prelude::*;

use super::*;
use crate::PeerUid;
use crate::wire::strategies::{patch, record, versions};
use crate::wire::{Announcement, Link, MAX_COUNT};

fn link(number: u64) -> Link {
    Link { name: PeerName::local(number << 20), uid: PeerUid::new(number << 40 | 1).unwrap() }
}

fn announcement(links: u64) -> Announcement {
    let mut announcement = Announcement::new(PeerName::local(1), PeerUid::new(2).unwrap(), 3);
    announcement.nickname = "node-1".into();
    announcement.addresses = vec![([192, 0, 2, 1], 6783).into()];
    announcement.links = (1..=links).map(link).collect();
    announcement.version = 100;
    announcement
}

/// `announcement`, and the same at the next version with something changed.
fn changed(change: impl Fn(&mut Announcement)) -> (Record, Record) {
    let mut announcement = announcement(20);
    let old = announcement.emit().unwrap();
    announcement.version += 1;
    change(&mut announcement);
    (old, announcement.emit().unwrap())
}

fn round_trip(patch: &Patch) -> Patch {
    let mut octets = Vec::new();
    patch.emit(&mut octets);
    assert_eq!(octets.len(), patch.emitted_len());
    Patch::parse(&octets).unwrap()
}

#[test]
fn a_link_more_costs_fifty_octets() {
    let (old, new) = changed(|announcement| {
        announcement.links.insert(link(1000));
    });

    let patch = Patch::between(&old, &new).unwrap();

    assert!(patch.emitted_len() <= 50, "{}", patch.emitted_len());
    assert_eq!(round_trip(&patch).apply(&old), Ok(new));
}

#[test]
fn a_link_less_costs_forty_octets() {
    let (old, new) = changed(|announcement| {
        announcement.links.remove(&link(7));
    });

    let patch = Patch::between(&old, &new).unwrap();

    assert!(patch.emitted_len() <= 40, "{}", patch.emitted_len());
    assert_eq!(round_trip(&patch).apply(&old), Ok(new));
}

#[test]
fn a_change_of_flags_only_has_no_edits() {
    let (old, new) = changed(|announcement| announcement.departed = true);

    let patch = Patch::between(&old, &new).unwrap();

    assert!(patch.edits.is_empty());
    assert_eq!(patch.apply(&old), Ok(new));
}

#[test]
fn there_is_no_patch_from_one_start_to_another() {
    let old = announcement(20).emit().unwrap();
    let mut others = vec![announcement(20); 3];
    others[0].incarnation += 1;
    others[1].uid = PeerUid::new(77).unwrap();
    others[2].name = PeerName::local(77);

    for other in others {
        assert_eq!(Patch::between(&old, &other.emit().unwrap()), None);
    }
}

#[test]
fn there_is_no_patch_that_is_longer_than_the_record() {
    let (old, new) = changed(|announcement| {
        announcement.version = MAX_COUNT;
        announcement.nickname.clear();
        announcement.addresses.clear();
        announcement.links = [link(1000)].into();
    });

    assert_eq!(Patch::between(&old, &new), None);
}

#[test]
fn a_patch_that_reaches_beyond_the_record_is_malformed() {
    let (old, new) = changed(|announcement| {
        announcement.links.insert(link(1000));
    });
    let patch = Patch::between(&old, &new).unwrap();

    for edit in [(5000, 1, 0), (0, 1, 5000), (u64::MAX, 1, 0), (0, 1, u64::MAX)] {
        let mut patch = patch.clone();
        patch.edits.clear();
        put_varint(&mut patch.edits, edit.0);
        put_varint(&mut patch.edits, edit.1);
        patch.edits.push(0);
        put_varint(&mut patch.edits, edit.2);
        assert!(matches!(patch.apply(&old), Err(PatchError::Malformed(_))), "{edit:?}");
    }
}

#[test]
fn a_patch_whose_result_is_not_what_was_promised_is_malformed() {
    let (old, new) = changed(|announcement| {
        announcement.links.insert(link(1000));
    });
    let mut patch = Patch::between(&old, &new).unwrap();

    patch.version += 1;

    assert!(matches!(patch.apply(&old), Err(PatchError::Malformed(_))));
}

#[test]
fn an_edit_that_changes_nothing_is_malformed() {
    let (old, new) = changed(|_| {});
    let mut patch = Patch::between(&old, &new).unwrap();
    patch.edits = vec![3, 0, 0];
    let mut octets = Vec::new();

    patch.emit(&mut octets);

    assert_eq!(Patch::parse(&octets), Err(Malformed("an edit changes nothing")));
}

proptest! {
    #[test]
    fn a_patch_makes_the_new_record_of_the_old_one((old, new) in versions()) {
        if let Some(patch) = Patch::between(&old, &new) {
            prop_assert!(patch.emitted_len() < new.octets().len());
            prop_assert_eq!((patch.name(), patch.hash()), (new.name(), new.stamp().hash));
            prop_assert_eq!((patch.base(), patch.hash()), (old.stamp().hash, new.stamp().hash));
            prop_assert_eq!(patch.apply(&old), Ok(new.clone()));
            prop_assert_eq!(round_trip(&patch).apply(&old), Ok(new));
        }
    }

    #[test]
    fn a_patch_to_another_record_says_so(patch in patch(), other in record()) {
        prop_assert_eq!(patch.apply(&other), Err(PatchError::OtherBase));
    }

    #[test]
    fn a_patch_that_was_changed_gives_the_promised_record_or_none(
        (old, new) in versions(), at in any::<prop::sample::Index>(), octet in any::<u8>(),
    ) {
        if let Some(patch) = Patch::between(&old, &new) {
            let mut octets = Vec::new();
            patch.emit(&mut octets);
            let at = at.index(octets.len());
            octets[at] = octet;

            if let Ok(patch) = Patch::parse(&octets) && let Ok(result) = patch.apply(&old) {
                prop_assert_eq!(result, new);
            }
        }
    }

    #[test]
    fn any_octets_are_a_patch_or_malformed(octets in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(patch) = Patch::parse(&octets) {
            round_trip(&patch);
        }
    }
}
