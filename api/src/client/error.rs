//! Why there is no answer, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Client;
use super::http::{Answer, Fault, Request};
use crate::Problem;

/// Why a question has no answer. Of a question that was to change something it is not known whether
/// it did, unless it was [`Error::Refused`] or [`Error::Unreached`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there, or not for us.
    #[error("cannot reach weftd at {socket}: {why}")]
    Unreached {
        /// Where it should listen.
        socket: PathBuf,
        /// What the kernel says.
        why: io::Error,
    },
    /// The daemon refused, and said why.
    #[error("{problem}")]
    Refused {
        /// The answer's code.
        code: u16,
        /// What it said.
        problem: Problem,
    },
    /// There is no answer in time, or none that makes sense.
    #[error("{0}")]
    Unanswered(Problem),
    /// What came could not be stored.
    #[error("cannot write the journal: {0}")]
    Sink(io::Error),
}

impl Error {
    /// What, why, and what to do.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Refused { problem, .. } | Self::Unanswered(problem) => problem.clone(),
            Self::Unreached { socket, why } => Problem {
                what: format!("cannot reach weftd at {}", socket.display()),
                why: why.to_string(),
                what_to_do: remedy(why).to_owned(),
            },
            Self::Sink(why) => Problem {
                what: "cannot write the journal".into(),
                why: why.to_string(),
                what_to_do: "write it where there is room, and you may".into(),
            },
        }
    }

    pub(super) fn unreached(socket: &Path, within: Duration, why: io::Error) -> Self {
        if why.kind() == io::ErrorKind::WouldBlock {
            return Self::Unanswered(late(socket, within));
        }
        Self::Unreached { socket: socket.to_owned(), why }
    }

    /// The same where connecting has a time of its own.
    pub(super) fn shut(socket: &Path, connecting: Duration, why: io::Error) -> Self {
        let late = || format!("nobody has let us in within {connecting:?}");
        let waited = why.kind() == io::ErrorKind::WouldBlock;
        let why = if waited { io::Error::new(io::ErrorKind::TimedOut, late()) } else { why };
        Self::Unreached { socket: socket.to_owned(), why }
    }

    /// A refusal by who does not say why.
    pub(super) fn unexplained(socket: &Path, request: &Request<'_>, answer: &Answer) -> Self {
        let (code, who) = (answer.code, who(socket, answer));
        let unknown = code == 404 || code == 405;
        Self::Unanswered(Problem {
            what: format!("{who} does not answer {}", name(request)),
            why: if unknown {
                format!("it does not know it ({code})")
            } else {
                format!("it says {code} and not why")
            },
            what_to_do: if unknown { same_release() } else { "see its log".to_owned() },
        })
    }
}

impl Client {
    pub(super) fn error(&self, request: &Request<'_>, fault: Fault) -> Error {
        let socket = self.socket.display();
        let problem = |what: String, why: String, what_to_do: &str| {
            Error::Unanswered(Problem { what, why, what_to_do: what_to_do.to_owned() })
        };
        match fault {
            Fault::Late(within) => Error::Unanswered(late(&self.socket, within)),
            Fault::Cut(octets) => problem(
                format!("weftd at {socket} did not finish its answer to {}", name(request)),
                format!("the connection was closed after {octets} octets"),
                "ask again; if it stays so, see its log",
            ),
            Fault::TooLarge(max) => problem(
                format!("weftd at {socket} answers {} with too much", name(request)),
                format!("more than {} MiB", max >> 20),
                "is that weftd's socket? name it with --socket or WEFT_SOCKET",
            ),
            Fault::Garbage(why) => problem(
                format!("what listens at {socket} is not weftd"),
                why,
                "name weftd's socket with --socket or WEFT_SOCKET",
            ),
            Fault::Socket(why) => problem(
                format!("cannot talk to weftd at {socket}"),
                why.to_string(),
                "ask again; if it stays so, see its log",
            ),
            Fault::Sink(why) => Error::Sink(why),
        }
    }

    pub(super) fn not_understood(
        &self,
        request: &Request<'_>,
        answer: &Answer,
        why: &serde_json::Error,
    ) -> Error {
        Error::Unanswered(Problem {
            what: format!(
                "cannot understand what {} answers to {}",
                who(&self.socket, answer),
                name(request)
            ),
            why: why.to_string(),
            what_to_do: same_release(),
        })
    }

    pub(super) fn unsaid(&self, request: &Request<'_>, why: &serde_json::Error) -> Error {
        Error::Unanswered(Problem {
            what: format!("cannot say {} to {}", name(request), self.socket.display()),
            why: why.to_string(),
            what_to_do: same_release(),
        })
    }
}

fn late(socket: &Path, within: Duration) -> Problem {
    Problem {
        what: format!("weftd at {} does not answer", socket.display()),
        why: format!("nothing, or not everything, came within {within:?}"),
        what_to_do: "it hangs or is overloaded: see its log, or wait longer with --timeout".into(),
    }
}

fn remedy(why: &io::Error) -> &'static str {
    let is = |kind| why.kind() == kind;
    if is(io::ErrorKind::NotFound) {
        "start weftd, or name its socket with --socket or WEFT_SOCKET"
    } else if is(io::ErrorKind::ConnectionRefused) {
        "weftd is not running there any more: start it, or name its socket with --socket or WEFT_SOCKET"
    } else if is(io::ErrorKind::PermissionDenied) {
        "run as root"
    } else if is(io::ErrorKind::TimedOut) {
        "it hangs or is overloaded: see its log"
    } else {
        "name weftd's socket with --socket or WEFT_SOCKET"
    }
}

/// Who answered, by its own word where it has given it.
fn who(socket: &Path, answer: &Answer) -> String {
    let socket = socket.display();
    match &answer.server {
        Some(server) => format!("{server} at {socket}"),
        None => format!("weftd at {socket}"),
    }
}

fn name(request: &Request<'_>) -> String {
    format!("{} {}", request.method, request.path)
}

fn same_release() -> String {
    format!("use the weft of weftd's release (this one is {})", env!("CARGO_PKG_VERSION"))
}
