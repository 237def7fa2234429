//! Each verb, in each version, beside a daemon that answers.
#![expect(clippy::disallowed_methods, reason = "a test measures real time")]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::daemon::{self, Daemon};
use common::{Call, Netns, PLUGIN, Scratch, VERSIONS, config, config_for, previous};
use serde_json::{Value, json};

#[test]
fn every_verb_in_every_version_is_as_the_specification_has_it() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let _daemon = Daemon::willing(&scratch);

    for version in VERSIONS {
        for (verb, since) in [
            ("ADD", "0.3.0"),
            ("DEL", "0.3.0"),
            ("CHECK", "0.4.0"),
            ("GC", "1.1.0"),
            ("STATUS", "1.1.0"),
        ] {
            let config = config_for(verb, version, &netns.path());
            let done = Call::new(&scratch, verb, &config).netns(netns.path()).run();

            let allowed = version >= since;
            assert_eq!(done.code(), u64::from(!allowed), "{verb} {version}: {done:?}");
            match (verb, allowed) {
                ("ADD", _) => assert_eq!(done.json()["cniVersion"], version),
                (_, true) => assert_eq!((&*done.stdout, &*done.stderr), ("", ""), "{verb}"),
                (_, false) => assert_eq!(done.json()["cniVersion"], version),
            }
        }
    }
}

#[test]
fn a_result_has_the_bridge_the_hosts_end_and_the_containers() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let _daemon = Daemon::willing(&scratch);
    for version in VERSIONS {
        let mut config = config(version);
        config["dns"] = json!({ "nameservers": ["10.32.0.1"] });

        let told = Call::new(&scratch, "ADD", &config).netns(netns.path()).run().json();

        let old = version < "1.0.0";
        let mut container =
            json!({ "name": "eth0", "mac": "02:00:0a:20:00:05", "sandbox": netns.path() });
        let mut ip = json!({ "address": "10.32.0.5/12", "gateway": "10.32.0.1", "interface": 2 });
        if old {
            ip["version"] = json!("4");
        } else {
            container["mtu"] = json!(1410);
        }
        let expected = json!({
            "cniVersion": version,
            "interfaces": [
                { "name": "weave", "mac": "02:00:00:00:00:01" },
                { "name": "vethwe1234567", "mac": "02:00:00:00:00:02" },
                container,
            ],
            "ips": [ip],
            "routes": [{ "dst": "0.0.0.0/0", "gw": "10.32.0.1" }],
            "dns": { "nameservers": ["10.32.0.1"] },
        });
        assert_eq!(told, expected, "{version}");
    }
}

#[test]
fn what_the_runtime_wants_goes_to_the_daemon_with_the_namespace() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    let mut config = config("1.1.0");
    config["mtu"] = json!(1300);
    config["hairpinMode"] = json!(false);
    config["macspoofchk"] = json!(false);
    config["ipam"] = json!({
        "subnet": "10.40.0.0/16", "gateway": "10.40.0.1",
        "routes": [{ "dst": "10.0.0.0/8", "gw": "10.40.0.2", "mtu": 1200, "scope": 253 }],
    });
    config["runtimeConfig"] = json!({
        "mac": "02:00:00:00:00:77", "ips": ["10.40.0.9/16", "10.40.0.10"],
        "PortMappings": [{ "HostPort": 80, "ContainerPort": 80, "HostIP": "" }],
    });
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=web-0;K8S_POD_UID=77-aa";

    let call = Call::new(&scratch, "ADD", &config).netns(netns.path()).env("CNI_ARGS", args);
    assert_eq!(call.run().code(), 0);

    let asked = daemon.only();
    let expected = json!({
        "id": "c-1", "ifname": "eth0", "netns": netns.path(), "network": "weft",
        "pod": { "namespace": "web", "name": "web-0", "uid": "77-aa" },
        "mac": "02:00:00:00:00:77", "mtu": 1300, "hairpin": false, "lock": false,
        "addresses": {
            "given": [], "subnet": "10.40.0.0/16",
            "claimed": [
                { "address": "10.40.0.9", "prefix": 16 }, { "address": "10.40.0.10", "prefix": null }
            ],
        },
        "gateway": "10.40.0.1",
        "routes": [{
            "to": "10.0.0.0/8", "via": "10.40.0.2", "mtu": 1200, "advmss": null, "priority": null,
            "table": null, "scope": 253,
        }],
    });
    assert_eq!((asked.path.as_str(), asked.body), ("/v1/pods/plug", expected));
    assert_eq!(asked.inode, Some(netns.inode()));
}

#[test]
fn an_interface_is_added_first_or_not_at_all() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    let mut config = config("1.0.0");
    config["prevResult"] = previous("1.0.0", &netns.path());

    let done = Call::new(&scratch, "ADD", &config).netns(netns.path()).run();

    assert_eq!(done.code(), 7);
    assert!(daemon.asked().is_empty());
}

#[test]
fn del_needs_no_namespace_and_goes_by_none() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let paths = ["", "/run/netns/gone", "/dev/null"].map(|it| Some(it.into()));
    for path in paths.into_iter().chain([Some(netns.path()), None]) {
        let daemon = Daemon::willing(&scratch);
        let call = Call::new(&scratch, "DEL", &config("0.3.1"));
        let call = path.iter().fold(call, |call, path| call.netns(path));

        let done = call.run();

        assert_eq!((done.code(), &*done.stdout), (0, ""), "{path:?}");
        let asked = daemon.only();
        let expected = json!({ "id": "c-1", "ifname": "eth0", "inode": null });
        assert_eq!((&*asked.path, asked.body), ("/v1/pods/unplug", expected));
    }
    assert!(scratch.queued().is_empty());
}

#[test]
fn what_the_daemon_does_not_know_is_unplugged() {
    let scratch = Scratch::new();
    let _daemon = Daemon::refusing(&scratch, 404);

    for _ in 0..2 {
        let done = Call::new(&scratch, "DEL", &config("1.1.0")).run();

        assert_eq!((done.code(), &*done.stdout), (0, ""));
    }
}

#[test]
fn what_the_daemon_refuses_has_its_code_and_its_words() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    for (answer, code) in [(400, 7), (404, 3), (409, 100), (413, 7), (500, 102), (503, 11)] {
        let _daemon = Daemon::refusing(&scratch, answer);
        for verb in ["ADD", "CHECK", "GC"] {
            let config = config_for(verb, "1.1.0", &netns.path());

            let done = Call::new(&scratch, verb, &config).netns(netns.path()).run();

            if (verb, answer) == ("CHECK", 409) {
                assert_eq!((done.code(), &done.json()["details"]), (101, &json!("told so")));
                continue;
            }
            assert_eq!(done.code(), code, "{verb}: {answer}");
            let expected = json!({
                "cniVersion": "1.1.0", "code": code, "msg": "cannot", "details": "told so: ask again"
            });
            assert_eq!(done.json(), expected, "{verb}");
        }
        if ![404, 503].contains(&answer) {
            assert_eq!(Call::new(&scratch, "DEL", &config("1.1.0")).run().code(), code);
        }
    }
    assert!(scratch.queued().is_empty());
}

#[test]
fn check_goes_by_what_add_has_said() {
    let (scratch, netns, other) = (Scratch::new(), Netns::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    let link = scratch.at("link");
    std::os::unix::fs::symlink(netns.path(), &link).unwrap();
    for (pointer, value, code) in [
        ("/cniVersion", json!("0.4.0"), 0),
        ("/interfaces/2/sandbox", json!(link), 0),
        ("/interfaces/2/mac", json!("02:00:0A:20:00:05"), 0),
        ("/interfaces/2/mac", json!(""), 0),
        ("/interfaces/2/mac", json!("02:00:0a:20:00:06"), 101),
        ("/interfaces/2/name", json!("eth1"), 101),
        ("/interfaces/2/sandbox", json!(other.path()), 101),
        ("/interfaces/2/sandbox", json!(""), 101),
        ("/interfaces", json!([]), 101),
        ("/ips/0/address", json!("10.32.0.6/12"), 101),
        ("/ips/0/address", json!("10.32.0.5/13"), 101),
        ("/ips/0/interface", json!(null), 0),
        // Of another plugin's interface.
        ("/ips/0", json!({ "address": "10.9.9.9/24", "interface": 1 }), 0),
        ("/ips", json!([]), 0),
    ] {
        let mut config = config_for("CHECK", "1.0.0", &netns.path());
        *config["prevResult"].pointer_mut(pointer).unwrap() = value.clone();

        let done = Call::new(&scratch, "CHECK", &config).netns(netns.path()).run();

        assert_eq!(done.code(), code, "{pointer} {value}: {done:?}");
    }
    let asked = daemon.asked();
    let expected = json!({ "id": "c-1", "ifname": "eth0", "netns": netns.path() });
    assert_eq!((&*asked[0].path, &asked[0].body), ("/v1/pods/check", &expected));
    assert_eq!(asked[0].inode, Some(netns.inode()));
}

#[test]
fn gc_names_the_network_and_who_stays() {
    let scratch = Scratch::new();
    for (valid, told) in [
        (
            json!([{ "containerID": "c-1", "ifname": "eth0" }]),
            json!([{ "id": "c-1", "ifname": "eth0" }]),
        ),
        (json!([]), json!([])),
        (json!(null), json!([])),
    ] {
        let daemon = Daemon::willing(&scratch);
        let mut config = config("1.1.0");
        config["cni.dev/valid-attachments"] = valid;

        assert_eq!(Call::new(&scratch, "GC", &config).run().code(), 0);

        let asked = daemon.only();
        assert_eq!(asked.path, "/v1/pods/gc");
        assert_eq!(asked.body, json!({ "network": "weft", "valid": told }));
    }
}

#[test]
fn status_is_the_daemons() {
    let scratch = Scratch::new();
    let status = || Call::new(&scratch, "STATUS", &config("1.1.0")).run();
    for (code, ready) in [(200, true), (503, false), (503, true), (200, false)] {
        let _daemon =
            Daemon::answering(&scratch, move |_| daemon::http(code, &daemon::status(ready)));

        let done = status();

        assert_eq!(done.code(), if ready { 0 } else { 50 }, "{done:?}");
        assert!(ready || done.stdout.contains("it waits for the bridge"), "{done:?}");
    }
    let _daemon = Daemon::refusing(&scratch, 503);
    assert_eq!(status().code(), 50);
}

#[test]
fn status_is_50_where_weftd_leases_no_addresses_unless_another_plugin_does() {
    let scratch = Scratch::new();
    for state in [json!("refused"), json!("left"), json!("quarantined"), Value::Null] {
        let mut status = daemon::status(true);
        if state.is_null() {
            status["ipam"] = Value::Null;
        } else {
            status["ipam"]["state"] = state.clone();
            status["ipam"]["reason"] = json!("told so");
        }
        let _daemon = Daemon::answering(&scratch, move |_| daemon::ok(&status));

        let done = Call::new(&scratch, "STATUS", &config("1.1.0")).run();

        assert_eq!(done.code(), 50, "{state}: {done:?}");
        assert_eq!(done.stdout.contains("told so"), !state.is_null(), "{done:?}");
    }
}

#[test]
fn versions_are_told_while_stdin_stays_open() {
    let mut command = Command::new(PLUGIN);
    command.env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::piped()).stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut told).unwrap();

    assert!(child.wait().unwrap().success() && began.elapsed() < Duration::from_secs(10));
    drop(stdin);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, json!({ "cniVersion": "1.1.0", "supportedVersions": VERSIONS }));
}

#[test]
fn who_runs_it_by_hand_is_told_what_it_is() {
    let scratch = Scratch::new();

    let done = Call::new(&scratch, "", &json!({})).without("CNI_COMMAND").run();

    assert_eq!((done.success, &*done.stdout), (true, ""));
    assert!(done.stderr.contains("CNI protocol versions supported: 0.3.0, 0.3.1"), "{done:?}");
}

#[test]
fn it_works_by_any_name() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let _daemon = Daemon::willing(&scratch);
    for name in ["weave-net", "anything"] {
        std::os::unix::fs::symlink(PLUGIN, scratch.at(name)).unwrap();

        let call = Call::new(&scratch, "ADD", &config("1.0.0")).netns(netns.path());

        assert_eq!(call.program(scratch.at(name)).run().code(), 0, "{name}");
    }
}

#[test]
fn the_daemon_is_where_the_environment_says_or_the_configuration() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let daemon = Daemon::willing(&scratch);
    let mut config = config("1.1.0");
    for (socket, code) in [
        (json!(scratch.at("weft.sock")), 0),
        (json!(scratch.at("none")), 11),
        (json!("weft.sock"), 7),
        (json!(7), 6),
    ] {
        config["socket"] = socket.clone();
        let call = Call::new(&scratch, "ADD", &config).netns(netns.path());

        assert_eq!(call.without("WEFT_SOCKET").run().code(), code, "{socket}");
    }
    config["socket"] = json!("/none");
    assert_eq!(Call::new(&scratch, "ADD", &config).netns(netns.path()).run().code(), 0);
    assert_eq!(daemon.asked().len(), 2);
}

#[test]
fn answers_of_a_later_release_are_understood() {
    fn later(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.values_mut().for_each(later);
                map.insert("later".to_owned(), json!({ "deep": [[1], { "er": null }] }));
            }
            Value::Array(all) => all.iter_mut().for_each(later),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let _daemon = Daemon::answering(&scratch, |asked| {
        let answer = String::from_utf8(daemon::willing(asked)).unwrap();
        let mut body = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        later(&mut body);
        daemon::ok(&body)
    });
    for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
        let config = config_for(verb, "1.1.0", &netns.path());

        let done = Call::new(&scratch, verb, &config).netns(netns.path()).run();

        assert_eq!(done.code(), 0, "{verb}: {done:?}");
    }
}

#[test]
fn what_was_refused_at_add_keeps_nobody_from_being_taken_away() {
    let scratch = Scratch::new();
    let daemon = Daemon::willing(&scratch);
    let mut config = config("1.0.0");
    config["ipMasq"] = json!(true);
    config["runtimeConfig"] = json!({ "mac": "foo", "ips": ["x"] });
    config["prevResult"] = json!("nonsense");

    let done = Call::new(&scratch, "DEL", &config).env("CNI_ARGS", "nonsense").run();

    assert_eq!((done.code(), &*done.stdout), (0, ""), "{done:?}");
    assert_eq!(daemon.only().path, "/v1/pods/unplug");
}
