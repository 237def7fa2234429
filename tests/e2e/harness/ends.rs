//! How labs end: dropped, in a panic, with their owner killed.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know as such")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use weft_tests::harness::{Lab, Proc, Underlay, bin, clean, wait_until};

use crate::vxlan_pair;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_dropped_lab_leaves_nothing() {
    let lab = Lab::new("drop").unwrap();
    let (_, [p, _q]) = vxlan_pair(&lab, &Underlay::default().switched()).unwrap();
    let forker = "sleep infinity & setsid sleep infinity & echo up; wait";
    let mut proc = p.spawn(&["sh", "-c", forker]).unwrap();
    proc.wait_for_line("up", LIMIT).unwrap();
    let id = lab.id().to_owned();
    assert_eq!(leftovers(&id).len(), 6, "two nodes, two pods, a bridge, a directory");
    let inside = inhabitants(&lab);
    assert!(inside.len() >= 5, "{inside:?}");

    drop(lab);

    assert_eq!(leftovers(&id), [""; 0]);
    assert_eq!(running(&inside), [0; 0]);
}

#[test]
fn a_panicking_test_leaves_nothing() {
    let mut id = String::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::new("panic").unwrap();
        id = lab.id().to_owned();
        let (_, [p, _q]) = vxlan_pair(&lab, &Underlay::default()).unwrap();
        let _proc: Proc = p.spawn(&["sleep", "infinity"]).unwrap();
        assert_eq!(leftovers(&id).len(), 5);
        panic!("as tests do");
    }));

    assert!(panicked.is_err());
    assert_eq!(leftovers(&id), [""; 0]);
}

#[test]
fn a_killed_owner_leaves_no_process_and_lab_clean_removes_the_rest() {
    let mut owner = Command::new(bin("lab-hold").unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (id, pid) = {
        use std::io::{BufRead, BufReader};
        let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).find(|it| it.starts_with("holding")).unwrap();
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap().parse::<u32>().unwrap())
    };
    assert_eq!(leftovers(&id).len(), 5);
    assert_eq!(running(&[pid]), [pid]);
    assert!(!clean::clean(false).unwrap().contains(&id), "its owner lives");
    assert_eq!(leftovers(&id).len(), 5);

    owner.kill().unwrap();
    owner.wait().unwrap();

    wait_until(LIMIT, "the end of what the owner had started", || running(&[pid]).is_empty())
        .unwrap();
    let cleaned = Command::new(bin("lab-clean").unwrap()).output().unwrap();
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert_eq!(leftovers(&id), [""; 0]);
}

#[test]
fn labs_of_one_process_do_not_meet() {
    let one = Lab::new("one").unwrap();
    let two = Lab::new("two").unwrap();
    let [a, b] = one.nodes::<2>(&Underlay::default()).unwrap();
    let [c, d] = two.nodes::<2>(&Underlay::default()).unwrap();

    assert_eq!((a.addr(), b.addr()), (c.addr(), d.addr()));
    assert!(a.ping(b.addr(), 1).unwrap().perfect());
    drop(one);
    assert!(c.ping(d.addr(), 1).unwrap().perfect());
}

/// What exists under the run's name: namespaces and its directory.
fn leftovers(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for dir in [Path::new("/run/netns"), &clean::runs_dir().unwrap()] {
        for entry in fs::read_dir(dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name == id || name.starts_with(&format!("{id}-")) {
                found.push(name);
            }
        }
    }
    found
}

/// The processes in all namespaces of a lab, as `ip` finds them.
fn inhabitants(lab: &Lab) -> Vec<u32> {
    let mut pids = Vec::new();
    for netns in leftovers(lab.id()).iter().filter(|name| *name != lab.id()) {
        let output = Command::new("ip").args(["netns", "pids", netns]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        pids.extend(text.lines().map(|pid| pid.parse::<u32>().unwrap()));
    }
    pids
}

/// Those of these processes that exist and are no zombies.
fn running(pids: &[u32]) -> Vec<u32> {
    let alive = |pid: &&u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|it| !it.contains(") Z ") && !it.contains(") X "))
    };
    pids.iter().filter(alive).copied().collect()
}
