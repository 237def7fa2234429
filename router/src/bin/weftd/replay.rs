//! `weftd --replay FILE`: a journal through the core, and what it decided at each step.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use api::Timestamp;
use router::Input;
use router::journal::{Moment, replay};

use crate::words::{self, Line};

/// Runs it, and prints paths, stations and reasons over time.
#[expect(clippy::disallowed_methods, reason = "it says how long it took")]
pub(crate) fn run(file: &Path) -> anyhow::Result<()> {
    let octets = read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (mut out, mut broken) = (io::BufWriter::new(io::stdout().lock()), None);
    let begun = Instant::now();
    let outcome = replay(&octets, |moment| {
        if broken.is_none() {
            broken = print(&mut out, &moment).err();
        }
    });
    let outcome = outcome.with_context(|| format!("cannot replay {}", file.display()))?;
    let took = begun.elapsed();
    if broken.is_none() {
        broken = summary(&mut out, &outcome, took).and_then(|()| out.flush()).err();
    }
    match broken {
        // Who has read enough has read enough.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Some(error) => Err(error).context("cannot write to stdout"),
        None if outcome.differing > 0 => {
            bail!(
                "{} of {} steps came out otherwise than then: this release decides differently",
                outcome.differing,
                outcome.steps
            )
        }
        None => Ok(()),
    }
}

/// No journal is larger than the largest that can be asked for.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    const MOST: u64 = (1 << 30) + (1 << 20);
    let mut octets = Vec::new();
    File::open(file)?.take(MOST + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MOST {
        return Err(io::Error::other("it is larger than any journal"));
    }
    Ok(octets)
}

fn print(out: &mut impl Write, moment: &Moment<'_>) -> io::Result<()> {
    let when = timestamp(moment.wall);
    let mark = if moment.same { "" } else { "  (then it was something else)" };
    for input in moment.inputs {
        if let Some(text) = told(input) {
            writeln!(out, "{when}  <- {text}")?;
        }
    }
    for word in &moment.words {
        writeln!(out, "{when}  -> {}", Line(word))?;
    }
    if moment.changed || !moment.same {
        let paths =
            moment.node.paths().map(|(name, path)| format!("{name}={}", words::path(&path.chosen)));
        let paths = paths.collect::<Vec<_>>().join(" ");
        let stations = moment.node.stations().len();
        writeln!(out, "{when}  == {:016x} {stations} stations; {paths}{mark}", moment.node.hash())?;
    }
    Ok(())
}

/// What went in, in words; nothing of what goes in all the time.
fn told(input: &Input) -> Option<String> {
    Some(match input {
        Input::Peer(name, peer) => {
            let hops: Vec<_> = peer.route.iter().flatten().map(ToString::to_string).collect();
            let route = match peer.route {
                None => "no way".to_owned(),
                Some(_) if hops.is_empty() => "directly".to_owned(),
                Some(_) => format!("through {}", hops.join(", ")),
            };
            let link = if peer.neighbour { ", a neighbour" } else { "" };
            format!("{name} is {:?}{link}: {route}", peer.standing).to_lowercase()
        }
        Input::Restored(last, _) => {
            let (peers, stations) = (last.peers.len(), last.stations.len());
            format!("kept from the last run: {peers} peers, {stations} stations")
        }
        Input::PeerGone(name) => format!("{name} is gone"),
        Input::Renamed(name) => format!("we are called {name}"),
        Input::Ring(ring) => {
            let ring = ring.map_or_else(|| "none".to_owned(), |ring| format!("{ring:016x}"));
            format!("the ring of addresses that we began in: {ring}")
        }
        Input::Stations { via, message } => {
            format!("{via} tells of stations, {} octets", message.len())
        }
        Input::StateWanted(to) => format!("{to} wants to know all stations"),
        Input::Local(macs) => format!("the bridge has {} stations", macs.len()),
        Input::Learned(mac) => format!("the bridge has learned {mac}"),
        Input::Unlearned(mac) => format!("the bridge has forgotten {mac}"),
        Input::Address(mac, addr) | Input::Heard(mac, addr) => {
            format!("{mac} says that it has {addr}")
        }
        Input::Asked(mac, addr) => format!("{mac} asks who has {addr}"),
        Input::Sighting(mac) => format!("{mac} was seen here"),
        Input::Carries(name, Some(mtu)) => format!("the route to {name} carries {mtu}"),
        Input::Carries(name, None) => format!("nobody knows what the route to {name} carries"),
        Input::Fast(true) => "the kernel can carry frames".to_owned(),
        Input::Fast(false) => "the kernel cannot carry frames".to_owned(),
        Input::Probe(..) | Input::Size(..) | Input::Traffic(_) => return None,
    })
}

fn summary(
    out: &mut impl Write,
    outcome: &router::journal::Outcome,
    took: Duration,
) -> io::Result<()> {
    let router::journal::Outcome { steps, changes, differing, time } = outcome;
    writeln!(
        out,
        "{steps} steps over {:.1} s, {changes} changes, {differing} otherwise than then; replayed in {:.3} s",
        time.as_secs_f64(),
        took.as_secs_f64()
    )
}

fn timestamp(wall: Duration) -> String {
    let millis = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}
