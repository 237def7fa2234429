//! What the kernel has for a process: new connections, octets, ends.

use std::time::Duration;

use super::conn::{Key, Phase};
use super::host::{HostId, Notice, Power};
use super::world::World;

impl World {
    /// The head of a stream is due at the other end.
    pub(super) fn arrival(&mut self, key: Key, from: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        conn.streams[from].awaited = false;
        let (sender, receiver) = conn.hosts(from);
        let known = conn.ends[1 - from].phase != Phase::Dead;
        let back = self.net.passes(receiver, sender);
        if !self.net.passes(sender, receiver) || (!known && !back) {
            return self.retry(key, from);
        }
        let stream = &mut self.conns.get_mut(&key).unwrap().streams[from];
        stream.tries = 0;
        if !known {
            stream.cut();
            return self.send_reset(key, from);
        }
        if back {
            stream.arrived(0, true);
        }
        self.deliver(key, from, back);
        self.flush_and_tell(key, from);
        let Some(conn) = self.conns.get(&key) else { return };
        if conn.streams[from].unacknowledged > 0 && conn.streams[from].segments.is_empty() {
            self.retry(key, from);
        }
    }

    /// Hands over what is due, until the process or its window says stop.
    fn deliver(&mut self, key: Key, from: usize, back: bool) {
        let to = 1 - from;
        while let Some((octets, fin)) = self.due(key, from) {
            let Some(conn) = self.conns.get_mut(&key) else { return };
            let (host, phase) = (conn.ends[to].host, conn.ends[to].phase);
            conn.streams[from].arrived(octets.len(), back);
            match (phase, self.host(host).power) {
                (Phase::Open, Power::Runs) => self.give(key, to, &octets),
                (Phase::Open, _) if !octets.is_empty() => {
                    let stream = &mut self.conns.get_mut(&key).unwrap().streams[from];
                    if stream.keep(&octets) {
                        self.notify(host, Notice::Readable(key, to));
                    }
                }
                _ => {}
            }
            if fin {
                return self.finish(key, to);
            }
        }
        if self.conns.contains_key(&key) && self.window_open(key, from) {
            self.await_arrival(key, from);
        }
    }

    /// The head of the stream, if it is due and there is room for it; whole, in part, or with the
    /// next, as the weather is.
    fn due(&mut self, key: Key, from: usize) -> Option<(Vec<u8>, bool)> {
        if !self.window_open(key, from) {
            return None;
        }
        let (now, chop) = (self.now, self.net.weather.chop);
        let stream = &mut self.conns.get_mut(&key)?.streams[from];
        let head = stream.segments.front_mut().filter(|head| head.at <= now)?;
        if chop > 0 && head.octets.len() > 1 && self.rng.chance(chop) {
            let cut = usize::try_from(self.rng.within(1..=head.octets.len() as u64 - 1)).ok()?;
            let rest = head.octets.split_off(cut);
            let part = std::mem::replace(&mut head.octets, rest);
            head.at = now + Duration::from_micros(self.rng.within(0..=2_000));
            return Some((part, false));
        }
        let head = stream.segments.pop_front()?;
        let (mut octets, mut fin) = (head.octets, head.fin);
        if chop > 0 && self.rng.chance(chop) {
            while let Some(next) = stream.segments.pop_front_if(|next| next.at <= now) {
                octets.extend(next.octets);
                fin |= next.fin;
            }
        }
        Some((octets, fin))
    }

    fn window_open(&self, key: Key, from: usize) -> bool {
        let Some(conn) = self.conns.get(&key) else { return false };
        let head = conn.streams[from].segments.front();
        head.is_none_or(|head| conn.streams[from].has_room(head.octets.len()))
    }

    fn give(&mut self, key: Key, to: usize, octets: &[u8]) {
        let end = &self.conns[&key].ends[to];
        let (host, Some(name), false) = (end.host, end.conn, octets.is_empty()) else { return };
        let clock = self.clock(host);
        self.host_mut(host).process.as_mut().expect("it runs").handle_bytes(name, octets, clock);
        self.pump(host);
    }

    /// The other end has closed: the process is told, and closes too.
    fn finish(&mut self, key: Key, to: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let (host, phase) = (conn.ends[to].host, conn.ends[to].phase);
        conn.ends[to].phase = Phase::Dead;
        match phase {
            Phase::Open => self.notify(host, Notice::Closed(key, to, "closed by the peer")),
            Phase::Opening | Phase::Lingering | Phase::Dead => self.reap(key),
        }
    }

    /// There may be room again in the sender's kernel.
    fn flush_and_tell(&mut self, key: Key, from: usize) {
        let Some(conn) = self.conns.get(&key) else { return };
        let host = conn.ends[from].host;
        let lingers = conn.ends[from].phase == Phase::Lingering;
        if !conn.streams[from].unsent.is_empty() && (lingers || self.power(host) == Power::Runs) {
            self.flush(key, from);
            self.pump(host);
        }
    }

    /// Tells a process, now or when it runs again.
    pub(super) fn notify(&mut self, host: HostId, notice: Notice) {
        match self.host(host).power {
            Power::Runs => self.handle(host, notice),
            Power::Stopped => self.host_mut(host).waiting.push_back(notice),
            Power::Idle | Power::Off => {
                if let Notice::Accepted(key) = notice {
                    self.abandon(key, 1);
                }
            }
        }
    }

    /// What the kernel has collected while a process stood still.
    pub(super) fn catch_up(&mut self, host: HostId) {
        while let Some(notice) = self.host_mut(host).waiting.pop_front() {
            self.handle(host, notice);
        }
        let conns: Vec<_> = self.host(host).conns.values().copied().collect();
        for (key, end) in conns {
            self.flush_and_tell(key, end);
        }
    }

    fn handle(&mut self, host: HostId, notice: Notice) {
        match notice {
            Notice::Accepted(key) => self.handle_accepted(host, key),
            Notice::Readable(key, end) => {
                let Some(conn) = self.conns.get_mut(&key) else { return };
                let octets = conn.streams[1 - end].read();
                self.give(key, end, &octets);
                if self.conns.contains_key(&key) {
                    self.await_arrival(key, 1 - end);
                }
            }
            Notice::Connected(key) => {
                let Some(end) = self.conns.get(&key).map(|conn| &conn.ends[0]) else { return };
                let (name, local, clock) = (end.conn, end.local, self.clock(host));
                let process = self.host_mut(host).process.as_mut().expect("it runs");
                if let Some(name) = name {
                    process.handle_connected(name, local, clock);
                }
            }
            Notice::DialFailed(key, why) => {
                let Some(name) = self.forget(host, key, 0) else { return };
                let clock = self.clock(host);
                let process = self.host_mut(host).process.as_mut().expect("it runs");
                process.handle_dial_failed(name, why, clock);
            }
            Notice::Closed(key, end, why) => {
                let Some(name) = self.forget(host, key, end) else { return };
                let clock = self.clock(host);
                let process = self.host_mut(host).process.as_mut().expect("it runs");
                process.handle_closed(name, why, clock);
            }
        }
        self.pump(host);
    }

    fn handle_accepted(&mut self, host: HostId, key: Key) {
        let clock = self.clock(host);
        let Some(end) = self.conns.get(&key).map(|conn| &conn.ends[1]) else { return };
        let (local, remote, open) = (end.local, end.remote, end.phase == Phase::Open);
        let process = self.host_mut(host).process.as_mut().filter(|_| open);
        let Some(process) = process else { return };
        let name = process.handle_accepted(local, remote, clock);
        let end = &mut self.conns.get_mut(&key).unwrap().ends[1];
        end.conn = name;
        if let Some(name) = name {
            let before = self.host_mut(host).conns.insert(name, (key, 1));
            assert!(before.is_none(), "#{}: {name:?} is used twice", host.0);
        } else {
            end.phase = Phase::Dead;
            self.send_reset(key, 0);
        }
    }

    /// The process knows the connection no longer. What it called it.
    fn forget(&mut self, host: HostId, key: Key, end: usize) -> Option<peer_mesh::ConnId> {
        let state = &mut self.conns.get_mut(&key)?.ends[end];
        state.phase = Phase::Dead;
        let name = state.conn.take();
        if let Some(name) = name {
            self.host_mut(host).conns.remove(&name);
        }
        self.reap(key);
        name
    }
}
