//! Does what a runtime asks for: asks the daemon, and whoever gives addresses if it is not the daemon.
//!
//! All that is kept is kept by the daemon, and it goes by container and interface: so whatever fails here can be asked for
//! again. Where the daemon is not there, ADD fails at once, and DEL is written down for it ([`Queue`]): a runtime
//! that cannot remove a container never gives up, and one that cannot add makes another.
//!
//! A delegated IPAM plugin gives addresses before the daemon plugs in, and takes them back after the daemon has unplugged:
//! nobody is to get an address that somebody still has.

mod add;
mod check;
mod del;
mod upkeep;

use std::ffi::OsString;
use std::io::{Read, Write, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::Client;
use rscni_types::error::Error;
use rscni_types::types::{CNI_NETNS, Cmd};

use crate::answer;
use crate::call::{ABOUT, Attachment, Call, Request};
use crate::config::Ipam;
use crate::delegate::Delegate;
use crate::netns::Netns;
use crate::queue::Queue;

/// How long connecting may take: ADD is to fail within a second where the daemon is down, and DEL, which tries twice, to end.
const CONNECTING: Duration = Duration::from_millis(400);
/// How long STATUS may take: kubelet asks every five seconds, CRI-O twice in one.
const STATUS: Duration = Duration::from_secs(1);
/// Where the daemon keeps its state, unless told otherwise.
const STATE_DIR: &str = "/var/lib/weft";
/// Octets of a container's id, as the daemon takes it. A file's name has room for it and an interface's (255).
const CONTAINER_MAX: usize = 200;

/// What the process is to say, and how it is to end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// For stdout: JSON, or nothing.
    pub answer: String,
    /// For stderr.
    pub log: String,
    /// Whether it ends well.
    pub success: bool,
}

/// Does what a runtime asks for by its environment and on stdin.
pub fn run(env: impl Fn(&str) -> Option<OsString>, stdin: impl Read) -> Said {
    let answer = |answer: String| Said { answer, log: String::new(), success: true };
    let failed = |version, error: &Error| Said {
        answer: answer::error(version, error),
        log: line(&error.to_string()),
        success: false,
    };
    match Call::read(&env, stdin) {
        Ok(Call::About) => Said { log: about(), ..answer(String::new()) },
        Ok(Call::Version) => answer(answer::versions()),
        Ok(Call::Request(request)) => match Plugin::new(&request, env).run() {
            Ok(told) => answer(told.unwrap_or_default()),
            Err(error) => failed(Some(request.config.version), &error),
        },
        Err((version, error)) => failed(version, &error),
    }
}

fn about() -> String {
    let versions: Vec<String> = answer::SUPPORTED.iter().map(ToString::to_string).collect();
    format!("{ABOUT}\nCNI protocol versions supported: {}\n", versions.join(", "))
}

/// What went wrong besides what the runtime is told.
fn log(what: &str) {
    // Where stderr is closed, nobody is left to tell.
    drop(stderr().write_all(line(what).as_bytes()));
}

/// One line, whatever other plugins and the environment have put into it.
fn line(what: &str) -> String {
    let words: Vec<&str> = what.split_whitespace().collect();
    format!("weft-cni: {}\n", api::printable(&words.join(" ")))
}

/// A request, and where it is to be done.
struct Plugin<'a> {
    request: &'a Request,
    socket: PathBuf,
    queue: Queue,
    /// Whether a container may be in the plugin's own network namespace.
    may_be_own: bool,
}

impl<'a> Plugin<'a> {
    fn new(request: &'a Request, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let socket =
            env("WEFT_SOCKET").map(PathBuf::from).or_else(|| request.config.socket.clone());
        let state_dir = env("WEFT_STATE_DIR").map(PathBuf::from);
        let state_dir = state_dir.or_else(|| request.config.state_dir.clone());
        let may = env("CNI_NETNS_OVERRIDE");
        Self {
            request,
            socket: socket.unwrap_or_else(|| api::DEFAULT_SOCKET.into()),
            queue: Queue::of(state_dir.as_deref().unwrap_or_else(|| Path::new(STATE_DIR))),
            may_be_own: may.is_some_and(|may| may == "1" || may.eq_ignore_ascii_case("true")),
        }
    }

    fn run(&self) -> Result<Option<String>, Error> {
        match self.request.verb {
            Cmd::Add => add::add(self).map(Some),
            Cmd::Del => del::del(self).map(|()| None),
            Cmd::Check => check::check(self).map(|()| None),
            Cmd::Gc => upkeep::gc(self).map(|()| None),
            Cmd::Status => upkeep::status(self).map(|()| None),
            Cmd::Version => Ok(Some(answer::versions())),
        }
    }

    /// For the daemon, which has as long for an answer as the question needs.
    fn client(&self) -> Client {
        Client::new(&self.socket, None).connecting_within(CONNECTING)
    }

    /// Who gives addresses, if it is not the daemon.
    fn delegate(&self) -> Option<Delegate<'a>> {
        match &self.request.config.ipam {
            Ipam::Other(kind) => Some(Delegate::of(self.request, kind)),
            Ipam::Own { .. } => None,
        }
    }

    fn attachment(&self) -> Result<&'a Attachment, Error> {
        let attachment = self.request.attachment.as_ref();
        let attachment = attachment.ok_or_else(|| Error::missing_env(&["CNI_CONTAINERID"]))?;
        let len = attachment.container.len();
        if len > CONTAINER_MAX {
            let why = format!("CNI_CONTAINERID: it has {len} octets, and may have {CONTAINER_MAX}");
            return Err(Error::InvalidEnvValue(why));
        }
        Ok(attachment)
    }

    /// The container's namespace, and its path.
    fn netns(&self, attachment: &'a Attachment) -> Result<(Netns, &'a Path), Error> {
        let path = attachment.netns.as_deref().ok_or_else(|| Error::missing_env(&[CNI_NETNS]))?;
        let netns = Netns::open(path)?;
        self.not_own(&netns)?;
        Ok((netns, path))
    }

    fn not_own(&self, netns: &Netns) -> Result<(), Error> {
        if self.may_be_own || !netns.is_own() {
            return Ok(());
        }
        let why = "CNI_NETNS is the plugin's own namespace, and CNI_NETNS_OVERRIDE is not true";
        Err(Error::InvalidNetNS(why.to_owned()))
    }
}
