//! Every input the fuzzers found worth keeping, through its target once more.
#![expect(clippy::print_stdout, reason = "says how much was replayed")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use weft_tests::fuzz::TARGETS;

#[test]
fn the_corpus_of_every_target_holds() {
    for (name, target) in TARGETS {
        let inputs = files_in(&home().join("corpus").join(name));
        assert!(!inputs.is_empty(), "target {name} has no corpus");
        for path in &inputs {
            let _case = Case { path };
            target(&fs::read(path).unwrap());
        }
        println!("{name}: {} inputs", inputs.len());
    }
}

#[test]
fn every_corpus_and_every_fuzzer_has_its_target() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| OsString::from(name)).collect();
    let names = |dir: &str| -> BTreeSet<OsString> {
        let paths = entries_of(&home().join(dir));
        paths.iter().map(|path| path.file_stem().unwrap().to_owned()).collect()
    };

    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[expect(clippy::unwrap_used, reason = "a helper of tests, which clippy does not know as such")]
fn entries_of(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    if dir.is_dir() { entries_of(dir) } else { Vec::new() }
}

/// Says which input it was when a target panics.
struct Case<'a> {
    path: &'a Path,
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.path.display());
        }
    }
}
