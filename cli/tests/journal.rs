//! `weft report --journal`: whole or not at all.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Daemon, Dir, weft};

#[test]
fn a_journal_is_stored_whole_for_its_owner_only() {
    let octets: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
    let daemon = Daemon::saying(answer(&octets, octets.len()));
    let dir = Dir::new();
    let file = dir.0.join("journal");
    fs::write(&file, "what was there before").unwrap();

    let outcome = save(&daemon, &file);

    assert_eq!((outcome.0, &*outcome.1), (0, ""));
    assert_eq!(fs::read(&file).unwrap(), octets);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(&dir), ["journal"]);
}

#[test]
fn half_a_journal_is_none() {
    let endless = b"HTTP/1.1 200 OK\r\n\r\nsome octets".to_vec();
    for said in [answer(b"some octets", 1000), endless] {
        let daemon = Daemon::saying(said);
        let dir = Dir::new();
        let file = dir.0.join("journal");
        fs::write(&file, "what was there before").unwrap();

        let outcome = save(&daemon, &file);

        assert_eq!(outcome.0, 1);
        assert_eq!(outcome.1.lines().count(), 1, "{}", outcome.1);
        assert_eq!(fs::read(&file).unwrap(), b"what was there before");
        assert_eq!(names(&dir), ["journal"]);
    }
}

#[test]
fn a_journal_that_is_refused_is_one_line() {
    let problem = r#"{"what":"there is no journal","why":"weftd runs with --journal 0","what_to_do":"restart it without"}"#;
    let daemon = Daemon::answering(404, problem);
    let dir = Dir::new();

    let outcome = save(&daemon, &dir.0.join("journal"));

    let line = "weft: there is no journal: weftd runs with --journal 0: restart it without\n";
    assert_eq!((outcome.0, &*outcome.1), (1, line));
    assert!(names(&dir).is_empty());
}

#[test]
fn a_file_that_cannot_be_written_is_one_line_and_nobody_is_asked() {
    let daemon = Daemon::saying(answer(b"", 0));

    let outcome = save(&daemon, Path::new("/nonexistent/journal"));

    let line = "weft: cannot write /nonexistent/journal: No such file or directory (os error 2): name a file where there is room, and where you may write\n";
    assert_eq!((outcome.0, &*outcome.1), (1, line));
    assert!(daemon.asked().is_empty());
}

#[test]
fn a_device_stays_a_device() {
    let daemon = Daemon::saying(answer(b"some octets", 11));
    for (device, code) in [("/dev/null", 0), ("/dev/full", 1)] {
        let outcome = save(&daemon, Path::new(device));

        assert_eq!(outcome.0, code, "{}", outcome.1);
        assert!(!fs::metadata(device).unwrap().is_file());
    }
}

/// As `weft report --journal /dev/stdout > file`.
#[test]
fn a_link_stays_a_link_and_what_it_leads_to_is_written() {
    let daemon = Daemon::saying(answer(b"some octets", 11));
    let dir = Dir::new();
    let (file, link) = (dir.0.join("file"), dir.0.join("link"));
    fs::write(&file, "what was there before, and longer").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();

    let outcome = save(&daemon, &link);

    assert_eq!((outcome.0, &*outcome.1), (0, ""));
    assert_eq!(fs::read(&file).unwrap(), b"some octets");
    assert_eq!(fs::read_link(&link).unwrap(), file);
}

#[test]
fn a_pipe_gets_what_comes() {
    let daemon = Daemon::saying(answer(b"some octets", 11));
    let args = ["report", "--journal", "/dev/stdout"];

    let outcome = weft(&daemon.socket(), &args);

    assert_eq!((outcome.code, &*outcome.stdout), (0, "some octets"));
    assert!(fs::symlink_metadata("/dev/stdout").unwrap().is_symlink());
}

fn answer(octets: &[u8], length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), octets].concat()
}

fn save(daemon: &Daemon, file: &Path) -> (i32, String) {
    let outcome = weft(&daemon.socket(), &["report", "--journal", file.to_str().unwrap()]);
    (outcome.code, outcome.stderr)
}

fn names(dir: &Dir) -> Vec<String> {
    let entries = fs::read_dir(&dir.0).unwrap();
    entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}
