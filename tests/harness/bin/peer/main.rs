//! `lab-peer`: makes and judges traffic inside the namespaces of the lab. Says what it saw in
//! one JSON object on its last line. Every call ends: a watchdog stops what hangs.
#![expect(clippy::print_stdout, reason = "its output is how it reports")]

mod content;
mod crowd;
mod gso;
mod icmp;
mod multicast;
mod numbers;
mod raw;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

/// A call that takes longer hangs; servers are killed by the lab long before.
const WATCHDOG: Duration = Duration::from_secs(600);

const USAGE: &str = "usage: lab-peer COMMAND
  tcp-serve PORT                            one connection, hashed (PORT 0: any)
  tcp-send ADDR PORT BYTES SEED             pseudo-random octets
  tcp-crowd ADDR PORT COUNT SECONDS HOLD HEX [FROM..]  opens that many, says an octet a second on each,
                                            holds them; from these addresses in turn
  tcp-pour ADDR PORT HEX TIMES              says it all, then hears the end
  udp-echo PORT                             sends everything back
  udp-send ADDR PORT SIZE COUNT             one by one, checks the echoes
  udp-post ADDR PORT COUNT                  small datagrams, no answer wanted
  udp-count PORT SECONDS                    counts what arrives
  udp-pace ADDR PORT RATE COUNT             numbered datagrams, RATE a second, until SIGTERM
  udp-numbers SILENCE_MS PORT               says which of those arrived how, when it is silent; soon after SIGTERM
  udp-tell PORT                             says a line about each datagram
  udp-blast ADDR PORT SECONDS [PAYLOAD..]   at full rate; no PAYLOAD: random of 0 to 1472 octets
  udp-gso-send ADDR PORT SIZE COUNT RUNS SEED  runs of COUNT datagrams, one call each
  udp-collect PORT SEED                     judges those, until it is silent
  ping ADDR COUNT SIZE INTERVAL_US WAIT_MS system|never|allowed
  mcast-recv IFACE GROUP PORT SECONDS       counts datagrams, by source and duplicate
  mcast-send IFACE GROUP PORT COUNT
  raw-send IFACE COUNT PAYLOAD..            whole frames
  raw-blast IFACE SECONDS PAYLOAD..         whole frames at full rate
  raw-super IFACE PAYLOAD..                 super-frames, each after its virtio header
  mac-flood IFACE COUNT                     frames from COUNT random source MACs
PAYLOAD is HEX, HEX+N or +N: the octets, then N random ones";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let enough = numbers::Enough::of(words.first().copied())?;
    thread::spawn(watch);
    match *words.as_slice() {
        ["tcp-serve", port] => tcp::serve(port.parse()?),
        ["tcp-send", addr, port, bytes, seed] => {
            tcp::send(endpoint(addr, port)?, bytes.parse()?, seed.parse()?)
        }
        ["tcp-crowd", addr, port, count, seconds, hold, hex, ref from @ ..] => {
            let from = from.iter().map(|addr| addr.parse()).collect::<Result<Vec<_>, _>>()?;
            let times = (Duration::from_secs(seconds.parse()?), Duration::from_secs(hold.parse()?));
            crowd::Crowd { to: endpoint(addr, port)?, from, count: count.parse()?, times }.run(hex)
        }
        ["tcp-pour", addr, port, hex, times] => {
            crowd::pour(endpoint(addr, port)?, hex, times.parse()?)
        }
        ["udp-echo", port] => udp::echo(port.parse()?),
        ["udp-send", addr, port, size, count] => {
            udp::send(endpoint(addr, port)?, size.parse()?, count.parse()?)
        }
        ["udp-post", addr, port, count] => udp::post(endpoint(addr, port)?, count.parse()?),
        ["udp-count", port, seconds] => udp::count(port.parse()?, seconds.parse()?),
        ["udp-pace", addr, port, rate, count] => {
            numbers::pace(endpoint(addr, port)?, rate.parse()?, count.parse()?, &enough)
        }
        ["udp-numbers", silence, port] => {
            numbers::judge(port.parse()?, Duration::from_millis(silence.parse()?), &enough)
        }
        ["udp-tell", port] => udp::tell(port.parse()?),
        ["udp-blast", addr, port, seconds, ref payloads @ ..] => {
            udp::blast(endpoint(addr, port)?, seconds.parse()?, payloads)
        }
        ["udp-gso-send", addr, port, size, count, runs, seed] => {
            let run = (size.parse()?, count.parse()?);
            gso::send(endpoint(addr, port)?, run, runs.parse()?, seed.parse()?)
        }
        ["udp-collect", port, seed] => gso::collect(port.parse()?, seed.parse()?),
        ["ping", addr, count, size, interval, wait, fragment] => icmp::ping(&icmp::Ping {
            to: addr.parse()?,
            count: count.parse()?,
            size: size.parse()?,
            interval: Duration::from_micros(interval.parse()?),
            wait: Duration::from_millis(wait.parse()?),
            fragment: fragment.parse()?,
        }),
        ["mcast-recv", iface, group, port, seconds] => {
            multicast::receive(iface, endpoint(group, port)?, seconds.parse()?)
        }
        ["mcast-send", iface, group, port, count] => {
            multicast::send(iface, endpoint(group, port)?, count.parse()?)
        }
        ["raw-send", iface, count, ref payloads @ ..] => raw::send(iface, count.parse()?, payloads),
        ["raw-blast", iface, seconds, ref payloads @ ..] => {
            raw::blast(iface, seconds.parse()?, payloads)
        }
        ["raw-super", iface, ref payloads @ ..] => raw::send_super(iface, payloads),
        ["mac-flood", iface, count] => raw::mac_flood(iface, count.parse()?),
        _ => bail!("{USAGE}"),
    }
}

fn watch() {
    doze(WATCHDOG);
    eprintln!("lab-peer: still running after {WATCHDOG:?}");
    process::exit(3);
}

fn endpoint(addr: &str, port: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(addr.parse()?, port.parse()?))
}

/// Prints one JSON object on a line of its own.
fn report(value: &serde_json::Value) {
    println!("{value}");
}

#[expect(clippy::disallowed_methods, reason = "real traffic in real time")]
fn doze(time: Duration) {
    thread::sleep(time);
}

#[expect(clippy::disallowed_methods, reason = "real traffic in real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
