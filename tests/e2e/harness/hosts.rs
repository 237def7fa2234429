//! Nodes, pods and the processes in them.

use std::time::Duration;

use weft_tests::harness::{Lab, PodSpec, Signal, Underlay, bin, serial, wait_until};

use crate::vxlan_pair;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_node_has_its_own_files() {
    Lab::with("files", |lab| {
        let [a, b] = lab.nodes::<2>(&Underlay::default())?;
        for dir in ["/run", "/var/lib", "/etc/cni/net.d", "/etc"] {
            let file = format!("{dir}/{}", lab.id());

            a.run(&["touch", &file])?;

            assert!(a.try_run(&["test", "-e", &file])?.status.success(), "{file}");
            assert!(!b.try_run(&["test", "-e", &file])?.status.success(), "{file} on another");
            assert!(!std::path::Path::new(&file).exists(), "{file} on the machine");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_node_sees_its_own_devices_and_the_paths_of_pods_made_later() {
    Lab::with("devices", |lab| {
        let [a, b] = lab.nodes::<2>(&Underlay::default())?;
        let pod = a.pod("late", "10.32.0.1/24")?;
        let netns = format!("/run/netns/{}", pod.netns());

        assert_eq!(a.run(&["ls", "/sys/class/net"])?, "eth0\nlo\nveth-late\n");
        let inside = a.run(&["nsenter", &format!("--net={netns}"), "ip", "addr"])?;
        assert!(inside.contains("10.32.0.1/24") && inside.contains(pod.mac()), "{inside}");
        let seen = |node: &weft_tests::harness::Node| node.try_run(&["test", "-e", &netns]);
        assert!(seen(&b)?.status.success());
        pod.delete()?;
        assert!(!seen(&a)?.status.success(), "a deleted pod has no path");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_pod_moves_with_its_mac_and_its_addresses() {
    Lab::with("move", |lab| {
        let ([a, b], [p, q]) = vxlan_pair(lab, &Underlay::default())?;
        assert!(p.ping(q.addr(), 2)?.perfect());

        let moved = p.move_to(&b)?;
        b.plug(&moved)?;

        assert_eq!((moved.mac(), moved.addr()), (p.mac(), p.addr()));
        assert!(!a.run(&["ip", "link"])?.contains(&p.host_if()));
        assert!(moved.ping(q.addr(), 2)?.perfect());
        assert!(moved.ping(q.addr6()?, 2)?.perfect());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_pod_is_as_its_spec_says() {
    Lab::with("spec", |lab| {
        let [a, _] = lab.nodes::<2>(&Underlay::default())?;
        let spec = PodSpec::new("p", "10.32.0.7/12").cidr6("fd00:32::7/64").mtu(8000);
        let pod = a.add_pod(&spec.mac("02:00:00:00:00:07"))?;

        let seen = pod.run(&["ip", "addr", "show", "eth0"])?;

        for part in ["10.32.0.7/12", "fd00:32::7/64", "mtu 8000", "02:00:00:00:00:07"] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
        assert!(!seen.contains("tentative"), "{seen}");
        assert!(a.add_pod(&PodSpec::new("a-long-pod-name", "10.32.0.8/12")).is_err());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_failed_command_tells_what_it_said_and_a_slow_one_is_killed() {
    Lab::with("commands", |lab| {
        let [a, _] = lab.nodes::<2>(&Underlay::default())?;

        let failed = a.run(&["ls", "/nowhere"]).unwrap_err().to_string();
        let time = format!("1000.{}", std::process::id());
        let slow = a.run_for(Duration::from_millis(200), &["sleep", &time]).unwrap_err();
        let output = a.try_run(&["sh", "-c", "echo out; echo err >&2; exit 7"])?;
        let missing = a.try_run(&["no-such-program"])?;

        assert!(failed.contains("ls /nowhere") && failed.contains("No such file"), "{failed}");
        assert!(slow.to_string().contains("still runs"), "{slow}");
        assert!(!a.run(&["ps", "-ef"])?.contains(&time));
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(missing.status.code(), Some(127));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_process_can_be_watched_and_signalled() {
    Lab::with("process", |lab| {
        let [a, _] = lab.nodes::<2>(&Underlay::default())?;
        let script = "trap 'echo bye; exit 3' TERM; echo hello $WORD; while :; do :; done";
        let mut busy = a.spawn_env(&[("WORD", "world")], &["sh", "-c", script])?;

        assert_eq!(busy.wait_for_line("hello", LIMIT)?, "hello world");
        assert!(busy.rss_kib()? > 100);
        wait_until(LIMIT, "processor time", || {
            busy.cpu_time().is_ok_and(|time| time > Duration::from_millis(100))
        })?;
        busy.signal(Signal::SIGSTOP)?;
        let stat = format!("/proc/{}/stat", busy.pid());
        wait_until(LIMIT, "a stopped process", || {
            std::fs::read_to_string(&stat).is_ok_and(|it| it.contains(") T "))
        })?;
        busy.signal(Signal::SIGCONT)?;
        busy.signal(Signal::SIGTERM)?;

        assert_eq!(busy.wait(LIMIT)?.code(), Some(3));
        assert_eq!(busy.stdout(), "hello world\nbye\n");
        assert!(busy.signal(Signal::SIGTERM).is_err(), "its pid may be another's now");
        let gone = busy.wait_for_line("never", LIMIT).unwrap_err().to_string();
        assert!(gone.contains("ended") && gone.contains("bye"), "{gone}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_process_outlives_the_thread_that_started_it() {
    Lab::with("threads", |lab| {
        let [a, _] = lab.nodes::<2>(&Underlay::default())?;

        let spawned = std::thread::scope(|scope| {
            scope.spawn(|| a.spawn(&["sleep", "infinity"])).join().unwrap()
        });

        std::thread::yield_now();
        assert!(a.run(&["true"]).is_ok());
        assert!(spawned?.running());
        Ok(())
    })
    .unwrap();
}

#[test]
fn serial_tests_take_turns() {
    let turn = serial().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        let _turn = serial().unwrap();
        tell.send(()).unwrap();
    });

    assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "two at a time");
    drop(turn);

    other.join().unwrap();
    assert!(told.try_recv().is_ok());
}

#[test]
fn a_missing_program_says_how_to_build_it() {
    let error = bin("no-such-program").unwrap_err().to_string();

    assert!(error.contains("cargo build"), "{error}");
    assert!(bin("lab-peer").is_ok());
}
