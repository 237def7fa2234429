//! What a runtime asks for, by its environment and on stdin.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use rscni_types::error::Error;
use rscni_types::types::{
    CNI_ARGS, CNI_COMMAND, CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS, CNI_PATH, Cmd, ContainerId,
    InterfaceName, NetConf,
};
use rscni_types::version::SpecVersion;
use serde_json::{Map, Value};

use crate::answer::plugin;
use crate::args::Args;
use crate::config::Config;
use crate::object::Object;

/// What is said of the plugin to whoever runs it by hand.
pub const ABOUT: &str = "weft-cni: connects containers to the pod network of weftd. Container runtimes run it; see `weft attach` to connect one by hand.";

/// Octets of a configuration: more is none.
const STDIN_MAX: u64 = 4 << 20;

/// What a runtime asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Nothing: somebody runs it by hand.
    About,
    /// Which versions are understood.
    Version,
    /// To do something.
    Request(Box<Request>),
}

/// A verb with all that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Any but VERSION.
    pub verb: Cmd,
    /// With ADD, DEL and CHECK.
    pub attachment: Option<Attachment>,
    /// What the runtime says beside the configuration.
    pub args: Args,
    /// Where plugins are.
    pub path: Vec<PathBuf>,
    /// The network.
    pub config: Config,
    /// The configuration as it came: what other plugins are given.
    pub stdin: Vec<u8>,
}

/// A container's interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// Of which container.
    pub container: ContainerId,
    /// What it is called there.
    pub ifname: InterfaceName,
    /// The container's network namespace. With DEL it may be gone.
    pub netns: Option<PathBuf>,
}

/// An error, and the version it is to be told in.
pub type Refused = (Option<SpecVersion>, Error);

impl Call {
    /// Understands a call. `stdin` is read unless the versions are asked for.
    ///
    /// # Errors
    /// As the specification numbers them: variables (4), stdin (5, 6), the configuration (2, 6, 7), the version (1).
    pub fn read(env: impl Fn(&str) -> Option<OsString>, stdin: impl Read) -> Result<Self, Refused> {
        let plain = |error| (None, error);
        let env = Env::read(env).map_err(plain)?;
        let Some(env) = env else { return Ok(Self::About) };
        if env.verb == Cmd::Version {
            return Ok(Self::Version);
        }
        let stdin = read(stdin).map_err(plain)?;
        let map = object(&stdin).map_err(plain)?;
        let head = head(&map).map_err(plain)?;
        let version = head.version().map_err(plain)?;
        let request = env.with(&map, head, stdin);
        request.map(|it| Self::Request(Box::new(it))).map_err(|error| (Some(version), error))
    }
}

/// The environment.
struct Env {
    verb: Cmd,
    container: String,
    ifname: String,
    netns: String,
    args: String,
    path: String,
}

impl Env {
    fn read(env: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Error> {
        let get = |name: &'static str| {
            let text = env(name).unwrap_or_default().into_string();
            text.map_err(|_| Error::InvalidEnvValue(format!("{name} is no UTF-8")))
        };
        let verb = get(CNI_COMMAND)?;
        if verb.is_empty() {
            return Ok(None);
        }
        let it = Self {
            verb: verb.parse()?,
            container: get(CNI_CONTAINERID)?,
            ifname: get(CNI_IFNAME)?,
            netns: get(CNI_NETNS)?,
            args: get(CNI_ARGS)?,
            path: get(CNI_PATH)?,
        };
        let wanted: &[&str] = match it.verb {
            Cmd::Add | Cmd::Check => &[CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH],
            Cmd::Del => &[CNI_CONTAINERID, CNI_IFNAME, CNI_PATH],
            Cmd::Gc | Cmd::Status => &[CNI_PATH],
            Cmd::Version => &[],
        };
        let missing: Vec<&str> =
            wanted.iter().copied().filter(|name| it.value(name).is_empty()).collect();
        if missing.is_empty() { Ok(Some(it)) } else { Err(Error::missing_env(&missing)) }
    }

    fn value(&self, name: &str) -> &str {
        match name {
            CNI_CONTAINERID => &self.container,
            CNI_NETNS => &self.netns,
            CNI_IFNAME => &self.ifname,
            _ => &self.path,
        }
    }

    fn with(
        self,
        map: &Map<String, Value>,
        head: NetConf,
        stdin: Vec<u8>,
    ) -> Result<Request, Error> {
        head.validate_name()?;
        let attachment = match self.verb {
            Cmd::Add | Cmd::Del | Cmd::Check => Some(Attachment {
                container: self.container.parse()?,
                ifname: self.ifname.parse()?,
                netns: (!self.netns.is_empty()).then(|| PathBuf::from(&self.netns)),
            }),
            Cmd::Gc | Cmd::Status | Cmd::Version => None,
        };
        let version = plugin().negotiate(&head, self.verb)?;
        let (args, config) = match self.verb {
            // What was refused at ADD keeps nobody from being taken away.
            Cmd::Del | Cmd::Gc | Cmd::Status => {
                let args = Args::parse(&self.args).unwrap_or_default();
                (args, Config::parse_needed(map, (version, head.name))?)
            }
            Cmd::Add | Cmd::Check | Cmd::Version => {
                let args = Args::parse(&self.args)?;
                let config = Config::parse(map, (version, head.name), &args)?;
                (args, config)
            }
        };
        if self.verb == Cmd::Check && config.previous.is_none() {
            return Err(Error::InvalidNetworkConfig("prevResult is missing".to_owned()));
        }
        if self.verb == Cmd::Gc && config.valid.is_none() {
            let why = "cni.dev/valid-attachments is missing: nothing is removed";
            return Err(Error::InvalidNetworkConfig(why.to_owned()));
        }
        let path = std::env::split_paths(&self.path).collect();
        Ok(Request { verb: self.verb, attachment, args, path, config, stdin })
    }
}

fn read(stdin: impl Read) -> Result<Vec<u8>, Error> {
    let mut octets = Vec::new();
    let failed =
        |error: std::io::Error| Error::IOFailure(format!("error reading from stdin: {error}"));
    stdin.take(STDIN_MAX + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > STDIN_MAX {
        let why = format!("the configuration is longer than {STDIN_MAX} octets");
        return Err(Error::InvalidNetworkConfig(why));
    }
    Ok(octets)
}

fn object(stdin: &[u8]) -> Result<Map<String, Value>, Error> {
    let wrong =
        |error| Error::FailedToDecode(format!("the configuration is no JSON object: {error}"));
    serde_json::from_slice(stdin).map_err(wrong)
}

/// The two fields that are looked at before all others.
fn head(map: &Map<String, Value>) -> Result<NetConf, Error> {
    let all = Object::new(map, "");
    let cni_version = all.get("cniVersion")?.unwrap_or_default();
    Ok(NetConf { cni_version, name: all.get("name")?.unwrap_or_default(), ..NetConf::default() })
}

#[cfg(test)]
mod tests;
