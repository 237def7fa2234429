use api::{Cidr, Conflict};

use super::*;
use crate::serve::fixtures::*;

#[test]
fn owners_are_by_name_after_this_node_and_seen_as_the_mesh_sees_them() {
    let look = with_ipam(|of| {
        of.owners.insert(0, owning(7, 16));
        of.owners[1].free = None;
    });

    let owners = ipam(&look).owners;

    let told: Vec<_> =
        owners.iter().map(|of| (&*of.nickname, of.addresses, of.free, of.state.as_str())).collect();
    let expected = [
        ("host0", 256, Some(250), "self"),
        ("host1", 256, Some(128), "up"),
        ("host2", 128, None, "silent"),
        // The mesh has forgotten it.
        ("once7", 16, Some(8), "gone"),
    ];
    assert_eq!(told, expected);
    assert_eq!((&*owners[1].name, &*owners[1].epoch), (&*name(1).to_string(), "00000000000000e1"));
}

#[test]
fn an_epoch_under_which_nobody_owns_any_more_is_gone_though_its_node_is_up() {
    let look = with_ipam(|of| {
        let again = OwnerLook { epoch: 0xa, ..owning(0, 4) };
        of.owners = vec![again, owning(0, 4), OwnerLook { replaced: true, ..owning(1, 4) }];
    });

    let owners = ipam(&look).owners;

    let told: Vec<_> = owners.iter().map(|of| (of.epoch.clone(), of.state.as_str())).collect();
    let expected = [(0xe0, "self"), (0xa, "gone"), (0xe1, "gone")];
    assert_eq!(told, expected.map(|(epoch, state)| (digits(epoch), state)));
}

#[test]
fn what_is_amiss_is_told_with_whom_and_since_when() {
    let told = ipam(&with_ipam(|_| {}));

    let removal = &told.removals[0];
    assert_eq!((&*removal.nickname, removal.addresses), ("once9", 128));
    let awaited = &removal.waiting_for[0];
    assert_eq!((&*awaited.nickname, &*awaited.reason), ("host2", "unreachable"));
    assert_eq!(told.conflicts, [Conflict { what: "two".into(), what_to_do: "reset one".into() }]);
    let lost: Vec<_> = told.lost.iter().map(|of| (of.address.to_string(), &*of.nickname)).collect();
    assert_eq!(lost, [("10.32.0.7".to_owned(), "host1"), ("10.32.0.9".to_owned(), "host1")]);
    let pending = told.pending.iter().map(|of| (&*of.id, of.address, of.since));
    let claimed = Some([10, 32, 0, 3].into());
    // So long before the look's moment as before its own.
    let expected =
        [("claim", claimed, wall(990)), ("soon", None, wall(995)), ("late", None, wall(999))];
    assert_eq!(pending.collect::<Vec<_>>(), expected);
    assert_eq!((told.unowned, &*told.ring.unwrap()), (256, "00000000000000ab"));
}

#[test]
fn a_range_has_as_many_addresses_as_it_has_bits_left() {
    for (range, addresses) in [
        ("10.32.0.0/22", 1024),
        ("10.32.0.1/32", 1),
        ("0.0.0.0/0", 1 << 32),
        ("fd00::/96", 1 << 32),
        ("fd00::/65", 1 << 63),
        // More than can be told.
        ("fd00::/64", u64::MAX),
        ("::/0", u64::MAX),
    ] {
        let look = with_ipam(|of| of.range = cidr(range));

        let told = ipam(&look);

        assert_eq!((told.addresses, told.range), (addresses, Some(cidr(range))));
    }
}

#[test]
fn a_status_and_a_report_have_a_part_of_it_and_all_of_it() {
    let look = with_ipam(|of| {
        of.state = IpamState::Waiting;
        of.reason = Some("none is free".into());
    });

    let status = crate::serve::status(&look).ipam.unwrap();
    let report = crate::serve::report(&look);

    let subnets: [Cidr; 2] = [status.range, status.default_subnet];
    assert_eq!(subnets.map(|it| it.to_string()), ["10.32.0.0/22", "10.32.0.0/24"]);
    assert_eq!(status.state, IpamState::Waiting);
    assert_eq!(status.reason.as_deref(), Some("none is free"));
    assert_eq!(report.ipam, Some(ipam(&look)));
    assert_eq!(report.status.ipam, Some(status));
}

#[test]
fn where_no_addresses_are_managed_only_the_page_says_so() {
    let look = alone();

    let told = ipam(&look);

    assert_eq!((told.state, told.reason.as_deref()), (IpamState::Off, Some(OFF)));
    assert_eq!((told.range, told.name), (None, name(0).to_string()));
    assert_eq!(crate::serve::status(&look).ipam, None);
    assert_eq!(crate::serve::report(&look).ipam, None);
}
