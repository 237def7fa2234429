//! What the options say, who is asked for what, and what is printed where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Stdio;

use common::{Daemon, command, failure, fixtures, status, weft};

#[test]
fn each_command_asks_for_its_path() {
    for (args, line) in [
        (&["status", "connections"][..], "GET /v1/status/connections "),
        (&["status", "peers"], "GET /v1/status/peers "),
        (&["status", "targets"], "GET /v1/status/targets "),
        (&["status", "paths"], "GET /v1/status/paths "),
        (&["status", "ipam"], "GET /v1/status/ipam "),
        (&["fdb"], "GET /v1/fdb "),
        (&["fdb", "host2"], "GET /v1/fdb "),
        (&["report"], "GET /v1/report "),
        (&["report", "--journal", "/dev/null"], "GET /v1/journal "),
        (&["version"], "GET /v1/status "),
    ] {
        let daemon = Daemon::answering(200, "{}");

        weft(&daemon.socket(), args);

        assert!(daemon.asked()[0].starts_with(line), "{args:?}");
    }
}

#[test]
fn connect_and_forget_say_whom_and_print_nothing() {
    for (args, path, body) in [
        (
            &["connect", "10.0.0.1", "node-2:6783"][..],
            "POST /v1/connect ",
            r#"{"peers":["10.0.0.1","node-2:6783"],"replace":false}"#,
        ),
        (
            &["connect", "--replace", "[::1]:1"],
            "POST /v1/connect ",
            r#"{"peers":["[::1]:1"],"replace":true}"#,
        ),
        (&["forget", "10.0.0.1"], "POST /v1/forget ", r#"{"peers":["10.0.0.1"]}"#),
    ] {
        let daemon = Daemon::answering(200, r#"{"peers":[]}"#);

        let outcome = weft(&daemon.socket(), args);

        assert_eq!((outcome.code, &*outcome.stdout, &*outcome.stderr), (0, "", ""));
        assert!(daemon.asked()[0].starts_with(path) && daemon.asked()[0].ends_with(body));
    }
}

#[test]
fn commands_about_addresses_say_what_is_wanted() {
    let (exposed, removal) = (r#"{"addresses":["10.32.0.1/12"]}"#, fixtures::ipam::removal());
    let removal = serde_json::to_string(&removal).unwrap();
    for (args, answer, path, body) in [
        (&["rmpeer", "host3"][..], &*removal, "rmpeer", r#"{"name":"host3","force":false}"#),
        (&["rmpeer", "--force", "a b"], &*removal, "rmpeer", r#"{"name":"a b","force":true}"#),
        (&["expose"], exposed, "expose", r#"{"address":null}"#),
        (&["expose", "10.32.0.1/12"], exposed, "expose", r#"{"address":"10.32.0.1/12"}"#),
        (&["hide"], exposed, "hide", r#"{"address":null}"#),
        (&["hide", "fd00::1/64"], exposed, "hide", r#"{"address":"fd00::1/64"}"#),
    ] {
        let daemon = Daemon::answering(200, answer);

        let outcome = weft(&daemon.socket(), args);

        assert_eq!((outcome.code, &*outcome.stderr), (0, ""), "{args:?}");
        assert_eq!(outcome.stdout.is_empty(), path == "hide", "{args:?}");
        let asked = &daemon.asked()[0];
        let (path, body) = (format!("POST /v1/{path} "), format!("\r\n\r\n{body}"));
        assert!(asked.starts_with(&path) && asked.ends_with(&body), "{asked}");
    }
}

#[test]
fn a_command_about_addresses_that_is_refused_is_one_line() {
    let problem =
        r#"{"what":"cannot remove host2","why":"it is up","what_to_do":"stop it, or say --force"}"#;
    for code in [404, 409, 503] {
        for args in [&["rmpeer", "host2"][..], &["expose"], &["hide"]] {
            let daemon = Daemon::answering(code, problem);

            let line = failure(&weft(&daemon.socket(), args));

            assert_eq!(line, "weft: cannot remove host2: it is up: stop it, or say --force");
        }
    }
}

#[test]
fn a_station_that_nobody_knows_is_one_line_but_for_programs() {
    let daemon = Daemon::answering(200, serde_json::to_string(&fixtures::fdb()).unwrap());
    for (wanted, shown) in [("10.32.0.99", "10.32.0.99"), ("host\n9", "host\\n9"), ("host", "host")]
    {
        let outcome = weft(&daemon.socket(), &["fdb", wanted]);

        let expected = format!(
            "weft: there is no station for \"{shown}\": none of 5 has this MAC or address, or is behind such a peer: weft fdb lists all"
        );
        assert_eq!(failure(&outcome), expected);
    }
    let json = weft(&daemon.socket(), &["fdb", "10.32.0.99", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["total"], &json["stations"]), (&5.into(), &serde_json::json!([])));
}

#[test]
fn a_station_that_is_not_found_where_not_all_are_told_may_be_there() {
    let many = serde_json::to_string(&fixtures::much_of_an_fdb()).unwrap();
    let daemon = Daemon::answering(200, many);

    let outcome = weft(&daemon.socket(), &["fdb", "10.32.0.99"]);

    assert!(failure(&outcome).contains("none of the 3 of 70000 that are told has"), "{outcome:?}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let daemon = Daemon::answering(200, serde_json::to_string(&large()).unwrap());
    let mut run = command(&daemon.socket(), &["status", "connections"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    drop(run.stdout.take());
    let outcome = run.wait_with_output().unwrap();

    assert_eq!((outcome.status.code(), &*outcome.stderr), (Some(0), &b""[..]));
}

#[test]
fn a_full_disk_under_stdout_is_one_line() {
    let daemon = Daemon::answering(200, status());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();

    let outcome = command(&daemon.socket(), &["status"]).stdout(full).output().unwrap();

    assert_eq!(outcome.status.code(), Some(1));
    let stderr = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(
        stderr,
        "weft: cannot write to stdout: No space left on device (os error 28): send it where there is room\n"
    );
}

#[test]
fn the_option_goes_before_the_environment() {
    let (one, other) = (Daemon::answering(200, status()), Daemon::answering(200, status()));

    let socket = one.socket();
    let outcome = weft(&other.socket(), &["status", "--socket", socket.to_str().unwrap()]);

    assert_eq!((outcome.code, one.asked().len(), other.asked().len()), (0, 1, 0));
}

#[test]
fn an_environment_that_names_nothing_means_the_default() {
    // A daemon that runs here is not this test's.
    if Path::new(api::DEFAULT_SOCKET).exists() {
        return;
    }

    let line = failure(&weft(Path::new(""), &["status"]));

    assert!(line.starts_with("weft: cannot reach weftd at /run/weft/weft.sock: "), "{line}");
}

#[test]
fn wrong_usage_is_exit_code_2_and_asks_nobody() {
    let daemon = Daemon::answering(200, status());
    for args in [
        &[][..],
        &["statsu"],
        &["status", "conections"],
        &["connect"],
        &["forget", ""],
        &["connect", "host:0"],
        &["rmpeer"],
        &["rmpeer", ""],
        &["rmpeer", "host2", "host3"],
        &["expose", "10.32.0.1"],
        &["expose", "10.32.0.1/33"],
        &["hide", "net:default"],
        &["hide", "10.32.0.1/12", "10.32.0.2/12"],
        &["status", "ipam", "host2"],
        &["status", "-o", "yaml"],
        &["--timeout", "0", "status"],
        &["--timeout", "NaN", "status"],
        &["report", "--journal", "x", "-f", "y"],
        &["report", "--journal", "x", "-o", "json"],
    ] {
        let outcome = weft(&daemon.socket(), args);

        assert_eq!((outcome.code, &*outcome.stdout), (2, ""), "{args:?}");
    }
    assert_eq!(daemon.asked().len(), 0);
}

#[test]
fn a_version_without_a_daemon_is_half_an_answer() {
    let outcome = weft(Path::new("/nonexistent"), &["version"]);

    let own = env!("CARGO_PKG_VERSION");
    let expected = format!("weft {own}\nweftd unknown: cannot reach weftd at /nonexistent: ");
    assert_eq!(outcome.code, 0);
    assert!(outcome.stdout.starts_with(&expected), "{}", outcome.stdout);
}

#[test]
fn a_field_that_is_not_there_is_one_line() {
    let report = serde_json::to_string(&fixtures::report()).unwrap();
    let daemon = Daemon::answering(200, report);

    let line = failure(&weft(&daemon.socket(), &["report", "-f", "status.rooter"]));

    assert_eq!(
        line,
        "weft: there is no field \"rooter\" in status: it has ipam, now, ready, router, started, version, waiting_for: `weft report` prints everything"
    );
}

/// More than a pipe holds.
fn large() -> api::Connections {
    let mut all = fixtures::many_connections();
    all.connections = std::iter::repeat_n(all.connections, 50).flatten().collect();
    all
}
