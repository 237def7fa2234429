//! One core and the records of a mesh that does not exist, fed to it over one link.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use peer_mesh::secure::{MAX_BATCH, Received, Secure};
use peer_mesh::wire::{Announcement, Hello, Link, MAX_COUNT, Message, Record};
use peer_mesh::{
    Config, Mesh, NEWEST_VERSION, OLDEST_VERSION, Output, PeerName, PeerUid, Psk, Saved,
};
use rustix::time::{ClockId, clock_gettime};

use crate::rng::Rng;

/// Links of each peer that does not exist, to this many on each side of it on a ring.
const SIDE: usize = 12;

/// A core, and the other end of its only link.
pub struct Feed {
    mesh: Mesh,
    conn: peer_mesh::ConnId,
    secure: Secure,
    now: Duration,
    own: Announcement,
    rng: Rng,
    /// The peers that do not exist, by their place on the ring.
    pub peers: Vec<Announcement>,
    /// Why the core closed the link, if it did.
    pub closed: bool,
}

impl Feed {
    /// A core with one link.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let local = |rng: &mut Rng| PeerName::local(rng.bits());
        let config = Config::new(local(&mut rng));
        let now = Duration::from_secs(1_000);
        let mut mesh = Mesh::new(config, Saved::default(), [7; 32], now);
        let here = SocketAddr::from(([10, 0, 0, 1], Config::PORT));
        let there = SocketAddr::from(([10, 0, 0, 2], 40_000));
        let conn = mesh.handle_accepted(here, there, now).expect("there is room");
        let uid = PeerUid::new(rng.bits() | 1).unwrap();
        let own = Announcement::new(local(&mut rng), uid, 1);
        let hello = Hello::new(own.name, uid).emit();
        let versions = OLDEST_VERSION..=NEWEST_VERSION;
        let secure = Secure::dial(&Psk::open(), &hello, [9; 32], versions);
        let peers = Vec::new();
        let mut feed = Self { mesh, conn, secure, now, own, rng, peers, closed: false };
        feed.turn();
        feed.say(&[Message::Welcome { known: 0, observed: here }]);
        let link = Link { name: feed.mesh.name(), uid: feed.mesh.uid() };
        feed.own.links.insert(link);
        feed.tell_own();
        // Until the core has said that it has the link, nobody beyond it is reached.
        feed.pass(Duration::from_secs(1));
        feed
    }

    /// Makes up a mesh of that many peers and says so. How many the core has up then.
    pub fn grow(&mut self, peers: usize) -> usize {
        for _ in 0..peers {
            let uid = PeerUid::new(self.rng.bits() | 1).unwrap();
            let mut peer = Announcement::new(PeerName::local(self.rng.bits()), uid, 1);
            peer.nickname = format!("node-{}", self.peers.len());
            let [_, a, b, c] = u32::try_from(self.peers.len()).unwrap().to_be_bytes();
            peer.addresses.push(SocketAddr::from(([10, a + 1, b, c], Config::PORT)));
            self.peers.push(peer);
        }
        let links: Vec<_> =
            self.peers.iter().map(|peer| Link { name: peer.name, uid: peer.uid }).collect();
        for (at, peer) in self.peers.iter_mut().enumerate() {
            for side in 1..=SIDE.min((peers - 1) / 2) {
                peer.links.insert(links[(at + side) % peers]);
                peer.links.insert(links[(at + peers - side) % peers]);
            }
        }
        self.own.links.insert(links[0]);
        self.peers[0].links.insert(Link { name: self.own.name, uid: self.own.uid });
        // Who links to somebody who is up comes up at once; the others would wait where room is short.
        self.tell_own();
        let records: Vec<_> = self.peers.iter().map(|peer| peer.emit().unwrap()).collect();
        self.tell(records);
        self.pass(Duration::from_secs(1));
        self.mesh.peers().filter(|peer| peer.state == peer_mesh::PeerState::Up).count()
    }

    /// Records of peers of whom nothing else is ever said.
    pub fn strangers(&mut self, count: usize) {
        let rng = &mut self.rng;
        let mut stranger = || {
            let uid = PeerUid::new(rng.bits() | 1).unwrap();
            let mut peer =
                Announcement::new(PeerName::local(rng.bits()), uid, rng.within(1..=MAX_COUNT));
            let uid = PeerUid::new(rng.bits() | 1).unwrap();
            peer.links.insert(Link { name: PeerName::local(rng.bits()), uid });
            peer.emit().unwrap()
        };
        let records: Vec<_> = (0..count).map(|_| stranger()).collect();
        self.tell(records);
    }

    /// One of the peers loses a link, or gets it back. How long the core needs for it, in real time.
    pub fn change(&mut self) -> Duration {
        let last = self.peers.len() as u64 - 1;
        let at = usize::try_from(self.rng.within(1..=last)).unwrap();
        let other = &self.peers[(at + 1) % self.peers.len()];
        let link = Link { name: other.name, uid: other.uid };
        let peer = &mut self.peers[at];
        peer.version += 1;
        if !peer.links.remove(&link) {
            peer.links.insert(link);
        }
        let record = peer.emit().unwrap();
        let octets = self.seal(&[Message::Record(record)]);
        // Of the processor's time, as other tests run beside this one.
        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
        let began = now();
        self.mesh.handle_bytes(self.conn, &octets, self.now);
        let took = now().saturating_sub(began);
        self.turn();
        took
    }

    /// Lets time pass; the link is kept alive.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(100);
            let root = self.mesh.root();
            if self.now.subsec_millis() == 0 {
                self.say(&[Message::Keepalive { root, digests: Vec::new() }]);
            }
            self.mesh.handle_timeout(self.now);
            self.turn();
        }
    }

    /// Says these records, in as few batches as they fit.
    pub fn tell(&mut self, records: Vec<Record>) {
        let (mut said, mut len) = (Vec::new(), 0);
        for message in records.into_iter().map(Message::Record) {
            if len + message.emitted_len() > MAX_BATCH {
                self.say(&std::mem::take(&mut said));
                len = 0;
            }
            len += message.emitted_len();
            said.push(message);
        }
        self.say(&said);
    }

    /// Says these messages in one batch.
    pub fn say(&mut self, messages: &[Message]) {
        let octets = self.seal(messages);
        self.mesh.handle_bytes(self.conn, &octets, self.now);
        self.turn();
    }

    /// The core.
    pub fn mesh(&mut self) -> &mut Mesh {
        &mut self.mesh
    }

    fn tell_own(&mut self) {
        self.own.version += 1;
        let record = self.own.emit().unwrap();
        self.say(&[Message::Record(record)]);
    }

    fn seal(&mut self, messages: &[Message]) -> Vec<u8> {
        let (mut batch, mut octets) = (Vec::new(), self.secure.take_transmit());
        messages.iter().for_each(|message| message.emit(&mut batch));
        assert!(self.secure.seal(&batch, &mut octets), "the link is not open");
        octets
    }

    /// Performs what the core wants; its dials fail.
    fn turn(&mut self) {
        let handshake = self.secure.take_transmit();
        self.mesh.handle_bytes(self.conn, &handshake, self.now);
        let mut failed = BTreeMap::new();
        while let Some(output) = self.mesh.poll_output() {
            match output {
                Output::Send { conn, octets } if conn == self.conn => {
                    self.mesh.handle_written(conn, octets.len(), self.now);
                    self.hear(&octets);
                }
                Output::Close { conn } if conn == self.conn => self.closed = true,
                Output::Dial { conn, addr } => drop(failed.insert(conn, addr)),
                Output::Send { .. } | Output::Close { .. } | Output::Event(_) => {}
            }
        }
        for conn in failed.into_keys() {
            self.mesh.handle_dial_failed(conn, "there is no such host", self.now);
        }
    }

    fn hear(&mut self, octets: &[u8]) {
        self.secure.handle_bytes(octets);
        while let Ok(Some(received)) = self.secure.poll_received() {
            assert!(matches!(received, Received::Hello(_) | Received::Batch(_)));
        }
        let handshake = self.secure.take_transmit();
        if !handshake.is_empty() {
            self.mesh.handle_bytes(self.conn, &handshake, self.now);
        }
    }
}
