//! How the mesh grows: what a mass start, rest, one join and one leave cost each peer.

use std::fmt;
use std::time::{Duration, Instant};

use super::host::HostId;
use super::traffic::{Cost, Sent};
use super::weather::Weather;
use super::world::World;

/// A mass start has this time.
const START: Duration = Duration::from_secs(30);
/// After it, links are tidied up: who was refused for want of room tries again after 30 s, and fewer are each time.
const TIDY: Duration = Duration::from_secs(100);
/// Rest, a join and a leave are each measured for this long.
const WINDOW: Duration = Duration::from_secs(20);

/// What was measured. Octets are payload of TCP. The cost of a join or a leave is what a peer sent
/// beyond what it sends at rest in the same time. What is sent to the peer that joins is left out:
/// the handshakes, the snapshot it pulls, and its own keepalives; so is that peer itself.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Peers.
    pub peers: usize,
    /// Virtual time from the start until all agreed.
    pub converged: Duration,
    /// Octets each peer sent until then.
    pub start: Cost,
    /// Octets a second at rest.
    pub rest: Cost,
    /// Octets for a join, and batches for each link.
    pub join: (Cost, Cost),
    /// Octets for a leave, and batches for each link.
    pub leave: (Cost, Cost),
    /// The smallest degree, and its distribution.
    pub degree: (usize, Cost),
    /// Virtual time until the one that joined was up at everybody, and until the one that left was gone.
    pub noticed: (Duration, Duration),
    /// Real time all of it took.
    pub wall: Duration,
}

/// A world of that many peers, started at once, each knowing the first and one before itself; how long
/// until they agreed.
pub fn mass_start(peers: usize, seed: u64) -> Result<(World, Duration), String> {
    let mut world = World::new(seed, Weather::CALM);
    let ids = world.add_many(peers, |number| vec![0, number / 2]);
    world.start_all(&ids);
    let took = world.settle(START)?;
    Ok((world, took))
}

/// Octets a second that each peer sends in that time.
pub fn rest(world: &mut World, time: Duration) -> Cost {
    let before = sent(world);
    world.pass(time);
    let sent = sent(world).into_iter().zip(before).map(|(now, before)| now.since(before));
    Cost::of(sent.map(|sent| float(sent.octets) / time.as_secs_f64()))
}

/// Measures a mesh of that many peers. The world is handed back for more.
pub fn grow(peers: usize, seed: u64) -> Result<(World, Growth), String> {
    #[expect(clippy::disallowed_methods, reason = "says how long the simulation takes")]
    let began = Instant::now();
    let (mut world, converged) = mass_start(peers, seed)?;
    let start = Cost::of(world.hosts().map(|host| float(world.sent(host).octets)));
    world.pass(TIDY);
    world.check()?;
    let degree = world.degrees();
    let rest = window(&mut world);
    let (join, joined) = join(&mut world, &rest)?;
    let (leave, left) = leave(&mut world, &rest)?;
    world.check()?;
    let rest = rest.iter().map(|sent| float(sent.octets) / WINDOW.as_secs_f64());
    let rest = Cost::of(rest);
    let (noticed, wall) = ((joined, left), began.elapsed());
    Ok((world, Growth { peers, converged, start, rest, join, leave, degree, noticed, wall }))
}

/// One host more, then what the others sent.
fn join(world: &mut World, rest: &[Sent]) -> Result<((Cost, Cost), Duration), String> {
    let joiner = world.add();
    world.target(joiner, HostId(0));
    world.set_aside(Some(joiner));
    let before = sent(world);
    let until = world.now() + WINDOW;
    world.start(joiner);
    let took = world.settle(WINDOW)?;
    world.pass(until - world.now());
    let cost = beyond(world, rest, &before);
    world.set_aside(None);
    Ok((cost, took))
}

/// That host leaves, and what the others sent.
fn leave(world: &mut World, rest: &[Sent]) -> Result<((Cost, Cost), Duration), String> {
    let leaver = world.hosts().last().ok_or("nobody can leave")?;
    // Let the links that the join changed come to rest.
    world.pass(WINDOW);
    let name = world.name(leaver);
    let before = sent(world);
    let until = world.now() + WINDOW;
    world.leave(leaver);
    let took = world.until(WINDOW, Duration::from_millis(20), |world| world.all_see(name, None));
    let took = took.ok_or("the peer that left is not gone everywhere")?;
    world.pass(until - world.now());
    Ok((beyond(world, rest, &before), took))
}

/// What each host sends while nothing happens.
fn window(world: &mut World) -> Vec<Sent> {
    let before = sent(world);
    world.pass(WINDOW);
    sent(world).iter().zip(before).map(|(now, before)| now.since(before)).collect()
}

fn sent(world: &World) -> Vec<Sent> {
    world.hosts().map(|host| world.sent(host)).collect()
}

/// Octets, and batches for each link, that those who were there sent since `before` beyond rest.
fn beyond(world: &World, rest: &[Sent], before: &[Sent]) -> (Cost, Cost) {
    let (mut octets, mut batches) = (Vec::new(), Vec::new());
    for (host, (rest, before)) in world.hosts().zip(rest.iter().zip(before)) {
        let sent = world.sent(host).since(*before);
        let links = world.mesh(host).map_or(1, |mesh| mesh.links().count().max(1));
        octets.push((float(sent.octets) - float(rest.octets)).max(0.0));
        batches.push((float(sent.batches) - float(rest.batches)).max(0.0) / float(links as u64));
    }
    (Cost::of(octets), Cost::of(batches))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} peers: agreed after {:?}, real {:?}",
            self.peers, self.converged, self.wall
        )?;
        writeln!(f, "  degree   least {}, {}", self.degree.0, self.degree.1)?;
        writeln!(f, "  start    octets {}", self.start)?;
        writeln!(f, "  rest     octets/s {}", self.rest)?;
        let (joined, left) = self.noticed;
        let ((octets, batches), tenths) = (self.join, 10.0);
        let round = |figure: f64| (figure * tenths).round() / tenths;
        let (max, median) = (round(batches.max), round(batches.median));
        writeln!(
            f,
            "  join     {joined:?}, octets {octets}; batches a link {max}, median {median}"
        )?;
        let (octets, batches) = self.leave;
        let (max, median) = (round(batches.max), round(batches.median));
        write!(f, "  leave    {left:?}, octets {octets}; batches a link {max}, median {median}")
    }
}
