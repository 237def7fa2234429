//! The control loop: one task that owns the core and is its whole world.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep_until, timeout};

use super::conn::{self, FLUSH, Line};
use super::gate::{Admission, Gate};
use super::givers::{Givers, HostPort};
use super::input::{Audience, Clock, Input, Inputs, NotFound, Request, Say};
use super::keeper::Keeper;
use super::listener::{canonical, refuse};
use super::notice::Teller;
use super::resolve::{Endpoint, Follower};
use super::snapshot::{Recent, ShellStats, Snapshot};
use crate::{ConnId, Event, Mesh, Output};

/// Inputs taken before timers get their turn: 32 x 16 KiB are sealed or opened in a few milliseconds.
const BATCH: usize = 32;
/// Octets that may wait for one socket. The core hands out a window of 256 KiB and what closes a
/// connection; more than this is a defect of ours, and costs the connection and not the memory.
const UNSENT: usize = 2 << 20;
/// The loop turns at least this often, whatever the core asks for: to tell of lost events, and to let go
/// of tasks that have ended.
const IDLE: Duration = Duration::from_secs(1);

/// The loop's state. Dropping it ends all connections at once.
pub(super) struct Control {
    pub(super) mesh: Mesh,
    pub(super) clock: Clock,
    /// For the connections' tasks.
    pub(super) inputs: Inputs,
    pub(super) gate: Arc<Gate>,
    pub(super) keeper: Keeper,
    pub(super) teller: Teller,
    pub(super) givers: Givers,
    pub(super) recent: Arc<Recent>,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    /// Connections and dials, also those that the core knows no longer.
    pub(super) tasks: JoinSet<()>,
    pub(super) overruns: u64,
    pub(super) leavers: Vec<oneshot::Sender<()>>,
}

/// A connection that the core knows.
#[derive(Debug)]
pub(super) enum Conn {
    Dialling(AbortHandle),
    Open {
        line: Line,
        /// Octets given to the task and not written yet.
        unsent: usize,
        remote: SocketAddr,
        /// For one that came in.
        admission: Option<Arc<Admission>>,
    },
}

impl Control {
    /// Runs until the mesh has stopped. `services` (listeners) end first, and so do look-ups.
    pub(super) async fn run(mut self, mut queued: mpsc::Receiver<Input>, services: JoinSet<()>) {
        let mut batch = Vec::with_capacity(BATCH);
        self.perform().await;
        while !self.mesh.is_stopped() {
            let wake_up = self.clock.at(self.wake_up());
            tokio::select! {
                biased;
                _ = queued.recv_many(&mut batch, BATCH) => {}
                () = sleep_until(wake_up) => {}
            }
            self.turn(&mut batch).await;
        }
        drop(services);
        self.givers = Givers::default();
        self.wind_down(queued).await;
    }

    /// Everything's turn after some inputs came or time has passed.
    async fn turn(&mut self, batch: &mut Vec<Input>) {
        for input in batch.drain(..) {
            self.handle(input);
            self.perform().await;
        }
        let now = self.clock.now();
        // After the inputs: what was heard while we slept too long counts as heard.
        if self.mesh.poll_timeout().is_some_and(|due| due <= now) {
            self.mesh.handle_timeout(now);
            self.perform().await;
        }
        self.keeper.turn(now).await;
        self.teller.tell_lost();
        // In every turn: while inputs keep coming nothing else is ever waited for.
        while let Some(ended) = self.tasks.try_join_next() {
            report(ended);
        }
    }

    fn wake_up(&self) -> Duration {
        let idle = self.clock.now() + IDLE;
        [self.mesh.poll_timeout(), self.keeper.due()]
            .into_iter()
            .flatten()
            .fold(idle, Duration::min)
    }

    fn handle(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Accepted { stream, remote, admission } => {
                self.accepted(stream, remote, admission)
            }
            Input::Connected { conn, stream } => self.connected(conn, stream),
            Input::DialFailed { conn, why } => {
                if self.conns.remove(&conn).is_some() {
                    self.mesh.handle_dial_failed(conn, &why, now);
                }
            }
            Input::Bytes { conn, octets } => {
                // What came before the task knew that the core had closed.
                if self.conns.contains_key(&conn) {
                    self.mesh.handle_bytes(conn, &octets, now);
                }
            }
            Input::Written { conn, octets } => {
                if let Some(Conn::Open { unsent, .. }) = self.conns.get_mut(&conn) {
                    *unsent = unsent.saturating_sub(octets);
                    self.mesh.handle_written(conn, octets, now);
                }
            }
            Input::Closed { conn, why } => {
                if self.conns.remove(&conn).is_some() {
                    self.mesh.handle_closed(conn, &why, now);
                }
            }
            Input::Found { name, found } => self.found(&name, found),
            Input::Request(request) => self.request(request),
        }
    }

    fn accepted(&mut self, stream: TcpStream, remote: SocketAddr, admission: Admission) {
        let now = self.clock.now();
        // It may have been reset while it waited.
        let Ok(local) = stream.local_addr().map(canonical) else { return };
        let Some(conn) = self.mesh.handle_accepted(local, remote, now) else {
            self.gate.count_core_refusal();
            refuse(stream);
            return;
        };
        self.serve(conn, stream, remote, Some(Arc::new(admission)));
    }

    fn connected(&mut self, conn: ConnId, stream: TcpStream) {
        // The core may have closed it while it was under way.
        if !matches!(self.conns.get(&conn), Some(Conn::Dialling(_))) {
            return;
        }
        let now = self.clock.now();
        match (stream.local_addr(), stream.peer_addr()) {
            (Ok(local), Ok(remote)) => {
                self.serve(conn, stream, canonical(remote), None);
                self.mesh.handle_connected(conn, canonical(local), now);
            }
            (Err(error), _) | (_, Err(error)) => {
                self.conns.remove(&conn);
                self.mesh.handle_dial_failed(conn, &error.to_string(), now);
            }
        }
    }

    fn serve(
        &mut self,
        conn: ConnId,
        stream: TcpStream,
        remote: SocketAddr,
        admission: Option<Arc<Admission>>,
    ) {
        let (line, orders) = conn::line();
        let inputs = self.inputs.clone();
        self.tasks.spawn(conn::serve(conn, stream, orders, inputs, admission.clone()));
        self.conns.insert(conn, Conn::Open { line, unsent: 0, remote, admission });
    }

    /// Does what the core asks for, until it asks for nothing.
    async fn perform(&mut self) {
        while let Some(output) = self.mesh.poll_output() {
            match output {
                Output::Dial { conn, addr } => {
                    let task = self.tasks.spawn(conn::dial(conn, addr, self.inputs.clone()));
                    self.conns.insert(conn, Conn::Dialling(task));
                }
                Output::Send { conn, octets } => self.send(conn, octets),
                Output::Close { conn } => self.close(conn),
                Output::Event(Event::Save) => {
                    let (name, saved) = (self.mesh.name(), self.mesh.saved());
                    self.keeper.note(name, saved, self.clock.now()).await;
                }
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn send(&mut self, conn: ConnId, octets: Vec<u8>) {
        let Some(Conn::Open { line, unsent, .. }) = self.conns.get_mut(&conn) else { return };
        *unsent += octets.len();
        if *unsent <= UNSENT {
            line.send(octets);
            return;
        }
        self.overruns += 1;
        tracing::warn!(?conn, unsent, "cut: more waits to be written than a connection may have");
        self.conns.remove(&conn);
        self.mesh.handle_closed(conn, "too much waits to be written", self.clock.now());
    }

    fn close(&mut self, conn: ConnId) {
        match self.conns.remove(&conn) {
            Some(Conn::Dialling(task)) => task.abort(),
            // Its line is dropped here: the task flushes and ends.
            Some(Conn::Open { .. }) | None => {}
        }
    }

    fn event(&mut self, event: Event) {
        if let Event::LinkUp { addr, outbound: false, .. } = event {
            let came_in = self.conns.values().filter_map(|conn| match conn {
                Conn::Open { remote, admission, .. } if *remote == addr => admission.as_ref(),
                Conn::Open { .. } | Conn::Dialling(_) => None,
            });
            came_in.for_each(|admission| admission.finish());
        }
        self.teller.tell(event);
    }

    fn request(&mut self, request: Request) {
        let now = self.clock.now();
        // Who asks and does not wait for the answer is not told.
        match request {
            Request::Connect(peer, reply) => drop(reply.send(self.connect(peer, now))),
            Request::Replace(peers, reply) => drop(reply.send(self.replace(peers, now))),
            Request::Forget(peer) => self.forget(peer, now),
            Request::Leave(done) => {
                self.mesh.leave(now);
                self.leavers.push(done);
            }
            Request::Remove(name, reply) => drop(reply.send(self.mesh.remove(name, now))),
            Request::DataPath(name, direct) => self.mesh.handle_data_path(name, direct, now),
            Request::Nickname(nickname) => self.mesh.set_nickname(nickname, now),
            Request::Labels(labels) => self.mesh.set_labels(labels, now),
            Request::Leases(leases) => self.mesh.set_leases(leases, now),
            Request::DataRoutes(reply) => drop(reply.send(self.mesh.data_routes())),
            Request::Join(channel, reply) => drop(reply.send(self.mesh.join(channel))),
            Request::SetDigest(channel, digest) => self.mesh.set_digest(&channel, digest),
            Request::Say(say, reply) => drop(reply.send(self.say(&say, now))),
            Request::Snapshot(reply) => drop(reply.send(self.snapshot(now))),
            Request::Recent(reply) => {
                // Of many who ask while there is none, the first has one made for all.
                let recent = self.recent.get().unwrap_or_else(|| self.snapshot(now));
                drop(reply.send(recent));
            }
        }
    }

    pub(super) fn connect(&mut self, peer: Endpoint, now: Duration) -> bool {
        match peer {
            Endpoint::Addr(addr) => {
                let room = self.mesh.connect(addr, now);
                if room {
                    self.givers.give(addr);
                }
                room
            }
            Endpoint::Name { host, port } => {
                let (name, inputs) = ((host, port), self.inputs.clone());
                let room = self.givers.has_room_for(&name);
                if room {
                    self.givers.follow(name.clone(), || Follower::start(name, inputs));
                }
                room
            }
        }
    }

    fn replace(&mut self, peers: Vec<Endpoint>, now: Duration) -> bool {
        // First, so that the new ones find room.
        for addr in self.givers.keep(&peers) {
            self.mesh.ungive(addr);
        }
        let refused = peers.into_iter().filter(|peer| !self.connect(peer.clone(), now));
        refused.count() == 0
    }

    fn forget(&mut self, peer: Endpoint, now: Duration) {
        match peer {
            Endpoint::Addr(addr) => {
                self.givers.forget(addr);
                self.mesh.forget(addr, now);
            }
            Endpoint::Name { host, port } => {
                for addr in self.givers.forget_name(&(host, port)) {
                    self.mesh.forget(addr, now);
                }
            }
        }
    }

    fn found(&mut self, name: &HostPort, found: Result<Vec<SocketAddr>, NotFound>) {
        let now = self.clock.now();
        let found = match found {
            Ok(found) => found,
            Err(NotFound { why, again }) => return self.givers.failed(name, why, now + again),
        };
        let changes = self.givers.learn(name, &found);
        for addr in changes.ungive {
            self.mesh.ungive(addr);
        }
        for addr in changes.give {
            if !self.mesh.connect(addr, now) {
                self.givers.refused(name, addr);
            }
        }
    }

    fn say(&mut self, say: &Say, now: Duration) -> bool {
        let (channel, octets) = (&say.channel, say.octets.as_slice());
        match say.to {
            Audience::Neighbours { except } => self.mesh.broadcast(channel, octets, except, now),
            Audience::Neighbour(to) => self.mesh.broadcast_to(channel, to, octets, now),
            Audience::Peer(to) => self.mesh.send(channel, to, octets, now),
        }
    }

    fn snapshot(&self, now: Duration) -> Arc<Snapshot> {
        let shell = ShellStats {
            refused: self.gate.refused(),
            accept_errors: self.gate.errors(),
            events_lost: self.teller.lost_ever(),
            refusals_untold: self.teller.refusals_untold(),
            state_failures: self.keeper.failures(),
            overruns: self.overruns,
            unfinished: self.gate.unfinished(),
        };
        let given = self.givers.iter().collect();
        let snapshot = Arc::new(Snapshot::of(&self.mesh, given, shell, now));
        self.recent.set(&snapshot);
        snapshot
    }

    /// Lets the connections write what they have, stores what is new, and tells who waits for the end.
    async fn wind_down(mut self, mut queued: mpsc::Receiver<Input>) {
        self.conns.clear();
        let flushed = async {
            loop {
                // The queue is emptied meanwhile, or the tasks would wait for room in it.
                tokio::select! {
                    _ = queued.recv() => {}
                    ended = self.tasks.join_next() => match ended {
                        Some(ended) => report(ended),
                        None => break,
                    },
                }
            }
        };
        // Each task gives itself a second, but for dials, which nobody waits for.
        let _ = timeout(FLUSH + FLUSH / 4, flushed).await;
        self.keeper.write_last(self.clock.now()).await;
        for done in self.leavers {
            // Who no longer waits need not be told.
            let _ = done.send(());
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task has panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::machine::Machine;
    use crate::shell::notice;
    use crate::{Config, PeerName, Saved};

    fn control() -> Control {
        let clock = Clock::start();
        let config = Config::new(PeerName::local(1));
        Control {
            mesh: Mesh::new(config, Saved::default(), [1; 32], clock.now()),
            clock,
            inputs: mpsc::channel(1).0,
            gate: Gate::new(8),
            keeper: Keeper::new(None, Machine::default()),
            teller: notice::notices().0,
            givers: Givers::default(),
            recent: Recent::new(clock),
            conns: BTreeMap::new(),
            tasks: JoinSet::new(),
            overruns: 0,
            leavers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn tasks_that_have_ended_are_let_go_in_a_turn_that_inputs_have_begun() {
        let mut control = control();
        for _ in 0..1000 {
            control.tasks.spawn(async {});
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let nobody = PeerName::local(2);
        let input = || Input::Request(Request::DataPath(nobody, true));

        control.turn(&mut vec![input(), input()]).await;

        assert_eq!(control.tasks.len(), 0);
    }

    async fn ask(
        control: &mut Control,
        request: fn(oneshot::Sender<Arc<Snapshot>>) -> Request,
    ) -> Arc<Snapshot> {
        let (reply, answer) = oneshot::channel();
        control.request(request(reply));
        answer.await.unwrap()
    }

    #[tokio::test]
    async fn a_recent_snapshot_serves_all_who_ask_for_a_tenth_of_a_second() {
        let mut control = control();

        let first = ask(&mut control, Request::Recent).await;
        let same = ask(&mut control, Request::Recent).await;
        tokio::time::sleep(Snapshot::RECENT + Duration::from_millis(1)).await;
        let later = ask(&mut control, Request::Recent).await;

        assert!(Arc::ptr_eq(&first, &same));
        assert!(!Arc::ptr_eq(&first, &later));
        assert!(later.now > first.now + Snapshot::RECENT);
    }

    #[tokio::test]
    async fn an_exact_snapshot_shows_what_was_asked_for_just_before() {
        let mut control = control();
        let before = ask(&mut control, Request::Recent).await;
        control.connect("10.99.0.7".parse().unwrap(), Duration::ZERO);

        let exact = ask(&mut control, Request::Snapshot).await;
        let recent = ask(&mut control, Request::Recent).await;

        assert_eq!((before.given.len(), exact.given.len()), (0, 1));
        assert!(Arc::ptr_eq(&exact, &recent));
    }
}
