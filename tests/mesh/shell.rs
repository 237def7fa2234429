//! What a process's shell and its kernel do: performing outputs, timers, and the life of connections.

use std::net::SocketAddr;
use std::time::Duration;

use peer_mesh::{Config, ConnId, Event, Output};

use super::conn::{Conn, End, Key, NOBODY, Phase, Segment};
use super::host::{HostId, Notice, Power};
use super::weather::{RTO, RTO_MAX};
use super::world::{Happening, World};

/// A dial is given up after this time.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// What was written before a close has this time to get out.
const LINGER: Duration = Duration::from_secs(1);
/// A kernel gives a connection up after so many retransmissions (Linux, tcp_retries2).
const RETRIES: u32 = 15;
/// Timeouts at one moment after which a core is taken to spin.
const SPINS: u32 = 1_000;

impl World {
    /// Performs what a process wants until it wants nothing more.
    pub(super) fn pump(&mut self, host: HostId) {
        loop {
            let process = self.host_mut(host).process.as_mut();
            let Some(output) = process.and_then(|process| process.poll_output()) else { break };
            self.perform(host, output);
        }
        if self.host(host).process.as_ref().is_some_and(|process| process.is_stopped()) {
            self.exit(host);
        }
        self.arm(host);
    }

    fn perform(&mut self, host: HostId, output: Output) {
        let now = self.now;
        self.journal.output(now, host, &output);
        match output {
            Output::Dial { conn, addr } => self.dial(host, conn, addr),
            Output::Send { conn, octets } => self.write(host, conn, &octets),
            Output::Close { conn } => self.close(host, conn),
            Output::Event(event) => self.hear(host, &event),
        }
    }

    fn hear(&mut self, host: HostId, event: &Event) {
        let now = self.now;
        self.host_mut(host).hear(event, now);
        if matches!(event, Event::Save | Event::Renamed { .. })
            && let Some((saved, name)) = self.mesh(host).map(|mesh| (mesh.saved(), mesh.name()))
        {
            let state = self.host_mut(host);
            state.disk = saved;
            state.config.name = name;
        }
    }

    /// A process that has stopped ends; what it closed lingers.
    fn exit(&mut self, host: HostId) {
        let now = self.now;
        self.journal.note(now, format_args!("#{} exits", host.0));
        self.kill(host);
    }

    /// Sets the timer to what the core names. An earlier one that is set fires in vain and is set again.
    pub(super) fn arm(&mut self, host: HostId) {
        let (now, lag) = (self.now, self.net.weather.lag(&mut self.rng));
        let state = self.host_mut(host);
        let Some(due) = state.process.as_ref().and_then(|process| process.poll_timeout()) else {
            return;
        };
        let at = due.saturating_sub(state.offset).max(now) + lag;
        if state.timer.is_none_or(|set| at < set) {
            state.timer = Some(at);
            let life = state.life;
            self.queue(at, Happening::Timer { host, life });
        }
    }

    pub(super) fn timer(&mut self, host: HostId, life: u32) {
        let (clock, now) = (self.clock(host), self.now);
        let state = self.host_mut(host);
        if state.life != life || state.timer != Some(now) || state.power != Power::Runs {
            return;
        }
        state.timer = None;
        let Some(process) = state.process.as_mut() else { return };
        if process.poll_timeout().is_some_and(|due| due <= clock) {
            process.handle_timeout(clock);
            let again = process.poll_timeout().is_some_and(|due| due <= clock);
            state.spins = if again { state.spins + 1 } else { 0 };
            assert!(state.spins < SPINS, "#{}: poll_timeout stays in the past", host.0);
            self.pump(host);
        } else {
            self.arm(host);
        }
    }

    fn dial(&mut self, host: HostId, conn: ConnId, addr: SocketAddr) {
        let port = self.host_mut(host).next_port();
        let place = self.host(host).place;
        let to = self.net.resolve(place.site, addr).unwrap_or(NOBODY);
        let local = (place.addr, port).into();
        let seen_as = match to != NOBODY && self.host(to).place.site == place.site {
            true => local,
            false => (place.seen_as, port).into(),
        };
        let mut dialler = End::new(host, local, addr);
        dialler.conn = Some(conn);
        self.opened += 1;
        let key = self.opened;
        self.conns.insert(key, Conn::new(dialler, End::new(to, addr, seen_as)));
        let before = self.host_mut(host).conns.insert(conn, (key, 0));
        assert!(before.is_none(), "#{}: {conn:?} is used twice", host.0);
        let delay = if to == NOBODY { RTO } else { self.net.delay(host, to, &mut self.rng) };
        self.queue(self.now + delay, Happening::Syn { key, attempt: 0 });
        self.queue(self.now + DIAL_TIMEOUT, Happening::DialTimeout { key });
    }

    pub(super) fn syn(&mut self, key: Key, attempt: u32) {
        let Some(conn) = self.conns.get(&key) else { return };
        let ((from, to), port) = (conn.hosts(0), conn.ends[1].local.port());
        if conn.ends.iter().any(|end| end.phase != Phase::Opening) {
            return;
        }
        if to == NOBODY || !self.net.passes(from, to) || !self.net.passes(to, from) {
            let again = self.now + Duration::from_secs(1 << attempt.min(4));
            return self.queue(again, Happening::Syn { key, attempt: attempt + 1 });
        }
        let back = self.now + self.net.delay(to, from, &mut self.rng);
        let listens = self.host(to).process.is_some() && port == Config::PORT;
        if !listens {
            return self.queue(back, Happening::Refused { key });
        }
        let there = back + self.net.delay(from, to, &mut self.rng);
        let conn = self.conns.get_mut(&key).unwrap();
        conn.ends[1].phase = Phase::Open;
        conn.streams[0].not_before(there);
        conn.streams[1].not_before(back);
        self.queue(back, Happening::Established { key });
        self.queue(there, Happening::Accepted { key });
    }

    pub(super) fn dial_failed(&mut self, key: Key, why: &'static str) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if conn.ends[0].phase == Phase::Opening {
            conn.ends[0].phase = Phase::Dead;
            let host = conn.ends[0].host;
            self.notify(host, Notice::DialFailed(key, why));
        }
    }

    pub(super) fn established(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if conn.ends[0].phase == Phase::Opening {
            conn.ends[0].phase = Phase::Open;
            let host = conn.ends[0].host;
            self.notify(host, Notice::Connected(key));
        } else {
            self.send_reset(key, 1);
        }
    }

    pub(super) fn accepted(&mut self, key: Key) {
        let Some(conn) = self.conns.get(&key) else { return };
        if conn.ends[1].phase == Phase::Open {
            self.notify(conn.ends[1].host, Notice::Accepted(key));
        }
    }

    /// Writes for a process, as far as its kernel takes it.
    fn write(&mut self, host: HostId, conn: ConnId, octets: &[u8]) {
        let known = self.host(host).conns.get(&conn).copied();
        let (key, end) = known.unwrap_or_else(|| panic!("#{}: sends on unknown {conn:?}", host.0));
        if self.aside.is_none() || self.aside != Some(self.conns[&key].hosts(end).1) {
            let state = self.host_mut(host);
            state.sent.octets += octets.len() as u64;
            state.sent.batches += 1;
        }
        let stream = &mut self.conns.get_mut(&key).unwrap().streams[end];
        assert!(!octets.is_empty(), "#{}: sends nothing", host.0);
        stream.unsent.extend(octets);
        self.flush(key, end);
    }

    /// Moves octets from the process to the network as far as there is room, and tells the process.
    pub(super) fn flush(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let (from, to) = conn.hosts(end);
        let (phase, name) = (conn.ends[end].phase, conn.ends[end].conn);
        if phase != Phase::Lingering
            && (phase != Phase::Open || self.host(from).power != Power::Runs)
        {
            return;
        }
        let conn = self.conns.get_mut(&key).unwrap();
        let taken = conn.streams[end].take();
        let done = conn.streams[end].closing && conn.streams[end].unsent.is_empty();
        let count = taken.len();
        if count > 0 {
            let at = self.now + self.net.delay(from, to, &mut self.rng);
            let at = at + self.net.weather.serialise(count);
            self.transmit(key, end, Segment { at, octets: taken, fin: false });
        }
        if done {
            let at = self.now + self.net.delay(from, to, &mut self.rng);
            self.transmit(key, end, Segment { at, octets: Vec::new(), fin: true });
        }
        if let (Some(name), true) = (name, count > 0) {
            let clock = self.clock(from);
            let process = self.host_mut(from).process.as_mut();
            process.expect("it runs").handle_written(name, count, clock);
        }
    }

    fn transmit(&mut self, key: Key, end: usize, segment: Segment) {
        let stream = &mut self.conns.get_mut(&key).unwrap().streams[end];
        stream.closing &= !segment.fin;
        stream.push(segment);
        self.await_arrival(key, end);
    }

    pub(super) fn await_arrival(&mut self, key: Key, from: usize) {
        let stream = &mut self.conns.get_mut(&key).unwrap().streams[from];
        if let (Some(head), false) = (stream.segments.front(), stream.awaited) {
            let at = head.at.max(self.now);
            stream.awaited = true;
            self.queue(at, Happening::Arrival { key, from });
        }
    }

    /// Nothing gets through now: once more, later, unless nobody is there to try.
    pub(super) fn retry(&mut self, key: Key, from: usize) {
        let conn = self.conns.get_mut(&key).unwrap();
        let (end, stream) = (&conn.ends[from], &mut conn.streams[from]);
        stream.tries += 1;
        if end.phase == Phase::Dead {
            stream.cut();
        } else if stream.tries > RETRIES {
            let host = end.host;
            conn.ends[from].phase = Phase::Dead;
            self.notify(host, Notice::Closed(key, from, "timed out"));
        } else {
            stream.awaited = true;
            let wait = (RTO * (1 << stream.tries.min(12))).min(RTO_MAX);
            self.queue(self.now + wait, Happening::Arrival { key, from });
        }
    }

    /// The process closes: gently if it can within a second.
    fn close(&mut self, host: HostId, conn: ConnId) {
        let Some((key, end)) = self.host_mut(host).conns.remove(&conn) else { return };
        let state = self.conns.get_mut(&key).unwrap();
        state.ends[end].conn = None;
        match state.ends[end].phase {
            Phase::Opening => state.ends[end].phase = Phase::Dead,
            Phase::Open => {
                state.ends[end].phase = Phase::Lingering;
                state.streams[end].closing = true;
                self.queue(self.now + LINGER, Happening::Linger { key, end });
                self.flush(key, end);
            }
            Phase::Lingering | Phase::Dead => {}
        }
        self.reap(key);
    }

    pub(super) fn lingered(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if conn.ends[end].phase == Phase::Lingering {
            conn.ends[end].phase = Phase::Dead;
            if !conn.streams[end].unsent.is_empty() {
                conn.streams[end].unsent.clear();
                self.send_reset(key, 1 - end);
            }
            self.reap(key);
        }
    }

    /// Tells the other end that there is no such connection, if it can be told.
    pub(super) fn send_reset(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get(&key) else { return };
        let (to, from) = conn.hosts(end);
        if to != NOBODY && from != NOBODY && self.net.passes(from, to) {
            let at = self.now + self.net.delay(from, to, &mut self.rng);
            self.queue(at, Happening::Reset { key, end });
        }
    }

    pub(super) fn reset(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let (host, phase) = (conn.ends[end].host, conn.ends[end].phase);
        conn.ends[end].phase = Phase::Dead;
        conn.streams[end].cut();
        match phase {
            Phase::Opening => self.notify(host, Notice::DialFailed(key, "connection refused")),
            Phase::Open => self.notify(host, Notice::Closed(key, end, "connection reset by peer")),
            Phase::Lingering | Phase::Dead => self.reap(key),
        }
    }

    /// Forgets a connection that both ends have forgotten.
    pub(super) fn reap(&mut self, key: Key) {
        let over = |conn: &Conn| {
            let forgotten = |end: &End| end.phase == Phase::Dead && end.conn.is_none();
            let nobody = |end: &End| end.host == NOBODY || end.phase == Phase::Opening;
            forgotten(&conn.ends[0]) && (forgotten(&conn.ends[1]) || nobody(&conn.ends[1]))
        };
        if self.conns.get(&key).is_some_and(over) {
            self.conns.remove(&key);
        }
    }
}
