use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use platter::{Fault, Platter};

mod crash;
mod leases;
mod platter;
mod thread;
mod witness;

/// Numbers that look random, and are the same each time.
#[derive(Clone, Debug, Default)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit
    }
}

/// Some keys get values, short and long, and some go.
fn batch(dice: &mut Dice, there: &Entries) -> Vec<Edit> {
    let mut edits = Vec::new();
    for _ in 0..=dice.below(24) {
        let key = format!("lease/{:03}", dice.below(300)).into_bytes();
        let octet = u8::try_from(dice.below(256)).unwrap();
        let len = if dice.below(6) == 0 { dice.below(9000) } else { dice.below(60) };
        edits.push(Edit { key, value: Some(vec![octet; len]) });
    }
    let gone = there.keys().filter(|_| dice.below(5) == 0).cloned();
    edits.extend(gone.map(|key| Edit { key, value: None }));
    edits
}

fn apply_edits(to: &mut Entries, edits: &[Edit]) {
    for Edit { key, value } in edits.iter().cloned() {
        match value {
            Some(value) => drop(to.insert(key, value)),
            None => drop(to.remove(&key)),
        }
    }
}

fn opened(platter: &Platter) -> (Ledger, Contents) {
    Ledger::open_at(Box::new(platter.clone()), 1, None, &[]).unwrap()
}

/// A directory, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("weft-ledger-{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    fn names(&self) -> Vec<String> {
        let all = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            all.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const HEADER: Header = Header { format: 3 };

fn set(key: &str, value: &str) -> Edit {
    Edit { key: key.into(), value: Some(value.into()) }
}

fn failure(path: &Path, format: u32) -> OpenError {
    // A device may have no end.
    let read = || path.is_file().then(|| fs::read(path).unwrap());
    let before = read();
    let error = Ledger::open(path, &Header { format }, None).unwrap_err();
    assert!(read() == before, "it was changed");
    error
}

#[test]
fn a_ledger_whose_file_was_deleted_takes_no_commits() {
    let dir = Scratch::new();
    let (mut ledger, _) = Ledger::open(&dir.file(), &HEADER, None).unwrap();
    ledger.commit(&[set("a", "1")]).unwrap();
    let aside = dir.0.join("aside");
    fs::rename(dir.file(), &aside).unwrap();

    let refused = ledger.commit(&[set("b", "2")]).unwrap_err();

    assert!(refused.to_string().contains("deleted"), "{refused}");
    fs::rename(&aside, dir.file()).unwrap();
    ledger.commit(&[set("c", "3")]).unwrap();
}

#[test]
fn what_was_committed_is_there_at_the_next_open() {
    let dir = Scratch::new();
    let (mut ledger, made) = Ledger::open(&dir.file(), &HEADER, None).unwrap();

    let first = ledger.commit(&[set("b", "1"), set("a", "2"), set("c", "3")]).unwrap();
    let second = ledger.commit(&[Edit { key: b"b".to_vec(), value: None }, set("a", "4")]).unwrap();
    drop(ledger);
    let (ledger, contents) = Ledger::open(&dir.file(), &HEADER, None).unwrap();

    let entries: Entries = [(b"a".to_vec(), b"4".to_vec()), (b"c".to_vec(), b"3".to_vec())].into();
    assert!(made.made && made.entries.is_empty());
    assert_eq!((first, second, ledger.last()), (1, 2, 2));
    let expected = Contents { entries, ..Contents::default() };
    assert_eq!(contents, expected);
    assert_eq!(fs::metadata(dir.file()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(dir.names(), [FILE]);
}

#[test]
fn a_ledger_that_nobody_has_closed_is_recovered_and_a_new_one_that_was_never_whole_is_made_again() {
    let dir = Scratch::new();
    let copy = Scratch::new();
    let (mut ledger, _) = Ledger::open(&dir.file(), &HEADER, None).unwrap();
    ledger.commit(&[set("a", "1")]).unwrap();
    fs::copy(dir.file(), copy.file()).unwrap();
    let half = Scratch::new();
    fs::write(half.0.join("ipam.redb.new"), "half").unwrap();

    let (_, killed) = Ledger::open(&copy.file(), &HEADER, None).unwrap();
    let (_, never) = Ledger::open(&half.file(), &HEADER, None).unwrap();

    assert!(killed.recovered && killed.entries == [(b"a".to_vec(), b"1".to_vec())].into());
    assert!(never.made && half.names() == [FILE]);
}

#[test]
fn a_ledger_of_another_format_is_refused_and_stays_as_it_is() {
    let dir = Scratch::new();
    let (mut ledger, _) = Ledger::open(&dir.file(), &HEADER, None).unwrap();
    ledger.commit(&[set("a", "1")]).unwrap();
    drop(ledger);

    let (newer, older) = (failure(&dir.file(), 2), failure(&dir.file(), 4));

    let path = dir.file().display().to_string();
    assert_eq!(
        newer.to_string(),
        format!(
            "{path} has format 3, and this release reads 2: a later one wrote it; run that one again"
        )
    );
    assert!(matches!(older, OpenError::Format { found: 3, ours: 4, .. }));
    assert_eq!(dir.names(), [FILE]);
}

#[test]
fn an_older_format_goes_through_each_step_once_and_a_copy_of_it_is_kept() {
    fn one(entries: &mut Entries) -> Result<(), String> {
        let all = std::mem::take(entries);
        entries.extend(all.into_iter().map(|(key, value)| ([b"x".to_vec(), key].concat(), value)));
        Ok(())
    }
    let dir = Scratch::new();
    let (mut ledger, _) = Ledger::open(&dir.file(), &HEADER, None).unwrap();
    ledger.commit(&[set("a", "1")]).unwrap();
    drop(ledger);
    let known = [Migration { from: 3, apply: one }, Migration { from: 4, apply: one }];
    let open = || Ledger::open_at(Box::new(Disk::at(&dir.file())), 5, None, &known).unwrap();

    let (ledger, first) = open();
    drop(ledger);
    let (ledger, second) = open();

    let entries: Entries = [(b"xxa".to_vec(), b"1".to_vec())].into();
    assert_eq!((first.entries, ledger.last()), (entries.clone(), 2));
    assert_eq!(second.entries, entries);
    assert_eq!(dir.names(), [FILE, "ipam.redb.format-3-1"]);
    let (_, copy) = Ledger::open(&dir.0.join("ipam.redb.format-3-1"), &HEADER, None).unwrap();
    assert_eq!(copy.entries, [(b"a".to_vec(), b"1".to_vec())].into());
}

#[test]
fn what_is_no_ledger_is_refused_and_stays_as_it_is() {
    let dir = Scratch::new();
    let (mut ledger, _) = Ledger::open(&dir.file(), &HEADER, None).unwrap();
    for number in 0..200 {
        ledger.commit(&[set(&format!("{number:040}"), &"v".repeat(300))]).unwrap();
    }
    drop(ledger);
    let whole = fs::read(dir.file()).unwrap();
    let mut altered = whole.clone();
    let at = altered.windows(40).position(|it| it == format!("{:040}", 77).as_bytes()).unwrap();
    altered[at + 39] ^= 1;
    let mut zeroed = whole.clone();
    zeroed[..4096].fill(0);
    let cases: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("short", b"redb"),
        ("garbage", &[0xa5; 70_000]),
        ("truncated", &whole[..whole.len() / 2]),
        ("zeroed", &zeroed),
        ("altered", &altered),
    ];

    for (what, octets) in cases {
        let path = dir.0.join(what);
        fs::write(&path, octets).unwrap();

        let error = failure(&path, 3);

        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("put a copy of it back"), "{error}");
    }
}

#[test]
fn any_octet_of_a_ledger_may_be_altered_without_a_panic() {
    let dir = Scratch::new();
    let (mut ledger, _) = Ledger::open(&dir.file(), &HEADER, None).unwrap();
    for number in 0..100 {
        ledger.commit(&[set(&format!("{number}"), "value")]).unwrap();
    }
    drop(ledger);
    let whole = fs::read(dir.file()).unwrap();
    let before = Ledger::open_at(Box::new(Platter::with(whole.clone())), 3, None, &[]).unwrap().1;
    let used: Vec<_> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut dice = Dice(5);
    let (mut refused, mut same) = (0, 0);

    for round in 0..400 {
        let mut octets = whole.clone();
        let at = if round < 330 { round } else { used[dice.below(used.len())] };
        octets[at] ^= u8::try_from(1 + dice.below(255)).unwrap();

        match Ledger::open_at(Box::new(Platter::with(octets)), 3, None, &[]) {
            Ok((_, contents)) => {
                // One commit back is what a torn first page means.
                assert!(before.entries.len() - contents.entries.len() <= 1, "octet {at}");
                same += 1;
            }
            Err(OpenError::Panicked { why, .. }) => panic!("octet {at}: {why}"),
            Err(_) => refused += 1,
        }
    }

    assert!(refused > 20 && same > 20, "{refused} refused, {same} the same");
}

#[test]
fn a_file_of_another_program_is_told_from_a_damaged_one() {
    let dir = Scratch::new();
    let other = Database::create(dir.file()).unwrap();
    let transaction = other.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &str>::new("header");
    transaction.open_table(table).unwrap().insert("format", "3").unwrap();
    transaction.commit().unwrap();
    drop(other);

    let error = failure(&dir.file(), 3);

    assert!(matches!(error, OpenError::Foreign(_)), "{error:?}");
}

#[test]
fn what_the_system_refuses_is_told_with_what_to_do() {
    let dir = Scratch::new();
    let (_ledger, _) = Ledger::open(&dir.file(), &HEADER, None).unwrap();
    fs::create_dir(dir.0.join("dir")).unwrap();

    let in_use = failure(&dir.file(), 3);
    let directory = failure(&dir.0.join("dir"), 3);
    let nowhere = failure(&dir.0.join("none/ipam.redb"), 3);
    let device = failure(Path::new("/dev/full"), 3);

    assert!(matches!(in_use, OpenError::InUse(_)), "{in_use:?}");
    for (error, what) in [
        (directory, "it is no regular file: move away what is there"),
        (nowhere, "(os error 2): make the directory"),
        (device, "it is no regular file: move away what is there"),
    ] {
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_disk_without_room_for_a_new_ledger_is_told_so() {
    let platter = Platter::default();
    platter.break_after(3, Fault::Full, true, 1);

    let error = Ledger::open_at(Box::new(platter), 1, None, &[]).unwrap_err();

    assert!(error.to_string().ends_with("make room on that disk"), "{error}");
}

#[test]
fn a_ledger_opens_on_a_disk_without_room_and_commits_when_there_is_some() {
    let platter = Platter::default();
    let (mut ledger, _) = opened(&platter);
    ledger.commit(&[set("a", "1")]).unwrap();
    ledger.commit(&[set("b", "2")]).unwrap();
    // As a killed process leaves it.
    std::mem::forget(ledger);
    let there: Entries = [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())].into();

    for room in 0..12 {
        let platter = Platter::with(platter.forced());
        platter.break_after(room, Fault::Full, true, 1);

        let (mut ledger, contents) = opened(&platter);

        assert_eq!((contents.entries, contents.rolled_back), (there.clone(), None), "{room}");
        let refused = ledger.commit(&[set("c", "3")]).unwrap_err();
        assert!(matches!(refused, CommitError::Full { .. }), "{refused}");
        platter.mend();
        assert_eq!(ledger.commit(&[set("c", "3")]), Ok(3), "{room}");
        drop(ledger);
        let mut after = there.clone();
        after.insert(b"c".to_vec(), b"3".to_vec());
        assert_eq!(opened(&platter).1.entries, after, "{room}");
    }
}

#[test]
fn what_is_set_aside_or_copied_takes_no_name_that_somebody_has() {
    let dir = Scratch::new();
    fs::write(dir.0.join("ipam.redb.bad-1"), "kept").unwrap();
    fs::write(dir.file(), "first").unwrap();

    let copies = [0, 1].map(|_| backup(&dir.file(), "before-reset").unwrap());
    let moved = Ledger::set_aside(&dir.file()).unwrap();

    let texts = copies.map(|it| fs::read_to_string(it).unwrap());
    assert_eq!(texts, ["first", "first"]);
    assert_eq!(fs::read_to_string(moved).unwrap(), "first");
    assert_eq!(
        dir.names(),
        [
            "ipam.redb.bad-1",
            "ipam.redb.bad-2",
            "ipam.redb.before-reset-1",
            "ipam.redb.before-reset-2"
        ]
    );
    assert_eq!(fs::read_to_string(dir.0.join("ipam.redb.bad-1")).unwrap(), "kept");
    assert!(Ledger::set_aside(&dir.file()).is_err());
}
