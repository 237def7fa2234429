//! What there is to see of stations and counters, of real daemons.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weftd::{Daemon, all_ping, text};
use weft_tests::harness::{Cluster, Lab, Pod, Stopwatch, beside, cut, wait_until};

/// How long stations and paths may take to be told.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn where_stations_are_and_what_is_counted_is_told_by_weft_fdb_and_for_prometheus() {
    let _turn = beside().unwrap();
    Lab::with("seen", |lab| {
        let Cluster { nodes, daemons, pods } = Cluster::<2>::new(lab, &["--fastpath", "off"])?;
        let [a, b] = &daemons[..] else { anyhow::bail!("two daemons") };

        station_is_told(a, &pods[0], a)?;
        station_is_told(a, &pods[1], b)?;
        station_is_told(b, &pods[0], a)?;
        wait_until(SOON, "the line in use is up", || {
            let line = a.ask("status paths").and_then(|it| text(&it, "/paths/0/lines/user"));
            line.is_ok_and(|line| line == "up")
        })?;
        println!("{}{}", a.weft("status paths")?, a.weft("fdb")?);

        let before = scrape(a)?;
        all_ping(&pods, 50)?;
        let after = scrape(a)?;
        let sent = format!("weft_peer_sent_frames_total{{peer=\"{}\"}}", b.name());
        let (before, now) = (value(&before, &sent)?, value(&after, &sent)?);
        println!("{sent} was {before} and is {now}; {} lines", after.lines().count());
        ensure!(now >= before + 100.0, "{before} {now}");
        let links = "weave_connections{state=\"established\",type=\"user\",encryption=\"\"}";
        ensure!(value(&after, links)? == 1.0, "{after}");
        ensure!(value(&after, "weave_connection_terminations_total")? == 0.0, "{after}");

        // Unplugged, the station is nowhere; the other node cut off, the link has ended.
        nodes[1].run(&["ip", "link", "set", &pods[1].host_if(), "nomaster"])?;
        let watch = Stopwatch::start();
        wait_until(SOON, "the station is gone", || {
            a.weft(&format!("fdb {}", pods[1].mac())).is_err()
        })?;
        println!("a station that is unplugged is told no longer after {:?}", watch.elapsed());
        cut(&nodes[0], &nodes[1])?;
        cut(&nodes[1], &nodes[0])?;
        wait_until(Duration::from_secs(20), "the end of the link is counted", || {
            let ended = scrape(a).and_then(|it| value(&it, "weave_connection_terminations_total"));
            ended.is_ok_and(|ended| ended >= 1.0)
        })
    })
    .unwrap();
}

/// A daemon tells where a pod is, whichever way it is asked for.
fn station_is_told(daemon: &Daemon, pod: &Pod, owner: &Daemon) -> Result<()> {
    let (mac, addr, here) = (pod.mac(), pod.addr().to_string(), daemon.name() == owner.name());
    let found = |wanted: &str| -> Result<Value> {
        let told = daemon.ask(&format!("fdb {wanted}"))?;
        let all = told.get("stations").and_then(Value::as_array).context("no stations")?;
        let it = all.iter().find(|it| text(it, "/mac").is_ok_and(|it| it == mac));
        Ok(it.with_context(|| format!("no {mac} in {told}"))?.clone())
    };
    let path = if here { None } else { Some("user") };
    wait_until(SOON, "the station is told with its address and path", || {
        let path_of = |it: &Value| it.get("path").and_then(Value::as_str) == path;
        found(&addr).is_ok_and(|it| path_of(&it))
    })?;
    let station = found(mac)?;
    for wanted in [owner.name(), owner.node().name(), &addr] {
        ensure!(text(&found(wanted)?, "/peer/name")? == owner.name(), "{station}");
    }
    ensure!(station.get("here") == Some(&here.into()), "{station}");
    ensure!(station.get("since").is_some_and(Value::is_string), "{station}");
    Ok(())
}

/// What Prometheus reads, over TCP.
fn scrape(daemon: &Daemon) -> Result<String> {
    let ask = "exec 3<>/dev/tcp/127.0.0.1/6784; printf 'GET /metrics HTTP/1.1\\r\\nHost: w\\r\\n\\r\\n' >&3; cat <&3";
    let said = daemon.node().run(&["bash", "-c", ask])?;
    let (head, body) = said.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains("200 OK") && head.contains("version=0.0.4"), "{head}");
    Ok(body.to_owned())
}

/// A number by its name and labels, as they are written.
fn value(metrics: &str, of: &str) -> Result<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(of)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {of} in {metrics}"))?.parse()?)
}
