//! Whatever the runtime says: an error as the specification numbers it, and nothing is done.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use common::daemon::Daemon;
use common::{Call, Netns, Scratch, config, config_for};
use serde_json::{Value, json};

const VERBS: [&str; 5] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];

#[test]
fn what_is_no_network_namespace_is_none() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    std::fs::write(scratch.at("file"), "").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let uts = netns.path().with_file_name("uts");
    symlink(&uts, scratch.at("uts")).unwrap();
    symlink(scratch.at("round"), scratch.at("round")).unwrap();
    for path in ["/none", "/dev/null", "/dev/zero", "/", "/proc/self/ns/pid", "../../etc/passwd"] {
        refuse(&scratch, path.as_ref());
    }
    for path in ["file", "fifo", "uts", "round"] {
        refuse(&scratch, scratch.at(path).as_os_str());
    }
    refuse(&scratch, uts.as_os_str());
    refuse(&scratch, "x".repeat(5000).as_ref());
    assert!(daemon.asked().is_empty());

    fn refuse(scratch: &Scratch, path: &OsStr) {
        for verb in ["ADD", "CHECK"] {
            let config = config_for(verb, "1.0.0", "/run/netns/a".as_ref());
            let done = Call::new(scratch, verb, &config).netns(path).run();

            assert_eq!(done.code(), 8, "{verb} {path:?}: {done:?}");
        }
    }
}

#[test]
fn a_link_to_a_network_namespace_is_followed() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    symlink(netns.path(), scratch.at("link")).unwrap();
    symlink(scratch.at("link"), scratch.at("link2")).unwrap();

    let done = Call::new(&scratch, "ADD", &config("1.0.0")).netns(scratch.at("link2")).run();

    assert_eq!(done.json()["interfaces"][2]["sandbox"], json!(scratch.at("link2")));
    assert_eq!(daemon.only().inode, Some(netns.inode()));
}

#[test]
fn the_plugins_own_namespace_is_no_containers_unless_it_is_said_to_be() {
    let scratch = Scratch::new();
    let daemon = Daemon::willing(&scratch);
    let own = "/proc/self/ns/net";
    for (said, code) in [("", 8), ("0", 8), ("no", 8), ("1", 0), ("true", 0), ("TRUE", 0)] {
        for verb in ["ADD", "CHECK", "DEL"] {
            let config = config_for(verb, "1.0.0", own.as_ref());
            let call = Call::new(&scratch, verb, &config).netns(own);

            assert_eq!(call.env("CNI_NETNS_OVERRIDE", said).run().code(), code, "{verb} {said:?}");
        }
    }
    // DEL has unplugged all the same.
    let asked = daemon.asked();
    assert_eq!(asked.iter().filter(|it| it.path.ends_with("/unplug")).count(), 6);
    assert_eq!(asked.len(), 6 + 3 + 3);
}

#[test]
fn names_that_lead_elsewhere_are_refused_and_nothing_is_written() {
    let scratch = Scratch::new();
    let long = "x".repeat(201);
    for (name, bad) in [
        ("CNI_CONTAINERID", &["../../etc/x", "a/b", ".a", "a:b", "", " ", "ü", &long][..]),
        ("CNI_IFNAME", &["../x", "a/b", "..", ".", "a:b", "a b", "sixteen-letters1", ""]),
    ] {
        for bad in bad {
            for verb in ["ADD", "DEL", "CHECK"] {
                let config = config_for(verb, "1.0.0", "/run/netns/a".as_ref());
                let call = Call::new(&scratch, verb, &config).netns("/run/netns/a");

                let done = call.env(name, bad).run();

                assert_eq!(done.code(), 4, "{verb} {name}={bad:?}: {done:?}");
            }
        }
    }
    assert!(scratch.queued().is_empty());
    assert!(!scratch.at("state").exists());
}

#[test]
fn octets_that_are_no_text_are_refused() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    let bad = OsStr::from_bytes(b"e\xff\xfe");
    for verb in VERBS {
        let config = config_for(verb, "1.1.0", &netns.path());
        for name in ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH"] {
            let call = Call::new(&scratch, verb, &config).netns(netns.path());

            let code = call.env(name, bad).run().code();

            assert_eq!(code, 4, "{verb} {name}");
        }
        for stdin in
            [&b"\xff\xfe"[..], b"{\"name\": \"\xff\"}", b"\0", b"", b"null", b"[1]", b"{}{}"]
        {
            let call = Call::new(&scratch, verb, &config).netns(netns.path());

            assert_eq!(call.stdin(stdin).run().code(), 6, "{verb} {stdin:?}");
        }
    }
    assert!(daemon.asked().is_empty());
}

#[test]
fn great_configurations_are_read_up_to_a_bound() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    let list: Vec<Value> = (0..100_000).map(|it| json!({ "a": it })).collect();
    for (field, code) in
        [(json!("x".repeat(1 << 20)), 0), (json!(list), 0), (json!("x".repeat(5 << 20)), 7)]
    {
        let mut config = config("1.1.0");
        config["unknown"] = field;

        let done = Call::new(&scratch, "ADD", &config).netns(netns.path()).run();

        assert_eq!(done.code(), code);
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let call = Call::new(&scratch, "ADD", &json!({})).netns(netns.path()).stdin(deep);
    assert_eq!(call.run().code(), 6);
    assert_eq!(daemon.asked().len(), 2);
}

#[test]
fn fields_of_the_wrong_type_are_refused_and_unknown_ones_are_not() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    let mut accepted = 0;
    for (field, value, code) in [
        ("cniVersion", json!(1), 6),
        ("cniVersion", json!("9.0.0"), 1),
        ("name", json!({}), 6),
        ("name", json!("../up"), 7),
        ("mtu", json!("1500"), 6),
        ("mtu", json!(1e99), 6),
        ("hairpinMode", json!("yes"), 6),
        ("macspoofchk", json!(1), 6),
        ("ipam", json!("host-local"), 6),
        ("ipam", json!({ "type": "../../bin/sh" }), 7),
        ("ipam", json!({ "type": 7 }), 6),
        ("ipam", json!({ "routes": [{ "dst": "10.0.0.0/8", "scope": 256 }] }), 7),
        ("ipMasq", json!(true), 2),
        ("runtimeConfig", json!([]), 6),
        ("runtimeConfig", json!({ "ips": "10.0.0.1" }), 6),
        ("prevResult", json!("none"), 6),
        ("dns", json!("1.1.1.1"), 6),
        ("plugins", json!([{ "type": "other" }]), 0),
        ("capabilities", json!({ "portMappings": "?" }), 0),
    ] {
        let mut config = config("1.1.0");
        config[field] = value.clone();

        let done = Call::new(&scratch, "ADD", &config).netns(netns.path()).run();

        assert_eq!(done.code(), code, "{field} {value}: {done:?}");
        accepted += usize::from(code == 0);
    }
    assert_eq!(daemon.asked().len(), accepted);
}

#[test]
fn what_the_daemon_says_cannot_act_on_a_terminal() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let _daemon = Daemon::answering(&scratch, |_| {
        let problem = json!({ "what": "\u{1b}[2J", "why": "a\nb\u{202e}", "what_to_do": "" });
        common::daemon::http(409, &problem)
    });

    let done = Call::new(&scratch, "ADD", &config("1.0.0")).netns(netns.path()).run();

    assert_eq!(done.code(), 100);
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{done:?}");
    assert!(!lines[0].chars().any(api::is_control), "{done:?}");
}
