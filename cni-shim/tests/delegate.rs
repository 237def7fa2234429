//! Addresses of another plugin: one that is a shell script.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails where it cannot go on"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::daemon::{self, Daemon};
use common::{Call, Netns, Outcome, PLUGIN, Scratch, VERSIONS, config_for};
use serde_json::{Value, json};

/// Says what host-local would.
const GIVES: &str = r#"echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.5/24", "gateway": "10.9.0.1"}],
    "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["10.9.0.1"]}, "later": 1}'"#;

#[test]
fn what_it_gives_is_plugged_in_and_told() {
    let (site, daemon) = Site::with(GIVES);
    for version in VERSIONS {
        let told = site.run("ADD", version).json();

        let ip = &told["ips"][0];
        assert_eq!(ip["address"], "10.9.0.5/24");
        assert_eq!((&ip["gateway"], &ip["interface"]), (&json!("10.9.0.1"), &json!(2)));
        assert_eq!(told["routes"], json!([{ "dst": "0.0.0.0/0", "gw": "10.9.0.1" }]));
        assert_eq!(told["dns"], json!({ "nameservers": ["10.9.0.1"] }));
        assert_eq!(told["interfaces"].as_array().unwrap().len(), 3);
    }
    let asked = daemon.asked().remove(0).body;
    let expected = json!({ "given": ["10.9.0.5/24"], "claimed": [], "subnet": null });
    assert_eq!((&asked["addresses"], &asked["gateway"]), (&expected, &json!("10.9.0.1")));
    assert_eq!(asked["routes"][0]["to"], "0.0.0.0/0");
}

#[test]
fn it_is_given_all_that_came_as_it_came() {
    let (site, _daemon) = Site::with(GIVES);
    let config = format!("  {}\n\n", site.config("ADD", "1.0.0"));
    let call = site.call("ADD", "1.0.0").env("CNI_ARGS", "IP=10.9.0.5;X=\u{fc}");

    assert_eq!(call.stdin(config.clone()).run().code(), 0);

    assert_eq!(fs::read_to_string(site.scratch.at("stdin")).unwrap(), config);
    let env = fs::read_to_string(site.scratch.at("env")).unwrap();
    for line in [
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=c-1",
        "CNI_IFNAME=eth0",
        "CNI_ARGS=IP=10.9.0.5;X=\u{fc}",
        &format!("CNI_NETNS={}", site.netns.path().display()),
    ] {
        assert!(env.lines().any(|it| it == line), "{line}: {env}");
    }
}

#[test]
fn each_verb_goes_to_it_too() {
    let (site, daemon) = Site::with("");
    for (verb, then) in [
        ("DEL", "/v1/pods/unplug"),
        ("CHECK", "/v1/pods/check"),
        ("GC", "/v1/pods/gc"),
        ("STATUS", "/v1/status"),
    ] {
        let done = site.run(verb, "1.1.0");

        assert_eq!((done.code(), &*done.stdout), (0, ""), "{verb}");
        assert_eq!(daemon.asked().last().unwrap().path, then);
    }
    assert_eq!(site.verbs(), ["DEL", "CHECK", "GC", "STATUS"]);
}

#[test]
fn its_error_is_told_as_it_told_it() {
    let fails =
        r#"echo '{"code": 77, "msg": "no more", "details": "all taken"}'; echo noise >&2; exit 1"#;
    let (site, daemon) = Site::fresh(fails);

    let done = site.run("ADD", "0.4.0");

    let expected =
        json!({ "cniVersion": "0.4.0", "code": 77, "msg": "no more", "details": "all taken" });
    assert_eq!((done.code(), done.json()), (77, expected));
    // What an ADD before this one was given is not taken from it.
    assert_eq!(site.verbs(), ["ADD"]);
    assert!(was_only_asked(&daemon));
    for verb in ["DEL", "CHECK", "GC", "STATUS"] {
        assert_eq!(site.run(verb, "1.1.0").code(), 77, "{verb}");
    }
    // The daemon was asked to tidy up all the same.
    assert!(daemon.asked().iter().any(|it| it.path == "/v1/pods/gc"));
}

#[test]
fn what_makes_no_sense_is_its_failure() {
    for (script, code) in [
        ("exit 1", 103),
        ("echo broken; exit 3", 103),
        ("kill -9 $$", 103),
        ("echo '{}'", 103),
        ("echo '{\"ips\": []}'", 103),
        ("echo '{\"ips\": [{\"address\": \"ten\"}]}'", 103),
        ("echo garbage", 103),
        ("true", 103),
        ("head -c 2000000 /dev/zero; sleep 60", 5),
    ] {
        let (site, daemon) = Site::fresh(script);

        assert_eq!(site.run("ADD", "1.0.0").code(), code, "{script}");
        assert!(was_only_asked(&daemon), "{script}");
    }
}

#[test]
fn a_plugin_that_is_not_there_is_told_with_where_it_was_looked_for() {
    let (site, daemon) = Site::fresh(GIVES);
    fs::remove_file(site.scratch.at("bin/giver")).unwrap();

    let done = site.run("ADD", "1.0.0");
    assert_eq!(done.code(), 7);
    let details = done.json()["details"].as_str().unwrap().to_owned();
    assert!(details.contains(site.scratch.at("bin").to_str().unwrap()), "{details}");

    fs::create_dir(site.scratch.at("bin/giver")).unwrap();
    assert_eq!(site.run("ADD", "1.0.0").code(), 7);
    fs::remove_dir(site.scratch.at("bin/giver")).unwrap();
    fs::write(site.scratch.at("bin/giver"), "not to be run").unwrap();
    assert_eq!(site.run("ADD", "1.0.0").code(), 5);
    assert!(was_only_asked(&daemon));
}

#[test]
fn the_plugin_does_not_run_itself() {
    let (site, _daemon) = Site::fresh(GIVES);
    fs::remove_file(site.scratch.at("bin/giver")).unwrap();
    std::os::unix::fs::symlink(PLUGIN, site.scratch.at("bin/giver")).unwrap();

    let done = site.run("ADD", "1.0.0");

    assert_eq!(done.code(), 7, "{done:?}");
}

#[test]
fn what_it_gave_is_taken_back_where_it_is_not_plugged_in() {
    for (code, expected) in [(409, 100), (500, 102), (503, 11)] {
        let (site, _) = Site::with(GIVES);
        let _daemon = Daemon::answering(&site.scratch, move |asked| match &*asked.path {
            "/v1/pods/plug" => daemon::problem(code),
            "/v1/pods/check" => daemon::problem(404),
            _ => daemon::willing(asked),
        });

        assert_eq!(site.run("ADD", "1.0.0").code(), expected);

        assert_eq!(site.verbs(), ["ADD", "DEL"]);
    }
}

#[test]
fn what_it_gave_an_add_before_this_one_is_not_taken_back() {
    for check in [200, 409, 500] {
        let (site, _) = Site::with(GIVES);
        let _daemon = Daemon::answering(&site.scratch, move |asked| match (&*asked.path, check) {
            ("/v1/pods/plug", _) => daemon::problem(409),
            ("/v1/pods/check", 409 | 500) => daemon::problem(check),
            _ => daemon::willing(asked),
        });

        assert_eq!(site.run("ADD", "1.0.0").code(), 100);

        assert_eq!(site.verbs(), ["ADD"], "{check}");
    }
}

#[test]
fn an_add_for_which_it_gives_nothing_again_is_told_what_is_there() {
    for (check, code) in [(200, 0), (409, 999), (404, 999)] {
        let refuses = r#"echo '{"cniVersion": "1.0.0", "code": 999, "msg": "duplicate"}'; exit 1"#;
        let (site, _) = Site::with(refuses);
        let daemon = Daemon::answering(&site.scratch, move |asked| match (&*asked.path, check) {
            ("/v1/pods/check", 200) => daemon::willing(asked),
            ("/v1/pods/check", _) => daemon::problem(check),
            _ => daemon::willing(asked),
        });

        let done = site.run("ADD", "1.0.0");

        assert_eq!(done.code(), code, "{done:?}");
        assert_eq!(site.verbs(), ["ADD"]);
        assert!(daemon.asked().iter().all(|it| it.path != "/v1/pods/plug"));
        if code == 0 {
            assert_eq!(done.json()["interfaces"].as_array().unwrap().len(), 3);
        }
    }
}

#[test]
fn what_somebody_may_still_have_is_not_taken_back() {
    let (site, _) = Site::with(GIVES);
    let daemon = Daemon::answering(&site.scratch, |asked| match &*asked.path {
        "/v1/pods/plug" => b"?".to_vec(),
        _ => daemon::willing(asked),
    });
    assert_eq!(site.run("ADD", "1.0.0").code(), 11);
    assert_eq!(site.verbs(), ["ADD", "DEL"]);
    let unplug = daemon.asked().remove(1);
    assert_eq!(
        (&*unplug.path, &unplug.body["inode"]),
        ("/v1/pods/unplug", &json!(site.netns.inode()))
    );
    drop(daemon);
    fs::remove_file(site.scratch.at("verbs")).unwrap();

    let _daemon = Daemon::answering(&site.scratch, |_| b"?".to_vec());

    assert_eq!(site.run("ADD", "1.0.0").code(), 11);
    assert_eq!(site.run("DEL", "1.0.0").code(), 11);

    assert_eq!(site.verbs(), ["ADD"]);
}

#[test]
fn while_the_daemon_is_down_it_gives_nothing_and_takes_back() {
    let (site, daemon) = Site::with(GIVES);
    drop(daemon);

    assert_eq!(site.run("ADD", "1.0.0").code(), 11);
    assert_eq!(site.run("DEL", "1.0.0").code(), 0);

    assert_eq!(site.verbs(), ["DEL"]);
    assert_eq!(site.scratch.queued().len(), 1);
}

/// Whether nothing was plugged in.
fn was_only_asked(daemon: &Daemon) -> bool {
    daemon.asked().iter().all(|it| it.path == "/v1/pods/check")
}

/// A node with a plugin `giver`.
struct Site {
    scratch: Scratch,
    netns: Netns,
}

impl Site {
    fn with(script: &str) -> (Self, Daemon) {
        let (scratch, netns) = (Scratch::new(), Netns::new());
        let giver = scratch.at("bin/giver");
        fs::create_dir(scratch.at("bin")).unwrap();
        let (stdin, env, verbs) = (scratch.at("stdin"), scratch.at("env"), scratch.at("verbs"));
        let (stdin, env, verbs) = (stdin.display(), env.display(), verbs.display());
        let text =
            format!("#!/bin/sh\ncat >{stdin}\nenv >{env}\necho $CNI_COMMAND >>{verbs}\n{script}\n");
        fs::write(&giver, text).unwrap();
        fs::set_permissions(giver, fs::Permissions::from_mode(0o755)).unwrap();
        let daemon = Daemon::willing(&scratch);
        (Self { scratch, netns }, daemon)
    }

    /// One on which nothing was plugged in.
    fn fresh(script: &str) -> (Self, Daemon) {
        let (site, _) = Self::with(script);
        let daemon = Daemon::answering(&site.scratch, |asked| match &*asked.path {
            "/v1/pods/check" => daemon::problem(404),
            _ => daemon::willing(asked),
        });
        (site, daemon)
    }

    fn config(&self, verb: &str, version: &str) -> Value {
        let mut config = config_for(verb, version, &self.netns.path());
        config["ipam"] = json!({ "type": "giver", "subnet": "10.9.0.0/24", "own": [1] });
        config
    }

    fn call(&self, verb: &str, version: &str) -> Call {
        let config = self.config(verb, version);
        Call::new(&self.scratch, verb, &config).netns(self.netns.path())
    }

    fn run(&self, verb: &str, version: &str) -> Outcome {
        self.call(verb, version).run()
    }

    /// What it was asked for, in this order.
    fn verbs(&self) -> Vec<String> {
        let verbs = fs::read_to_string(self.scratch.at("verbs")).unwrap_or_default();
        verbs.lines().map(str::to_owned).collect()
    }
}
