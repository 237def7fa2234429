//! Asks a daemon over its socket: one connection for each question, and an answer or an error within
//! a time and a size.
//!
//! Nothing is taken on trust: what listens there may hang, stop half-way, never stop, or be something
//! else. Every error has a [`Problem`], which says what to do.

mod error;
mod http;
mod stream;

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Allocate, Check, Claim, Connect, Connections, Expose, Exposed, Fdb, Forget, Free, Gc, Given,
    Hide, Ipam, Leased, Leases, Leave, Left, Lookup, Paths, Peers, Plug, Plugged, Pods, Problem,
    Removal, RemovePeer, Report, Status, Targets, Unplug,
};
use crate::{paths, text};
pub use error::Error;
use http::{Answer, Request};
use stream::Stream;

/// The largest answer but a journal, in octets. A report on 5000 peers of 32 connections is 25 MB.
pub const JSON_MAX: usize = 64 << 20;

/// The largest journal, in octets; a daemon's default is 16 MiB.
pub const JOURNAL_MAX: usize = 1 << 30;

/// How long a whole answer may take unless told otherwise. The control loop answers in milliseconds.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The same for requests about addresses: the daemon ends each within 10 s, and says how.
pub const ADDRESS_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an answer may take at least and at most, whatever is asked for: less is no time to the kernel, which
/// takes it for none set, and more is beyond its clock.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_hours(7 * 24));

/// Brackets within brackets that an answer has at most: as many as `serde_json` reads as a `Value`. Laid out in
/// lines, depth costs its square.
const DEPTH_MAX: usize = 127;

/// A journal comes from disk, and may be long: it may take this many times as long.
const JOURNAL_PATIENCE: u32 = 12;

/// Asks one daemon. Holds no connection between questions.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    /// `None`: as long as each question should take.
    timeout: Option<Duration>,
    /// `None`: as long as the answer.
    connecting: Option<Duration>,
}

/// An answer, understood, and as it came: with fields that this release does not know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply<T> {
    /// What it says.
    pub value: T,
    /// The JSON as it came.
    pub json: String,
}

/// What can be asked for by reading.
pub trait Resource: DeserializeOwned {
    /// Where it is.
    const PATH: &'static str;

    /// How it is shown to people; `None` if only as JSON.
    fn text(&self) -> Option<String>;
}

impl Client {
    /// For the daemon that listens at `socket`. Without a timeout it is [`TIMEOUT`], or [`ADDRESS_TIMEOUT`] for what is about
    /// addresses. One of less than 1 ms or more than a week is taken for that.
    pub fn new(socket: impl Into<PathBuf>, timeout: impl Into<Option<Duration>>) -> Self {
        let (least, most) = TIMEOUTS;
        let timeout = timeout.into().map(|it| it.clamp(least, most));
        Self { socket: socket.into(), timeout, connecting: None }
    }

    /// Connecting may take only so long, whatever the answer may take: who is not let in by then has [`Error::Unreached`] it,
    /// and nothing was done.
    #[must_use]
    pub fn connecting_within(self, within: Duration) -> Self {
        let (least, most) = TIMEOUTS;
        Self { connecting: Some(within.clamp(least, most)), ..self }
    }

    /// Connects, and asks nothing.
    pub fn reach(&self) -> Result<(), Error> {
        self.stream(self.timeout.unwrap_or(TIMEOUT)).map(drop)
    }

    /// Reads something. A daemon that is not ready yet (503) answers all the same.
    pub fn read<T: Resource>(&self) -> Result<Reply<T>, Error> {
        self.ask(&Request { method: "GET", path: T::PATH, body: None, fd: None }, TIMEOUT)
    }

    /// Has the daemon connect to peers.
    pub fn connect(&self, request: &Connect) -> Result<Given, Error> {
        self.post(paths::CONNECT, request, TIMEOUT)
    }

    /// Has the daemon forget peers.
    pub fn forget(&self, request: &Forget) -> Result<Given, Error> {
        self.post(paths::FORGET, request, TIMEOUT)
    }

    /// Has the daemon lease an address.
    pub fn allocate(&self, request: &Allocate) -> Result<Leased, Error> {
        self.post(paths::ALLOCATE, request, ADDRESS_TIMEOUT)
    }

    /// Has the daemon lease a certain address.
    pub fn claim(&self, request: &Claim) -> Result<Leased, Error> {
        self.post(paths::CLAIM, request, ADDRESS_TIMEOUT)
    }

    /// The addresses that somebody has on this node.
    pub fn lookup(&self, request: &Lookup) -> Result<Leases, Error> {
        self.post(paths::LOOKUP, request, ADDRESS_TIMEOUT)
    }

    /// Gives addresses back; says which.
    pub fn free(&self, request: &Free) -> Result<Leases, Error> {
        self.post(paths::FREE, request, ADDRESS_TIMEOUT)
    }

    /// Has others take over the addresses of a peer.
    pub fn remove_peer(&self, request: &RemovePeer) -> Result<Removal, Error> {
        self.post(paths::RMPEER, request, ADDRESS_TIMEOUT)
    }

    /// Hands all addresses of this node to another.
    pub fn leave(&self) -> Result<Left, Error> {
        self.post(paths::LEAVE, &Leave {}, ADDRESS_TIMEOUT)
    }

    /// Gives the bridge an address.
    pub fn expose(&self, request: &Expose) -> Result<Exposed, Error> {
        self.post(paths::EXPOSE, request, ADDRESS_TIMEOUT)
    }

    /// Takes an address from the bridge.
    pub fn hide(&self, request: &Hide) -> Result<Exposed, Error> {
        self.post(paths::HIDE, request, ADDRESS_TIMEOUT)
    }

    /// Writes the journal to `sink`; says how many octets it has. On an error `sink` may hold a part of it.
    pub fn journal(&self, sink: &mut dyn Write) -> Result<u64, Error> {
        let request = Request { method: "GET", path: paths::JOURNAL, body: None, fd: None };
        let patience = self.timeout.unwrap_or(TIMEOUT).saturating_mul(JOURNAL_PATIENCE);
        let mut answer = self.send(&request, patience)?;
        if !answer.is_success() {
            return Err(self.refused(&request, answer));
        }
        answer.copy_to(sink, JOURNAL_MAX, true).map_err(|fault| self.error(&request, fault))
    }

    /// Plugs an interface into a pod, whose network namespace is `netns` if it is given.
    pub fn plug(&self, request: &Plug, netns: Option<BorrowedFd<'_>>) -> Result<Plugged, Error> {
        self.post_with(paths::PLUG, request, netns, ADDRESS_TIMEOUT)
    }

    /// Unplugs interfaces; says which.
    pub fn unplug(&self, request: &Unplug) -> Result<Pods, Error> {
        self.post(paths::UNPLUG, request, ADDRESS_TIMEOUT)
    }

    /// Whether an interface is as it was plugged in.
    pub fn check(&self, request: &Check, netns: Option<BorrowedFd<'_>>) -> Result<Plugged, Error> {
        self.post_with(paths::CHECK, request, netns, ADDRESS_TIMEOUT)
    }

    /// Unplugs all interfaces of a network but some; says which.
    pub fn gc(&self, request: &Gc) -> Result<Pods, Error> {
        self.post(paths::GC, request, ADDRESS_TIMEOUT)
    }

    fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        within: Duration,
    ) -> Result<T, Error> {
        self.post_with(path, body, None, within)
    }

    fn post_with<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        fd: Option<BorrowedFd<'_>>,
        within: Duration,
    ) -> Result<T, Error> {
        let request = Request { method: "POST", path, body: None, fd };
        let body = serde_json::to_string(body).map_err(|why| self.unsaid(&request, &why))?;
        self.ask(&Request { body: Some(body), ..request }, within).map(|reply| reply.value)
    }

    /// Asks, and waits so long unless told otherwise.
    fn ask<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        within: Duration,
    ) -> Result<Reply<T>, Error> {
        let mut answer = self.send(request, self.timeout.unwrap_or(within))?;
        if !answer.is_success() && !answer.is_unavailable() {
            return Err(self.refused(request, answer));
        }
        let json = answer.text(JSON_MAX).map_err(|fault| self.error(request, fault))?;
        match parse(&json) {
            Ok(value) => Ok(Reply { value, json }),
            Err(_) if answer.is_unavailable() => Err(self.refusal(request, &answer, &json)),
            Err(why) => Err(self.not_understood(request, &answer, &why)),
        }
    }

    fn send(&self, request: &Request<'_>, within: Duration) -> Result<Answer, Error> {
        let stream = self.stream(within)?;
        http::exchange(stream, request).map_err(|fault| self.error(request, fault))
    }

    fn stream(&self, within: Duration) -> Result<Stream, Error> {
        let stream = Stream::connect(&self.socket, (self.connecting.unwrap_or(within), within));
        stream.map_err(|why| match self.connecting {
            Some(connecting) => Error::shut(&self.socket, connecting, why),
            None => Error::unreached(&self.socket, within, why),
        })
    }

    fn refused(&self, request: &Request<'_>, mut answer: Answer) -> Error {
        match answer.text(JSON_MAX) {
            Ok(json) => self.refusal(request, &answer, &json),
            Err(fault) => self.error(request, fault),
        }
    }

    fn refusal(&self, request: &Request<'_>, answer: &Answer, json: &str) -> Error {
        match serde_json::from_str::<Problem>(json) {
            Ok(problem) => Error::Refused { code: answer.code, problem },
            Err(_) => Error::unexplained(&self.socket, request, answer),
        }
    }
}

/// What a field of a later release has is not looked at, however deep it goes: so that is measured first.
fn parse<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    if depth(json) > DEPTH_MAX {
        let why = format!("it has more than {DEPTH_MAX} brackets within brackets");
        return Err(serde::de::Error::custom(why));
    }
    serde_json::from_str(json)
}

/// The most brackets that are open at once; those in texts do not count.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut octets = json.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_text(&mut octets),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Goes to the end of a text.
fn skip_text(octets: &mut impl Iterator<Item = u8>) {
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => return,
            b'\\' => drop(octets.next()),
            _ => {}
        }
    }
}

macro_rules! resources {
    ($($name:ident at $path:ident shown by $text:expr;)+) => {
        $(impl Resource for $name {
            const PATH: &'static str = paths::$path;

            fn text(&self) -> Option<String> {
                $text(self)
            }
        })+
    };
}

resources! {
    Status at STATUS shown by |it| Some(text::status(it));
    Connections at CONNECTIONS shown by |it| Some(text::connections(it));
    Peers at PEERS shown by |it| Some(text::peers(it));
    Targets at TARGETS shown by |it| Some(text::targets(it));
    Paths at PATHS shown by |it| Some(text::paths(it));
    Ipam at IPAM shown by |it| Some(text::ipam(it));
    Fdb at FDB shown by |it| Some(text::fdb(it));
    Leases at ADDRESSES shown by |_| None;
    Pods at PODS shown by |it| Some(text::pods(it));
    Report at REPORT shown by |_| None;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brackets_in_texts_are_not_deep() {
        for (json, expected) in [
            ("", 0),
            ("7", 0),
            ("[]", 1),
            (r#"{"a":[{}],"b":{}}"#, 3),
            (r#"["[[[[", "\"[[", "\\", [1]]"#, 2),
            ("]]][", 1),
            ("[\"", 1),
            ("[\"\\", 1),
        ] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_not_too_deep_can_be_read_as_a_value() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));

        assert!(parse::<serde_json::Value>(&nested(DEPTH_MAX)).is_ok());
        assert!(serde_json::from_str::<serde_json::Value>(&nested(DEPTH_MAX + 1)).is_err());
        let why = parse::<serde::de::IgnoredAny>(&nested(DEPTH_MAX + 1)).unwrap_err();
        assert_eq!(why.to_string(), "it has more than 127 brackets within brackets");
    }

    #[test]
    fn any_timeout_is_one_that_the_kernel_knows() {
        for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let client = Client::new("/nonexistent/weft.sock", timeout);

            assert!(matches!(client.read::<Status>(), Err(Error::Unreached { .. })));
            assert!(client.journal(&mut Vec::new()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_depth(text in any::<String>()) {
            prop_assert!(depth(&text) <= text.len());
        }
    }
}
