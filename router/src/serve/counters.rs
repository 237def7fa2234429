//! The switch's counters as a report has them.

use std::collections::BTreeMap;

use switch::{Counter, Counters, DropReason, Traffic};

/// Counters of the switch by group and name, as docs/API.md lists them. Who reports them adds the groups that
/// only the kernel or the table can fill.
pub fn counters(of: &Counters) -> BTreeMap<String, BTreeMap<String, u64>> {
    let refusals = &of.udp_refusals;
    let groups = [
        ("from_tap", traffic(&of.from_tap)),
        ("to_tap", traffic(&of.to_tap)),
        ("relayed", traffic(&of.relayed)),
        (
            "frames",
            group([
                ("segmented", &of.segmented),
                ("joined", &of.joined),
                ("tap_fallbacks", &of.tap_fallbacks),
                ("punted", &of.punted),
                ("udp_fallbacks", &of.udp_fallbacks),
                ("checksums", &of.checksums),
                ("fragmented", &of.fragmented),
                ("icmp_sent", &of.icmp_sent),
                ("icmp_limited", &of.icmp_limited),
            ]),
        ),
        (
            "udp_refusals",
            group([
                ("eio", &refusals.eio),
                ("einval", &refusals.einval),
                ("emsgsize", &refusals.emsgsize),
                ("enobufs", &refusals.enobufs),
            ]),
        ),
        ("drops", drops(of)),
    ];
    groups.into_iter().map(|(name, group)| (name.to_owned(), group)).collect()
}

fn traffic(of: &Traffic) -> BTreeMap<String, u64> {
    group([("frames", &of.frames), ("octets", &of.octets)])
}

fn drops(of: &Counters) -> BTreeMap<String, u64> {
    DropReason::ALL.iter().map(|&why| (why.name().to_owned(), of.dropped(why))).collect()
}

fn group<const N: usize>(each: [(&str, &Counter); N]) -> BTreeMap<String, u64> {
    each.into_iter().map(|(name, count)| (name.to_owned(), count.load())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_group_and_a_name() {
        let counted = Counters::new(1);
        counted.from_tap.count(100);
        counted.udp_refusals.eio.add(3);
        counted.count_drop(DropReason::Runt);

        let groups = counters(&counted);

        assert_eq!(groups["from_tap"]["octets"], 100);
        assert_eq!(groups["udp_refusals"]["eio"], 3);
        assert_eq!(groups["drops"]["runt"], 1);
        assert_eq!(groups["drops"].len(), DropReason::ALL.len());
        assert_eq!(groups["frames"]["joined"], 0);
    }

    #[test]
    fn every_group_is_documented() {
        let doc = include_str!("../../../docs/API.md");
        let (_, section) = doc.split_once("\n### Counters\n").unwrap();
        let (section, _) = section.split_once("\n#").unwrap();

        for (group, counts) in counters(&Counters::new(0)) {
            let row = section.lines().find(|line| line.starts_with(&format!("| `{group}` |")));
            let row = row.unwrap_or_else(|| panic!("{group}"));

            let named = |name: &&String| row.contains(&format!("`{name}`"));
            let unnamed: Vec<_> = counts.keys().filter(|name| !named(name)).collect();
            assert!(group != "frames" || unnamed.is_empty(), "{unnamed:?}");
        }
    }
}
