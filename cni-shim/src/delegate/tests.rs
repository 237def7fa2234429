//! Plugins that do not end, or leave something behind.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A plugin that is a script. Dropped, it is removed.
struct Script(PathBuf);

impl Script {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weft-ipam-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let plugin = path.join("giver");
        fs::write(&plugin, format!("#!/bin/sh\ncd {}\n{text}\n", path.display())).unwrap();
        fs::set_permissions(plugin, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    /// With so little time that a test can wait for it, or so much that only a fault takes it.
    fn run(&self, within: Duration) -> (Result<Vec<u8>, Error>, Duration) {
        let path = [PathBuf::from("/none"), self.0.clone()];
        let stdin = vec![b' '; 1 << 20];
        let delegate = Delegate { kind: "giver", path: &path, stdin: &stdin, within };
        let began = Instant::now();
        let outcome = delegate.run(Cmd::Add);
        (outcome, began.elapsed())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn one_that_hangs_is_killed_and_so_is_what_it_has_started() {
    let script = Script::new("hangs", "sleep 600 & echo $! >pid; wait");

    let (outcome, took) = script.run(Duration::from_millis(700));

    assert_eq!(u32::from(&outcome.unwrap_err()), IPAM_FAILED);
    assert!(took < Duration::from_secs(10), "{took:?}");
    let pid = fs::read_to_string(script.0.join("pid")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_running(pid.trim()) {
        assert!(Instant::now() < deadline, "{pid} still runs");
        thread::yield_now();
    }
}

/// A zombie is none: whoever inherits it takes it away, or nobody.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn one_that_closes_stdout_and_goes_on_is_waited_for() {
    let script = Script::new("closes", "echo said; exec >&-; sleep 0.3; exit 0");

    let (outcome, took) = script.run(Duration::from_secs(30));

    assert_eq!(outcome.unwrap(), b"said\n");
    assert!(took >= Duration::from_millis(300), "{took:?}");
}

#[test]
fn what_it_leaves_behind_with_its_stdout_is_not_waited_for() {
    let script = Script::new("leaves", "sleep 20 & echo $! >pid; echo said");

    let (outcome, took) = script.run(Duration::from_secs(15));

    assert_eq!(outcome.unwrap(), b"said\n");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let pid = fs::read_to_string(script.0.join("pid")).unwrap();
    drop(Command::new("kill").arg(pid.trim()).status());
}

#[test]
fn one_that_says_much_is_read_to_the_end_and_too_much_is_refused() {
    let much = Script::new("much", "head -c 1000000 /dev/zero");
    let (outcome, _) = much.run(Duration::from_secs(30));
    assert_eq!(outcome.unwrap().len(), 1_000_000);

    let flood = Script::new("flood", "yes");
    let (outcome, _) = flood.run(Duration::from_secs(30));
    assert_eq!(u32::from(&outcome.unwrap_err()), 5);
}
