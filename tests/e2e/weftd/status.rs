//! What asking the daemon costs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weftd::Daemon;
use weft_tests::harness::{Cluster, Lab, Node, Ping, Proc, Stopwatch, bin, pause, serial};

/// How long it is asked, and how often in a second by each of those who ask.
const SECONDS: u32 = 5;
const EACH: u32 = 60;
const ROUTES: [&str; 5] =
    ["status", "status/connections", "status/peers", "status/paths", "report"];
/// How long an answer may take: the API's bound for `weft`.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn three_hundred_questions_a_second_and_a_client_that_hangs_cost_no_frame_and_no_control() {
    let _turn = serial().unwrap();
    Lab::with("questions", |lab| {
        let Cluster { daemons, pods, .. } = Cluster::<3>::new(lab, &[])?;
        let daemon = &daemons[0];
        let dropped = drops(daemon)?;
        let mut hung = connect(daemon)?;
        hung.write_all(b"GET /v1/status HTTP/1.1\r\nHost: w")?;
        // A frame each millisecond, there and back, before, while and after it is asked.
        let count = (SECONDS + 2) * 1_000;
        let ping = Ping::new(pods[1].addr(), count).interval(Duration::from_millis(1));

        let watch = Stopwatch::start();
        let (pinged, answers) = thread::scope(|scope| {
            let pinged = scope.spawn(|| pods[0].ping_with(&ping));
            pause(Duration::from_millis(500));
            let askers = ROUTES.map(|route| scope.spawn(move || ask_steadily(daemon, route)));
            let answers: Result<Vec<_>> = askers
                .into_iter()
                .map(|asker| asker.join().map_err(|_| anyhow::anyhow!("an asker panicked"))?)
                .collect();
            println!("{SECONDS} s of questions took {:?}", watch.elapsed());
            (pinged.join(), answers)
        });
        let pinged = pinged.map_err(|_| anyhow::anyhow!("the ping panicked"))??;
        let times: Vec<Duration> = answers?.concat();

        let report = daemon.report()?;
        let control = report.get("control").context("no control")?;
        let slowest = times.iter().max().copied().unwrap_or_default();
        println!("{} answers, the slowest after {slowest:?}; control {control}", times.len());
        println!(
            "{} of {} pings answered, median {:?}",
            pinged.received,
            pinged.sent,
            pinged.rtt()
        );
        ensure!(times.len() == (SECONDS * EACH) as usize * ROUTES.len());
        ensure!(pinged.perfect(), "{} of {}", pinged.received, pinged.sent);
        let now = drops(daemon)?;
        ensure!(now == dropped, "drops were {dropped:?} and are {now:?}");
        let p99 = control.get("latency_p99_us").and_then(Value::as_u64).context("no p99")?;
        ensure!(p99 < 10_000, "{p99} us");
        // It is cut off, and not waited for.
        hung.set_read_timeout(Some(PATIENCE))?;
        let mut said = Vec::new();
        hung.read_to_end(&mut said).context("the client that hangs still hangs")?;
        Ok(())
    })
    .unwrap();
}

/// For so long the kernel lets everybody wait who asks for links.
const HELD: Duration = Duration::from_secs(6);
/// What an answer waits for that says something of links, and a machine that is busy.
const WAITS: Duration = Duration::from_secs(4);

#[test]
fn a_kernel_that_lets_netlink_wait_silences_nobody() {
    let _turn = serial().unwrap();
    Lab::with("rtnl", |lab| {
        let it = Cluster::<2>::fast(lab)?;
        let daemon = it.daemon(0)?;
        let mut holder = hold_netlink(it.node(0)?)?;

        let watch = Stopwatch::start();
        let mut times = Vec::new();
        while watch.elapsed() < HELD - WAITS {
            let asked = Stopwatch::start();
            let _paths = daemon.ask("status paths")?;
            times.push(asked.elapsed());
        }
        ensure!(holder.wait(PATIENCE)?.success(), "{}", holder.stderr());

        let slowest = times.iter().max().context("nothing was asked")?;
        let report = daemon.report()?;
        let control = report.get("control").context("no control")?;
        println!("{} answers, the slowest after {slowest:?}; control {control}", times.len());
        ensure!(*slowest < WAITS, "{slowest:?}");
        let longest = control.get("latency_max_us").and_then(Value::as_u64).context("no max")?;
        ensure!(u128::from(longest) < WAITS.as_micros() / 4, "{longest} us");
        ensure!(it.logged(0, "no answer to probes")? == 0, "{}", daemon.proc.stderr());
        Ok(())
    })
    .unwrap();
}

#[test]
fn nodes_that_wait_for_netlink_answer_on_udp_6783_and_have_the_process_receive() {
    let _turn = serial().unwrap();
    Lab::with("rtnl-lines", |lab| {
        let it = Cluster::<2>::fast(lab)?;
        let mut holder = hold_netlink(it.node(0)?)?;

        it.node(0)?.sh(CUT)?;
        for (from, to) in [(0, 1), (1, 0)] {
            it.wait_for(from, to, WAITS, |path| path.kind == "sleeve")?;
        }
        ensure!(holder.running(), "it was not held for long enough to see anything");
        ensure!(holder.wait(PATIENCE)?.success(), "{}", holder.stderr());

        it.said(0, "the process does until it works again", 1, WAITS)?;
        for node in 0..2 {
            for complaint in ["no answer to probes on the direct path", "cannot"] {
                ensure!(it.logged(node, complaint)? == 0, "{}", it.daemon(node)?.proc.stderr());
            }
        }
        Ok(())
    })
    .unwrap();
}

/// Nothing arrives on the port of VXLAN.
const CUT: &str = "nft 'add table ip cut; add chain ip cut in { type filter hook input priority 0; }; \
    add rule ip cut in udp dport 6784 drop'";

/// Has everybody who asks for links wait, for [`HELD`].
fn hold_netlink(node: &Node) -> Result<Proc> {
    let holder = bin("lab-rtnl")?.into_os_string().into_string().ok().context("no text")?;
    let mut holder = node.spawn(&[&holder, "eth0", &HELD.as_secs().to_string()])?;
    holder.wait_for_line("holding", PATIENCE)?;
    Ok(holder)
}

/// Asks `EACH` times a second, whatever the answers take. How long each took.
fn ask_steadily(daemon: &Daemon, route: &str) -> Result<Vec<Duration>> {
    let watch = Stopwatch::start();
    let mut times = Vec::new();
    for turn in 0..SECONDS * EACH {
        pause((Duration::from_secs(1) * turn / EACH).saturating_sub(watch.elapsed()));
        let asked = Stopwatch::start();
        let mut stream = connect(daemon)?;
        write!(stream, "GET /v1/{route} HTTP/1.1\r\nHost: weft\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{route}: {answer}");
        times.push(asked.elapsed());
    }
    let took = watch.elapsed();
    ensure!(took < Duration::from_secs(u64::from(SECONDS) + 1), "{route}: {took:?} is no load");
    Ok(times)
}

/// The socket as the daemon has it, in its own mount namespace.
fn connect(daemon: &Daemon) -> Result<UnixStream> {
    let path = format!("/proc/{}/root/run/weft/weft.sock", daemon.proc.pid());
    let stream = UnixStream::connect(&path).with_context(|| format!("cannot connect to {path}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What switch and kernel have dropped.
fn drops(daemon: &Daemon) -> Result<Vec<(String, u64)>> {
    let report = daemon.report()?;
    let mut all = Vec::new();
    for group in ["drops", "kernel_drops"] {
        let counters = report.pointer(&format!("/counters/{group}")).and_then(Value::as_object);
        for (name, count) in counters.with_context(|| format!("no {group}"))? {
            all.push((format!("{group}/{name}"), count.as_u64().unwrap_or_default()));
        }
    }
    Ok(all.into_iter().filter(|(_, count)| *count > 0).collect())
}
