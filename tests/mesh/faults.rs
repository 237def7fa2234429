//! What goes wrong.

use std::time::Duration;

use peer_mesh::{PeerName, Saved};

use super::conn::{Key, Phase};
use super::host::{HostId, Notice, Power};
use super::weather::Weather;
use super::world::World;

impl World {
    /// The process dies; its kernel resets what it had.
    pub fn kill(&mut self, host: HostId) {
        let conns: Vec<_> = self.host(host).conns.values().copied().collect();
        let state = self.host_mut(host);
        let unaccepted: Vec<_> = state.waiting.drain(..).collect();
        state.forget_process();
        state.power = Power::Idle;
        for (key, end) in conns {
            self.abandon(key, end);
        }
        for notice in unaccepted {
            if let Notice::Accepted(key) = notice {
                self.abandon(key, 1);
            }
        }
    }

    /// The power goes: nobody is told, and octets on their way to the host are lost.
    pub fn power_off(&mut self, host: HostId) {
        self.say(format_args!("#{} loses its power", host.0));
        let here = |end: &super::conn::End| end.host == host && end.phase != Phase::Dead;
        let conns = self.conns.iter().filter(|(_, conn)| conn.ends.iter().any(here));
        for key in conns.map(|(key, _)| *key).collect::<Vec<_>>() {
            for end in 0..2 {
                let conn = self.conns.get_mut(&key).unwrap();
                if conn.ends[end].host == host {
                    (conn.ends[end].phase, conn.ends[end].conn) = (Phase::Dead, None);
                    conn.streams[end].cut();
                }
            }
            self.reap(key);
        }
        let state = self.host_mut(host);
        state.forget_process();
        state.power = Power::Off;
        self.net.set_dark(host, true);
    }

    /// The power is back, and the process starts with what its disk holds.
    pub fn boot(&mut self, host: HostId) {
        assert_eq!(self.power(host), Power::Off);
        self.net.set_dark(host, false);
        let state = self.host_mut(host);
        (state.power, state.boot) = (Power::Idle, state.boot + 1);
        self.start(host);
    }

    /// SIGSTOP: the process stands still, its kernel does not.
    pub fn stop(&mut self, host: HostId) {
        self.say(format_args!("#{} stands still", host.0));
        assert_eq!(self.power(host), Power::Runs);
        self.host_mut(host).power = Power::Stopped;
    }

    /// SIGCONT: the process finds its timers late and its sockets full, in either order.
    pub fn resume(&mut self, host: HostId) {
        self.say(format_args!("#{} goes on", host.0));
        assert_eq!(self.power(host), Power::Stopped);
        let clock = self.clock(host);
        let state = self.host_mut(host);
        (state.power, state.timer) = (Power::Runs, None);
        if self.rng.chance(500) {
            self.host_mut(host).process.as_mut().expect("it runs").handle_timeout(clock);
            self.pump(host);
        }
        self.catch_up(host);
        self.arm(host);
    }

    /// The clock of a host leaps forward, as after it was suspended.
    pub fn jump(&mut self, host: HostId, by: Duration) {
        self.say(format_args!("#{}'s clock leaps {by:?}", host.0));
        self.host_mut(host).offset += by;
        if self.power(host) == Power::Runs {
            self.arm(host);
        }
    }

    /// A host's wall clock is wrong: it showed this when the world began, in seconds since 1970.
    pub fn set_wall_clock(&mut self, host: HostId, secs: u64) {
        self.host_mut(host).wall = secs;
    }

    /// The host leaves the mesh for good; its process ends once everybody is told.
    pub fn leave(&mut self, host: HostId) {
        self.say(format_args!("#{} leaves", host.0));
        self.request(host, |mesh, now| mesh.leave(now));
    }

    /// A host's core declares another one gone.
    pub fn remove(&mut self, host: HostId, name: PeerName) -> bool {
        self.request(host, |mesh, now| mesh.remove(name, now)).unwrap_or_default()
    }

    /// A host that does not run forgets what it stored.
    pub fn wipe(&mut self, host: HostId) {
        self.host_mut(host).disk = Saved::default();
    }

    /// Keeps an image of a host's disk.
    pub fn image(&mut self, host: HostId) {
        let state = self.host_mut(host);
        state.image = Some(state.disk.clone());
    }

    /// The disk of a host that does not run is as its image, if there is one.
    pub fn roll_back(&mut self, host: HostId) {
        let state = self.host_mut(host);
        state.disk = state.image.clone().unwrap_or_default();
    }

    /// A host that does not run gets the disk and the name of another.
    pub fn copy_disk(&mut self, from: HostId, to: HostId) {
        let (disk, config) = (self.host(from).disk.clone(), self.host(from).config.clone());
        let nickname = self.host(to).config.nickname.clone();
        let state = self.host_mut(to);
        (state.disk, state.config) = (disk, config);
        state.config.nickname = nickname;
    }

    /// Hosts reach only hosts of the same side; their connections stall.
    pub fn split(&mut self, side: impl Fn(HostId) -> u8) {
        self.say("the network splits");
        for host in self.hosts() {
            self.net.set_side(host, side(host));
        }
    }

    /// Packets from one host to the other are dropped.
    pub fn block(&mut self, from: HostId, to: HostId) {
        self.say(format_args!("#{} no longer reaches #{}", from.0, to.0));
        self.net.block(from, to);
    }

    /// Packets from one host to the other pass again.
    pub fn unblock(&mut self, from: HostId, to: HostId) {
        self.net.unblock(from, to);
    }

    /// Everybody reaches everybody that has power.
    pub fn heal(&mut self) {
        self.say("the network heals");
        self.net.heal();
    }

    /// Changes the weather.
    pub fn set_weather(&mut self, weather: Weather) {
        self.net.weather = weather;
    }

    /// Notes something in the journal.
    pub fn say(&mut self, what: impl std::fmt::Display) {
        let now = self.now;
        self.journal.note(now, what);
    }

    /// An end that no process has any more: the kernel resets it.
    pub(super) fn abandon(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        (conn.ends[end].phase, conn.ends[end].conn) = (Phase::Dead, None);
        conn.streams[end].cut();
        self.send_reset(key, 1 - end);
        self.reap(key);
    }
}
