//! A member that a scenario speaks through: it shakes hands, keeps its links alive, notes all it
//! hears, and says what it is told to, true or not.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use peer_mesh::secure::{MAX_BATCH, Received, Secure};
use peer_mesh::wire::{Announcement, Hello, Link, Message, Record, messages};
use peer_mesh::{ConnId, NEWEST_VERSION, OLDEST_VERSION, Output, PeerName, PeerUid, Psk};

use super::process::Process;
use crate::rng::Rng;

/// How often a member says that it lives, and dials who it has no connection with.
const PERIOD: Duration = Duration::from_secs(1);

/// What a scenario shares with its member.
#[derive(Debug, Default)]
pub struct Desk {
    /// Said on every link, and taken away.
    pub say: Vec<Message>,
    /// Every record that came, patches applied, in order.
    pub records: Vec<Record>,
    /// Every other message that came on a link, but keepalives.
    pub heard: Vec<Message>,
    /// Peers it has links with.
    pub links: Vec<Link>,
    /// The root it claims to have; `None` is that of whoever it talks to.
    pub root: Option<u64>,
    /// Octets at the end of its own record: TLVs that only it understands.
    pub later: Vec<u8>,
}

/// The process of such a member.
pub struct Member {
    desk: Rc<RefCell<Desk>>,
    own: Announcement,
    psk: Psk,
    targets: Vec<SocketAddr>,
    rng: Rng,
    lines: BTreeMap<ConnId, Line>,
    last: u64,
    outputs: VecDeque<Output>,
    due: Duration,
    latest: BTreeMap<PeerName, Record>,
}

struct Line {
    remote: SocketAddr,
    outbound: bool,
    secure: Option<Secure>,
    peer: Option<Link>,
    linked: bool,
    root: u64,
}

impl Member {
    /// One that dials these addresses.
    pub fn new(name: PeerName, targets: Vec<SocketAddr>, seed: u64) -> (Self, Rc<RefCell<Desk>>) {
        let mut rng = Rng::new(seed);
        let uid = PeerUid::new(rng.bits() | 1).unwrap();
        let desk = Rc::new(RefCell::new(Desk::default()));
        let member = Self {
            desk: Rc::clone(&desk),
            own: Announcement::new(name, uid, 1),
            psk: Psk::open(),
            targets,
            rng,
            lines: BTreeMap::new(),
            last: 0,
            outputs: VecDeque::new(),
            due: Duration::ZERO,
            latest: BTreeMap::new(),
        };
        (member, desk)
    }

    fn open(&mut self, remote: SocketAddr, outbound: bool) -> ConnId {
        self.last += 1;
        let id = ConnId(self.last);
        let (secure, peer, root) = (None, None, 0);
        self.lines.insert(id, Line { remote, outbound, secure, peer, linked: false, root });
        id
    }

    fn shake_hands(&mut self, id: ConnId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let hello =
            Hello { incarnation: self.own.incarnation, ..Hello::new(self.own.name, self.own.uid) };
        let (hello, seed) = (hello.emit(), self.rng.octets(32).try_into().unwrap());
        let versions = OLDEST_VERSION..=NEWEST_VERSION;
        let begin = if line.outbound { Secure::dial } else { Secure::accept };
        line.secure = Some(begin(&self.psk, &hello, seed, versions));
        self.transmit(id, &[]);
    }

    /// Sends what the handshake wants sent, and then these, in as many batches as they need.
    fn transmit(&mut self, id: ConnId, said: &[Message]) {
        let Some(secure) = self.lines.get_mut(&id).and_then(|line| line.secure.as_mut()) else {
            return;
        };
        let (mut octets, mut batch) = (secure.take_transmit(), Vec::new());
        for message in said {
            if batch.len() + message.emitted_len() > MAX_BATCH {
                secure.seal(&batch, &mut octets);
                batch.clear();
            }
            message.emit(&mut batch);
        }
        if !batch.is_empty() {
            secure.seal(&batch, &mut octets);
        }
        if !octets.is_empty() {
            self.outputs.push_back(Output::Send { conn: id, octets });
        }
    }

    fn receive(&mut self, id: ConnId, batch: &[u8]) {
        for message in messages(batch) {
            let message = message.expect("a core says what makes sense");
            self.hear(id, message);
        }
    }

    fn hear(&mut self, id: ConnId, message: Message) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        match message {
            Message::Welcome { known, .. } => {
                self.own.incarnation = self.own.incarnation.max(known + 1);
                line.linked = true;
                self.publish();
            }
            Message::Keepalive { root, .. } => line.root = root,
            Message::Record(record) => self.note(record),
            Message::Patch(patch) => {
                let old = self.latest.get(&patch.name());
                match old.and_then(|old| patch.apply(old).ok()) {
                    Some(record) => self.note(record),
                    None => self.transmit(id, &[Message::Want(vec![patch.name()])]),
                }
            }
            Message::Buckets(_) => {
                let none = Message::Held { buckets: 0, entries: Vec::new() };
                self.transmit(id, &[none]);
            }
            Message::Close { .. } => {
                self.lines.remove(&id);
                self.outputs.push_back(Output::Close { conn: id });
                self.publish();
            }
            other @ (Message::Held { .. }
            | Message::Want(_)
            | Message::Broadcast { .. }
            | Message::Unicast { .. }
            | Message::Addresses(_)
            | Message::Unknown(_)) => self.desk.borrow_mut().heard.push(other),
        }
    }

    fn note(&mut self, record: Record) {
        self.latest.insert(record.name(), record.clone());
        self.desk.borrow_mut().records.push(record);
    }

    /// Says what its links are.
    fn publish(&mut self) {
        let linked = self.lines.values().filter(|line| line.linked);
        self.own.links = linked.filter_map(|line| line.peer).collect();
        self.own.version += 1;
        self.desk.borrow_mut().links = self.own.links.iter().copied().collect();
        let mut octets = self.own.emit().expect("it fits").octets().to_vec();
        octets.extend(&self.desk.borrow().later);
        let record = Record::parse(&octets).expect("it makes sense");
        self.tell_all(&[Message::Record(record)]);
    }

    fn tell_all(&mut self, said: &[Message]) {
        let linked = self.lines.iter().filter(|(_, line)| line.linked);
        for id in linked.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.transmit(id, said);
        }
    }
}

impl Process for Member {
    fn handle_accepted(
        &mut self,
        _local: SocketAddr,
        remote: SocketAddr,
        _now: Duration,
    ) -> Option<ConnId> {
        let id = self.open(remote, false);
        self.shake_hands(id);
        Some(id)
    }

    fn handle_connected(&mut self, conn: ConnId, _local: SocketAddr, _now: Duration) {
        self.shake_hands(conn);
    }

    fn handle_dial_failed(&mut self, conn: ConnId, _why: &str, _now: Duration) {
        self.lines.remove(&conn);
    }

    fn handle_bytes(&mut self, conn: ConnId, octets: &[u8], _now: Duration) {
        if let Some(secure) = self.lines.get_mut(&conn).and_then(|line| line.secure.as_mut()) {
            secure.handle_bytes(octets);
        }
        loop {
            let secure = self.lines.get_mut(&conn).and_then(|line| line.secure.as_mut());
            let Some(received) = secure.and_then(|secure| secure.poll_received().ok().flatten())
            else {
                break;
            };
            match received {
                Received::Hello(hello) => {
                    let hello = Hello::parse(&hello).expect("a core's hello makes sense");
                    let line = self.lines.get_mut(&conn).unwrap();
                    line.peer = Some(Link { name: hello.name, uid: hello.uid });
                    let observed = line.remote;
                    self.transmit(conn, &[Message::Welcome { known: 0, observed }]);
                }
                Received::Batch(batch) => self.receive(conn, &batch),
            }
        }
        self.transmit(conn, &[]);
    }

    fn handle_written(&mut self, _conn: ConnId, _octets: usize, _now: Duration) {}

    fn handle_closed(&mut self, conn: ConnId, _why: &str, _now: Duration) {
        self.lines.remove(&conn);
        self.publish();
    }

    fn handle_timeout(&mut self, now: Duration) {
        if now < self.due {
            return;
        }
        self.due = now + PERIOD;
        let root = self.desk.borrow().root;
        let linked: Vec<_> = self.lines.iter().filter(|(_, line)| line.linked).collect();
        let linked: Vec<_> = linked.into_iter().map(|(id, line)| (*id, line.root)).collect();
        for (id, theirs) in linked {
            let root = root.unwrap_or(theirs);
            self.transmit(id, &[Message::Keepalive { root, digests: Vec::new() }]);
        }
        for addr in self.targets.clone() {
            if !self.lines.values().any(|line| line.outbound && line.remote == addr) {
                let conn = self.open(addr, true);
                self.outputs.push_back(Output::Dial { conn, addr });
            }
        }
        let say = std::mem::take(&mut self.desk.borrow_mut().say);
        self.tell_all(&say);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        Some(self.due)
    }
}
