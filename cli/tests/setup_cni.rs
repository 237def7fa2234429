//! What `weft setup-cni` puts where, and what it leaves alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Outcome, failure};
use serde_json::Value;

const ABOUT: &str = "weft-cni: connects containers to the pod network of weftd. Release";

#[test]
fn plugin_and_configuration_are_installed_and_removed_and_either_may_be_said_twice() {
    let node = Node::new();

    let said = node.setup(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    let (bin, conf) = (node.at("bin"), node.at("conf"));
    let (bin, conf) = (bin.display(), conf.display());
    assert_eq!(
        lines,
        [
            format!("installed {bin}/weft-cni"),
            format!("installed {bin}/weave-net"),
            format!("installed {conf}/10-weft.conflist"),
        ]
    );
    assert_eq!(node.mode("bin/weft-cni"), 0o755);
    assert_eq!(node.mode("conf/10-weft.conflist"), 0o600);
    assert_eq!(node.read("bin/weave-net"), node.read("own/weft-cni"));
    let conflist: Value = serde_json::from_str(&node.read("conf/10-weft.conflist")).unwrap();
    let types: Vec<&str> = conflist["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["weft-cni", "portmap", "bandwidth"]);
    assert_eq!((node.names("bin").len(), node.names("conf").len()), (4, 1));

    let again = node.setup(&[]);
    assert_eq!((again.code, &*again.stdout), (0, ""));

    let said = node.setup(&["--remove"]);
    assert_eq!((said.code, said.stdout.lines().count()), (0, 3));
    assert!(said.stdout.starts_with(&format!("removed {conf}/10-weft.conflist\n")), "{said:?}");
    assert_eq!(node.names("bin"), ["bandwidth", "portmap"]);
    assert!(node.names("conf").is_empty());
    let again = node.setup(&["--remove"]);
    assert_eq!((again.code, &*again.stdout), (0, ""));
}

#[test]
fn where_the_daemon_is_when_it_is_elsewhere_is_in_the_configuration() {
    let node = Node::new();

    let said = node.setup(&["--socket", "/srv/weft.sock", "--state-dir", "/srv/weft"]);

    assert_eq!(said.code, 0, "{said:?}");
    let conflist: Value = serde_json::from_str(&node.read("conf/10-weft.conflist")).unwrap();
    let expected = serde_json::json!({ "type": "weft-cni", "socket": "/srv/weft.sock", "stateDir": "/srv/weft" });
    assert_eq!(conflist["plugins"][0], expected);
}

#[test]
fn a_plugin_of_another_release_is_replaced_and_a_configuration_changed_by_hand_is_not() {
    let node = Node::new();
    assert_eq!(node.setup(&[]).code, 0);
    let by_hand = node.read("conf/10-weft.conflist").replace("1.0.0", "1.1.0");
    node.write("conf/10-weft.conflist", &by_hand);
    node.write("own/weft-cni", &format!("{ABOUT} 2"));

    let said = node.setup(&[]);

    assert_eq!(said.stdout, format!("installed {}\n", node.at("bin/weft-cni").display()));
    assert_eq!(node.read("bin/weft-cni"), format!("{ABOUT} 2"));
    assert_eq!(node.read("conf/10-weft.conflist"), by_hand);
    assert_eq!(node.setup(&["--remove"]).stdout.lines().count(), 3);
}

#[test]
fn what_is_somebody_elses_is_neither_replaced_nor_removed() {
    for (name, text) in [
        ("bin/weft-cni", "another"),
        ("conf/10-weft.conflist", "{\"plugins\": [{\"type\": \"bridge\"}]}"),
        ("conf/10-weft.conflist", "no JSON"),
    ] {
        let node = Node::new();
        node.write(name, text);
        let before = (node.names("bin"), node.names("conf"));

        let line = failure(&node.setup(&[]));
        assert!(line.contains("there is one that is not weft's"), "{line}");
        assert_eq!(node.setup(&["--remove"]).code, 0);

        assert_eq!((node.names("bin"), node.names("conf")), before);
        assert_eq!(node.read(name), text);
    }
}

#[test]
fn the_name_that_was_weaves_is_taken_only_where_nobody_has_it() {
    let node = Node::new();
    node.write("bin/weave-net", "Weave's");

    assert_eq!(node.setup(&[]).code, 0);
    assert_eq!(node.read("bin/weave-net"), "Weave's");
    assert_eq!(node.setup(&["--remove"]).code, 0);

    assert_eq!(node.names("bin"), ["bandwidth", "portmap", "weave-net"]);
}

#[test]
fn what_keeps_pods_from_their_network_is_told() {
    let node = Node::new();
    fs::remove_file(node.at("bin/portmap")).unwrap();
    node.write("conf/05-other.conf", "{}");
    node.write("conf/00-note.txt", "");

    let said = node.setup(&[]).stdout;

    assert!(said.contains("missing portmap in "), "{said}");
    assert!(said.contains("05-other.conf comes first: runtimes take that one"), "{said}");
    assert!(!said.contains("bandwidth") && !said.contains("00-note"), "{said}");
}

#[test]
fn without_a_plugin_or_a_place_nothing_is_done() {
    let node = Node::new();
    for text in [None, Some("not ours")] {
        fs::remove_file(node.at("own/weft-cni")).unwrap_or_default();
        if let Some(text) = text {
            node.write("own/weft-cni", text);
        }
        let line = failure(&node.setup(&[]));
        assert!(line.contains("install weft-cni beside weft"), "{line}");
    }
    node.write("own/weft-cni", ABOUT);
    fs::remove_dir(node.at("conf")).unwrap();
    node.write("conf", "a file");
    failure(&node.setup(&[]));
    assert_eq!(node.names("bin"), ["bandwidth", "portmap"]);
}

/// A node's directories, and `weft` with a plugin beside it. Dropped, they are removed.
struct Node(PathBuf);

impl Node {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let node = Self(tmp.join(format!("setup-cni-{}-{count}", std::process::id())));
        for directory in ["own", "bin", "conf"] {
            fs::create_dir_all(node.at(directory)).unwrap();
        }
        fs::hard_link(env!("CARGO_BIN_EXE_weft"), node.at("own/weft")).unwrap();
        for (name, text) in [("own/weft-cni", ABOUT), ("bin/portmap", ""), ("bin/bandwidth", "")] {
            node.write(name, text);
        }
        node
    }

    fn setup(&self, more: &[&str]) -> Outcome {
        let mut command = Command::new(self.at("own/weft"));
        command.arg("setup-cni").arg("--cni-bin").arg(self.at("bin"));
        let run = command.arg("--cni-conf").arg(self.at("conf")).args(more).output().unwrap();
        Outcome {
            code: run.status.code().unwrap(),
            stdout: String::from_utf8(run.stdout).unwrap(),
            stderr: String::from_utf8(run.stderr).unwrap(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.at(name)).unwrap().permissions().mode() & 0o7777
    }

    /// What is in a directory, in order.
    fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(name)).unwrap();
        let mut all: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
