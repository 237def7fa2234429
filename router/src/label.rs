//! Labels: 24 bits that stand for a peer on UDP 6783.
//!
//! Each peer picks its own and gossips it. A first choice follows from the name, so that a restart keeps it.
//! Of two that picked the same one the higher name picks again; until it has, nobody uses that label.

use std::collections::BTreeSet;

use peer_mesh::PeerName;
use switch::sleeve::Label;

/// The labels a name would pick, in order of preference, without end.
fn choices(name: PeerName) -> impl Iterator<Item = Label> {
    (0_u64..).filter_map(move |round| {
        let mixed = mix(name.to_u64() ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Label::new(u32::try_from(mixed >> 40).unwrap_or_default()).filter(|label| label.raw() != 0)
    })
}

/// The label that `own` should have, given the one that it has and those that others say they have. It keeps its own
/// unless a lower name has the same.
pub fn choose_label(
    own: PeerName,
    present: Option<Label>,
    others: impl IntoIterator<Item = (PeerName, Label)>,
) -> Label {
    let (mut taken, mut lost) = (BTreeSet::new(), false);
    for (name, label) in others.into_iter().filter(|(name, _)| *name != own) {
        lost |= Some(label) == present && name < own;
        taken.insert(label);
    }
    if let Some(label) = present.filter(|_| !lost) {
        return label;
    }
    #[expect(clippy::expect_used, reason = "there are more labels than peers")]
    choices(own).find(|label| !taken.contains(label)).expect("one is free")
}

/// What was gossiped, if it is a label: six hexadecimal digits.
pub fn label_of(text: &str) -> Option<Label> {
    let digits = text.len() == 6 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    Label::new(u32::from_str_radix(text, 16).ok().filter(|_| digits)?)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(n: u64) -> PeerName {
        PeerName::local(n)
    }

    #[test]
    fn a_label_follows_from_the_name_and_is_kept() {
        let first = choose_label(name(1), None, []);

        assert_eq!(choose_label(name(1), None, []), first);
        assert_eq!(choose_label(name(1), Some(first), [(name(2), first)]), first);
    }

    #[test]
    fn of_two_with_one_label_the_higher_name_picks_another() {
        let label = choose_label(name(1), None, []);

        let other = choose_label(name(2), Some(label), [(name(1), label)]);

        assert_ne!(other, label);
    }

    #[test]
    fn labels_read_back_as_they_were_written_and_nothing_else_is_one() {
        let label = Label::new(0x00_ab_cd).unwrap();

        assert_eq!(label_of(&label.to_string()), Some(label));
        for text in ["", "abcd", "00abcde", "+0abcd", "00 abc", "00abcg", "-00abc"] {
            assert_eq!(label_of(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_they_begin_with_all_labels_differ_in_the_end(
            begin in prop::collection::vec((0_u64..1000, 0_u32..4), 2..12),
        ) {
            let mut labels: BTreeMap<PeerName, Label> = begin
                .into_iter()
                .map(|(n, label)| (name(n), Label::new(label).unwrap()))
                .collect();
            for _ in 0..labels.len() + 1 {
                let said = labels.clone();
                for (own, label) in &mut labels {
                    *label = choose_label(*own, Some(*label), said.clone());
                }
            }

            let distinct: BTreeSet<_> = labels.values().collect();
            prop_assert_eq!(distinct.len(), labels.len());
        }
    }
}
