//! As much HTTP/1.1 as one question and its answer need: `httparse` reads the head, and the body is
//! as long as it says, in chunks, or until the end.
//!
//! Limits: a head of 16 KiB and 64 lines, a body of as many octets as the caller takes.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::stream::Stream;

/// The largest head of an answer, in octets.
const HEAD_MAX: usize = 16 << 10;
/// The most lines of a head.
const LINES_MAX: usize = 64;
/// Octets read at once.
const READ: usize = 64 << 10;
/// The longest line before a chunk: 16 hexadecimal digits, its end, and what nobody needs.
const CHUNK_LINE_MAX: usize = 128;
const NO_SIZE: &str = "a chunk of its answer has no size";

/// A question.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// JSON.
    pub(super) body: Option<String>,
    /// What goes with its first octet.
    pub(super) fd: Option<BorrowedFd<'a>>,
}

/// The head of an answer, and the connection on which its body comes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    /// Who says it is answering, as `weftd/0.1.0`.
    pub(super) server: Option<String>,
    length: Length,
    /// Read, and not yet taken.
    ahead: Vec<u8>,
    stream: Stream,
}

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Length {
    Octets(u64),
    Chunked,
    UntilClosed,
}

/// Why there is no answer, or not the whole of it.
#[derive(Debug)]
pub(super) enum Fault {
    /// Not within this time.
    Late(Duration),
    /// The connection ended after so many octets.
    Cut(u64),
    /// More than so many octets.
    TooLarge(usize),
    /// It is no HTTP, or no UTF-8.
    Garbage(String),
    /// The socket said so.
    Socket(io::Error),
    /// Where the body was to go took no more.
    Sink(io::Error),
}

/// Asks, and reads the head of the answer.
pub(super) fn exchange(mut stream: Stream, request: &Request<'_>) -> Result<Answer, Fault> {
    let within = stream.within;
    let octets = request.octets();
    let sent = match request.fd {
        Some(fd) => stream.write_with(&octets, fd),
        None => stream.write_all(&octets),
    };
    if let Err(why) = sent {
        // Who answers without having listened may have said why.
        let unheard = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        if !unheard.contains(&why.kind()) {
            return Err(fault(why, within));
        }
    }
    read_head(stream)
}

impl Request<'_> {
    fn octets(&self) -> Vec<u8> {
        let Self { method, path, body, .. } = self;
        let version = env!("CARGO_PKG_VERSION");
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: weft\r\nUser-Agent: weft/{version}\r\nConnection: close\r\n"
        );
        if let Some(body) = body {
            let length = body.len();
            head += &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        }
        head += "\r\n";
        head += body.as_deref().unwrap_or_default();
        head.into_bytes()
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    pub(super) fn is_unavailable(&self) -> bool {
        self.code == 503
    }

    /// The whole body.
    pub(super) fn text(&mut self, max: usize) -> Result<String, Fault> {
        let mut octets = Vec::new();
        self.copy_to(&mut octets, max, false)?;
        String::from_utf8(octets).map_err(|_| Fault::Garbage("its answer is no UTF-8".into()))
    }

    /// Copies the body; says how many octets it has. Where `whole` matters, one whose end is only the
    /// connection's is refused: it may have been cut.
    pub(super) fn copy_to(
        &mut self,
        sink: &mut dyn Write,
        max: usize,
        whole: bool,
    ) -> Result<u64, Fault> {
        let mut body = Sink { to: sink, taken: 0, max };
        match self.length {
            Length::Octets(length) => {
                if usize::try_from(length).map_or(true, |length| length > max) {
                    return Err(Fault::TooLarge(max));
                }
                self.pass_on(length, &mut body)?;
            }
            Length::Chunked => {
                while let Some(size) = self.chunk(body.taken)? {
                    self.pass_on(size, &mut body)?;
                    self.line_end(body.taken)?;
                }
            }
            Length::UntilClosed if whole => {
                return Err(Fault::Garbage("its answer does not say how long it is".into()));
            }
            Length::UntilClosed => {
                while !self.ahead.is_empty() || self.read_more()? {
                    body.take(&std::mem::take(&mut self.ahead))?;
                }
            }
        }
        Ok(body.taken)
    }

    fn pass_on(&mut self, octets: u64, body: &mut Sink<'_>) -> Result<(), Fault> {
        let mut left = octets;
        while left > 0 {
            if self.ahead.is_empty() && !self.read_more()? {
                return Err(Fault::Cut(body.taken));
            }
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.ahead.len());
            body.take(&self.ahead.drain(..here).collect::<Vec<_>>())?;
            left -= here as u64;
        }
        Ok(())
    }

    /// The size of the next chunk, after so many octets; `None` for the last.
    fn chunk(&mut self, taken: u64) -> Result<Option<u64>, Fault> {
        loop {
            // A line without a digit would be read as zero: an end that nobody has said.
            if self.ahead.first().is_some_and(|octet| !octet.is_ascii_hexdigit()) {
                return Err(Fault::Garbage(NO_SIZE.into()));
            }
            match httparse::parse_chunk_size(&self.ahead) {
                Ok(httparse::Status::Complete((_, 0))) => return Ok(None),
                Ok(httparse::Status::Complete((used, size))) => {
                    self.ahead.drain(..used);
                    return Ok(Some(size));
                }
                Ok(httparse::Status::Partial) if self.ahead.len() < CHUNK_LINE_MAX => {
                    if !self.read_more()? {
                        return Err(Fault::Cut(taken));
                    }
                }
                Ok(httparse::Status::Partial) | Err(_) => {
                    return Err(Fault::Garbage(NO_SIZE.into()));
                }
            }
        }
    }

    fn line_end(&mut self, taken: u64) -> Result<(), Fault> {
        while self.ahead.len() < 2 {
            if !self.read_more()? {
                return Err(Fault::Cut(taken));
            }
        }
        let end: Vec<u8> = self.ahead.drain(..2).collect();
        if end == b"\r\n" {
            return Ok(());
        }
        Err(Fault::Garbage("a chunk of its answer is longer than it says".into()))
    }

    /// Reads what has come, or waits for it; `false` at the end.
    fn read_more(&mut self) -> Result<bool, Fault> {
        read_into(&mut self.stream, &mut self.ahead)
    }
}

/// Where a body goes, and how much of it may.
struct Sink<'a> {
    to: &'a mut dyn Write,
    taken: u64,
    max: usize,
}

impl Sink<'_> {
    fn take(&mut self, octets: &[u8]) -> Result<(), Fault> {
        let taken = self.taken + octets.len() as u64;
        if usize::try_from(taken).map_or(true, |taken| taken > self.max) {
            return Err(Fault::TooLarge(self.max));
        }
        self.to.write_all(octets).map_err(Fault::Sink)?;
        self.taken = taken;
        Ok(())
    }
}

fn read_head(mut stream: Stream) -> Result<Answer, Fault> {
    let mut ahead = Vec::new();
    loop {
        if let Some((head, used)) = parse_head(&ahead)? {
            ahead.drain(..used);
            let Head { code, server, length } = head;
            return Ok(Answer { code, server, length, ahead, stream });
        }
        if ahead.len() > HEAD_MAX {
            return Err(Fault::Garbage("the head of its answer does not end".into()));
        }
        if !read_into(&mut stream, &mut ahead)? {
            return Err(Fault::Cut(ahead.len() as u64));
        }
    }
}

struct Head {
    code: u16,
    server: Option<String>,
    length: Length,
}

/// A head and the octets it takes, once it is complete.
fn parse_head(octets: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
    let garbage = |why: String| Fault::Garbage(why);
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut response = httparse::Response::new(&mut lines);
    let used = match response.parse(octets) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(why) => return Err(garbage(format!("it does not speak HTTP ({why})"))),
    };
    let field = |name: &str| {
        let line = response.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name));
        line.and_then(|line| std::str::from_utf8(line.value).ok()).map(str::trim)
    };
    let length = match (field("transfer-encoding"), field("content-length")) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Length::Chunked,
        (Some(coding), _) => return Err(garbage(format!("its answer is coded as {coding:?}"))),
        (None, Some(length)) => match length.parse() {
            Ok(length) => Length::Octets(length),
            Err(_) => return Err(garbage(format!("its answer is {length:?} long"))),
        },
        (None, None) => Length::UntilClosed,
    };
    let code = response.code.unwrap_or_default();
    Ok(Some((Head { code, server: field("server").map(str::to_owned), length }, used)))
}

fn read_into(stream: &mut Stream, ahead: &mut Vec<u8>) -> Result<bool, Fault> {
    let within = stream.within;
    loop {
        match read_once(stream, ahead) {
            Ok(read) => return Ok(read > 0),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            // Who closes with our question unread resets the connection: it is an end all the same.
            Err(why) if why.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(why) => return Err(fault(why, within)),
        }
    }
}

fn read_once(from: &mut impl Read, to: &mut Vec<u8>) -> io::Result<usize> {
    let held = to.len();
    to.resize(held + READ, 0);
    let outcome = to.get_mut(held..).map_or(Ok(0), |room| from.read(room));
    to.truncate(held + outcome.as_ref().copied().unwrap_or_default());
    outcome
}

fn fault(why: io::Error, within: Duration) -> Fault {
    if matches!(why.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
        return Fault::Late(within);
    }
    Fault::Socket(why)
}
