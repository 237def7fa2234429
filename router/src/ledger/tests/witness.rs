//! What knows the last change of a ledger since the machine has started.

use super::*;

#[test]
fn a_disk_that_was_put_back_is_noticed_in_the_same_boot_only() {
    let dir = Scratch::new();
    let boots = ["11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"];
    let open = |boot: &str| {
        let witness = Witness::of_boot(&dir.0.join("witness"), boot).unwrap();
        Ledger::open(&dir.file(), &HEADER, Some(witness)).unwrap()
    };
    let rolled_back = |boot| open(boot).1.rolled_back;
    let (mut ledger, _) = open(boots[0]);
    ledger.commit(&[set("a", "1")]).unwrap();
    let snapshot = backup(&dir.file(), "snapshot").unwrap();
    ledger.commit(&[set("a", "2")]).unwrap();
    ledger.commit(&[set("a", "3")]).unwrap();
    drop(ledger);
    assert_eq!(rolled_back(boots[0]), None);

    fs::copy(&snapshot, dir.file()).unwrap();

    assert_eq!(rolled_back(boots[1]), None);
    assert_eq!(rolled_back(boots[0]), Some((1, 3)));
    // As long as nothing is committed it is told again; and what is committed then has a number of its own.
    let (mut ledger, contents) = open(boots[0]);
    assert_eq!(contents.rolled_back, Some((1, 3)));
    assert_eq!(ledger.commit(&[set("a", "4")]).unwrap(), 4);
    drop(ledger);
    assert_eq!(rolled_back(boots[0]), None);
}

#[test]
fn a_witness_of_another_ledger_or_one_that_cannot_be_read_counts_for_nothing() {
    let (dir, other) = (Scratch::new(), Scratch::new());
    let path = dir.0.join("witness");
    let witness = || Some(Witness::at(&path).unwrap());
    let (mut ledger, _) = Ledger::open(&other.file(), &HEADER, witness()).unwrap();
    ledger.commit(&[set("a", "1")]).unwrap();
    drop(ledger);

    let of_another = Ledger::open(&dir.file(), &HEADER, witness()).unwrap().1;
    let mut octets = fs::read(&path).unwrap();
    assert_eq!(octets.len(), 512);
    octets[59] = 9;
    fs::write(&path, octets).unwrap();
    let altered = Ledger::open(&other.file(), &HEADER, witness()).unwrap().1;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let (mut ledger, none) = Ledger::open(&other.file(), &HEADER, witness()).unwrap();

    assert_eq!([of_another, altered, none].map(|it| it.rolled_back), [None; 3]);
    assert_eq!(ledger.commit(&[set("a", "2")]), Ok(2));
}
