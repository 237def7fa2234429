//! Command lines of programs that have a switch: values that mean the same in each of them, and how a
//! command line is refused.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crate::{Backend, Mtu, Poll, QUIRKS, Quirk, Vni};

/// As many as a TAP device can have (drivers/net/tun.c, `MAX_TAP_QUEUES`).
const QUEUES_MAX: usize = 256;

/// A value of `--tap`: what it is called, or how it is opened.
#[derive(Clone, Debug)]
pub enum TapChoice {
    /// Its name.
    Name(String),
    /// How it is opened.
    Backend(Backend),
}

/// Where the overlay's MTU comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MtuChoice {
    /// From the paths to the peers.
    Auto,
    /// From the operator.
    Fixed(Mtu),
}

/// Why a command line was not accepted, or that help was asked for.
#[derive(Debug)]
pub enum Usage {
    /// It cannot be read.
    Clap(clap::Error),
    /// Its parts do not go together.
    Wrong(String),
}

impl Usage {
    /// Prints help to stdout, or one line of `program`'s to stderr; exit code 0 or 2.
    pub fn exit(&self, program: &str) -> ExitCode {
        match self {
            Self::Clap(error) if !error.use_stderr() => {
                drop(error.print());
                ExitCode::SUCCESS
            }
            Self::Clap(_) => {
                drop(writeln!(std::io::stderr(), "{program}: {self}; see {program} --help"));
                ExitCode::from(2)
            }
            Self::Wrong(_) => {
                drop(writeln!(std::io::stderr(), "{program}: {self}"));
                ExitCode::from(2)
            }
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clap(error) => {
                let text = error.render().to_string();
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let what: Vec<_> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
                let what = what.join(" ");
                let what = what.strip_prefix("error: ").unwrap_or(&what);
                let what = what.strip_suffix("For more information, try '--help'.").unwrap_or(what);
                f.write_str(what.trim_end())
            }
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

/// The TAP's name and how it is opened, from all values of `--tap`.
///
/// # Errors
/// One of the two is said twice, or the bridge has the TAP's name.
pub fn uplink(bridge: &str, choices: Vec<TapChoice>) -> Result<(String, Backend), Usage> {
    let (mut names, mut backends) = (Vec::new(), Vec::new());
    for choice in choices {
        match choice {
            TapChoice::Name(name) => names.push(name),
            TapChoice::Backend(backend) => backends.push(backend),
        }
    }
    if names.len() > 1 || backends.len() > 1 {
        return Err(Usage::Wrong(
            "--tap is given twice: once for a name and once for auto, offload or plain at most"
                .into(),
        ));
    }
    let tap = names.pop().unwrap_or_else(|| "weave-tap".into());
    if bridge == tap {
        return Err(Usage::Wrong(format!(
            "--bridge and --tap are both {tap}: give them two names"
        )));
    }
    Ok((tap, backends.pop().unwrap_or(Backend::Auto)))
}

/// How many queues, where the operator wants so many or leaves it to us.
///
/// # Errors
/// A plain TAP has one.
pub fn queues_of(backend: Backend, wanted: Option<usize>) -> Result<usize, Usage> {
    match (backend, wanted) {
        (Backend::Plain, Some(queues)) if queues > 1 => Err(Usage::Wrong(
            "--tap plain has one queue: leave out --queues, or use --tap offload".into(),
        )),
        (Backend::Plain, _) => Ok(1),
        (Backend::Auto | Backend::Offload, wanted) => {
            Ok(wanted.unwrap_or_else(crate::engine::default_queues))
        }
    }
}

/// As the kernel's `dev_valid_name`: 1 to 15 octets, no slash, colon or white space, not `.` or `..`.
///
/// # Errors
/// It is none; all parsers below say what is expected.
pub fn link_name(text: &str) -> Result<String, String> {
    let bad = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 15 || text.contains(bad) || matches!(text, "." | "..") {
        return Err("a link's name has 1 to 15 characters, without '/', ':', '%' or spaces".into());
    }
    if matches!(text, "all" | "default") {
        return Err("the kernel keeps this name for settings of all links: choose another".into());
    }
    Ok(text.into())
}

/// A value of `--tap`.
///
/// # Errors
/// It is no link's name.
pub fn tap(text: &str) -> Result<TapChoice, String> {
    Ok(match text {
        "auto" => TapChoice::Backend(Backend::Auto),
        "offload" => TapChoice::Backend(Backend::Offload),
        "plain" => TapChoice::Backend(Backend::Plain),
        name => TapChoice::Name(link_name(name)?),
    })
}

/// A value of `--vni`.
///
/// # Errors
/// It is none.
pub fn vni(text: &str) -> Result<Vni, String> {
    let vni = text.parse().ok().and_then(Vni::new);
    vni.ok_or_else(|| format!("a VNI is a number from 0 to {}", Vni::MAX))
}

/// A value of `--mtu`.
///
/// # Errors
/// It is none.
pub fn mtu(text: &str) -> Result<MtuChoice, String> {
    if text == "auto" {
        return Ok(MtuChoice::Auto);
    }
    let mtu = text.parse().ok().and_then(Mtu::new).map(MtuChoice::Fixed);
    mtu.ok_or_else(|| format!("an MTU is `auto` or a number from {} to {}", Mtu::MIN, Mtu::MAX))
}

/// A value of `--queues`.
///
/// # Errors
/// It is none.
pub fn queues(text: &str) -> Result<usize, String> {
    let queues = text.parse().ok().filter(|queues| (1..=QUEUES_MAX).contains(queues));
    queues.ok_or_else(|| format!("1 to {QUEUES_MAX} queues are possible"))
}

/// A value of `--quirk`.
///
/// # Errors
/// It is none.
pub fn quirk(text: &str) -> Result<(&'static Quirk, bool), String> {
    let known = || QUIRKS.map(|quirk| quirk.name).join(", ");
    let (name, state) = text.split_once('=').ok_or("NAME=on or NAME=off is expected")?;
    let quirk = Quirk::named(name).ok_or_else(|| format!("known are {}", known()))?;
    match state {
        "on" => Ok((quirk, true)),
        "off" => Ok((quirk, false)),
        _ => Err("NAME=on or NAME=off is expected".into()),
    }
}

/// A value of `--poll`.
///
/// # Errors
/// It is none.
pub fn poll(text: &str) -> Result<Poll, String> {
    match text {
        "adaptive" => Ok(Poll::Adaptive),
        "off" => Ok(Poll::Off),
        text => {
            let us = text.parse().ok().filter(|us| (1..=1_000_000).contains(us));
            let us =
                us.ok_or("a time to look is `adaptive`, `off` or 1 to 1000000 microseconds")?;
            Ok(Poll::Fixed(Duration::from_micros(us)))
        }
    }
}
