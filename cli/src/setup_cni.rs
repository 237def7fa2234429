//! `weft setup-cni`: puts the CNI plugin and its configuration where container runtimes look, and takes them away again.
//!
//! Runtimes watch the directory of configurations, and take the first of them as soon as it is there: so it comes last, and
//! goes first. Each file is renamed into place from the same directory, as some of them miss any other way of coming to be
//! there, and as a plugin may be running that is replaced. A file of ours is known by what is in it; no other is touched.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Result;
use api::Problem;
use serde_json::Value;

use crate::args::SetupCni;
use crate::output;
use crate::partial::{Partial, denied};

/// The plugin's name, as configurations have it.
const PLUGIN: &str = "weft-cni";
/// What the plugin is called by configurations that were Weave's.
const OLD_NAME: &str = "weave-net";
/// Before what other plugins are usually called: runtimes take the first.
const CONFIGURATION: &str = "10-weft.conflist";
/// By this every release of the plugin is known: it is what it says of itself.
const MARK: &[u8] = b"weft-cni: connects containers to the pod network of weftd";
/// containerd 1.6 knows no later version than this.
const VERSION: &str = "1.0.0";
/// Where weftd keeps its state unless it is told otherwise.
const STATE_DIR: &str = "/var/lib/weft";
/// Plugins of the configuration that are others'.
const CHAINED: [&str; 2] = ["portmap", "bandwidth"];
/// What runtimes take for configurations.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

pub(crate) fn run(of: &SetupCni, socket: &Path) -> Result<()> {
    let places = Places {
        plugin: of.plugins.join(PLUGIN),
        old_name: of.plugins.join(OLD_NAME),
        configuration: of.configurations.join(CONFIGURATION),
    };
    if of.remove { places.remove() } else { places.install(of, socket) }
}

/// Where everything is to be.
struct Places {
    plugin: PathBuf,
    old_name: PathBuf,
    configuration: PathBuf,
}

impl Places {
    fn install(&self, of: &SetupCni, socket: &Path) -> Result<()> {
        let own = own_plugin()?;
        let (there, configured) = (read(&self.plugin)?, read(&self.configuration)?);
        // All that forbids it comes before anything is done.
        refuse_others(&self.plugin, there.as_deref(), is_plugin)?;
        refuse_others(&self.configuration, configured.as_deref(), is_configuration)?;
        for directory in [&of.plugins, &of.configurations] {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(|why| denied(directory, &why))?;
        }
        if there.as_ref() != Some(&own) {
            put(&self.plugin, &own, 0o755)?;
        }
        match symlink(PLUGIN, &self.old_name) {
            Ok(()) => say(&format!("installed {}", self.old_name.display()))?,
            // Whosever it is, it stays.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(denied(&self.old_name, &why).into()),
        }
        // What was changed by hand stays so.
        if configured.is_none() {
            put(&self.configuration, conflist(of, socket)?.as_bytes(), 0o600)?;
        }
        warn(of)
    }

    fn remove(&self) -> Result<()> {
        if read(&self.configuration)?.is_some_and(|it| is_configuration(&it)) {
            take(&self.configuration)?;
        }
        if fs::read_link(&self.old_name).is_ok_and(|to| to == Path::new(PLUGIN)) {
            take(&self.old_name)?;
        }
        if read(&self.plugin)?.is_some_and(|it| is_plugin(&it)) {
            take(&self.plugin)?;
        }
        Ok(())
    }
}

/// The configuration. Where the daemon is, if it is elsewhere than the plugin looks.
fn conflist(of: &SetupCni, socket: &Path) -> Result<String> {
    let state_dir = of.state_dir.as_deref().unwrap_or_else(|| Path::new(STATE_DIR));
    let mut own = format!(r#"{{ "type": "{PLUGIN}""#);
    for (key, path, usual) in
        [("socket", socket, api::DEFAULT_SOCKET), ("stateDir", state_dir, STATE_DIR)]
    {
        if path != Path::new(usual) {
            let path = std::path::absolute(path)?;
            own += &format!(r#", "{key}": {}"#, serde_json::to_string(&path)?);
        }
    }
    Ok(format!(
        r#"{{
  "cniVersion": "{VERSION}",
  "name": "weft",
  "plugins": [
    {own} }},
    {{ "type": "portmap", "capabilities": {{ "portMappings": true }}, "snat": true }},
    {{ "type": "bandwidth", "capabilities": {{ "bandwidth": true }} }}
  ]
}}
"#
    ))
}

/// The plugin that is beside this program.
fn own_plugin() -> Result<Vec<u8>> {
    let own = std::env::current_exe().map(|own| own.with_file_name(PLUGIN));
    let absent = |path: &Path, why: String| Problem {
        what: format!("cannot read {}", path.display()),
        why,
        what_to_do: "install weft-cni beside weft".into(),
    };
    let path = own.map_err(|why| absent(Path::new(PLUGIN), why.to_string()))?;
    let octets = fs::read(&path).map_err(|why| absent(&path, why.to_string()))?;
    if !is_plugin(&octets) {
        return Err(absent(&path, "it is not weft's plugin".into()).into());
    }
    Ok(octets)
}

fn is_plugin(octets: &[u8]) -> bool {
    octets.windows(MARK.len()).any(|it| it == MARK)
}

/// Whether it has a plugin of ours, whatever else it has.
fn is_configuration(octets: &[u8]) -> bool {
    let Ok(all) = serde_json::from_slice::<Value>(octets) else { return false };
    let plugins = all.get("plugins").and_then(Value::as_array);
    plugins.is_some_and(|all| all.iter().any(|it| it.get("type") == Some(&PLUGIN.into())))
}

/// What is in a file, if there is one.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(octets) => Ok(Some(octets)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(denied(path, &why).into()),
    }
}

fn refuse_others(path: &Path, there: Option<&[u8]>, is_ours: fn(&[u8]) -> bool) -> Result<()> {
    if there.is_none_or(is_ours) {
        return Ok(());
    }
    let problem = Problem {
        what: format!("cannot install {}", path.display()),
        why: "there is one that is not weft's".into(),
        what_to_do: "move it away, or name another directory".into(),
    };
    Err(problem.into())
}

fn put(path: &Path, octets: &[u8], mode: u32) -> Result<()> {
    let partial = Partial::create(path)?;
    let mut file = partial.file();
    let written = file.write_all(octets);
    let written = written.and_then(|()| file.set_permissions(Permissions::from_mode(mode)));
    written.map_err(|why| denied(path, &why))?;
    partial.keep(path)?;
    sync_directory_of(path)?;
    say(&format!("installed {}", path.display()))
}

fn take(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|why| denied(path, &why))?;
    sync_directory_of(path)?;
    say(&format!("removed {}", path.display()))
}

/// Else a power failure may undo a rename, or half of an order.
fn sync_directory_of(path: &Path) -> Result<()> {
    let Some(directory) = path.parent() else { return Ok(()) };
    let synced = File::open(directory).and_then(|it| it.sync_all());
    synced.map_err(|why| denied(directory, &why).into())
}

/// What is not ours to change, and would keep pods from their network.
fn warn(of: &SetupCni) -> Result<()> {
    for plugin in CHAINED {
        if !of.plugins.join(plugin).exists() {
            let place = of.plugins.display();
            say(&format!("missing {plugin} in {place}: without it no pod starts"))?;
        }
    }
    let first = fs::read_dir(&of.configurations).into_iter().flatten().flatten();
    let first = first.map(|it| it.path()).filter(|it| is_read_by_runtimes(it)).min();
    if let Some(first) = first.filter(|it| !it.ends_with(CONFIGURATION)) {
        say(&format!("{} comes first: runtimes take that one", first.display()))?;
    }
    Ok(())
}

fn is_read_by_runtimes(path: &Path) -> bool {
    let extension = path.extension().and_then(|it| it.to_str());
    extension.is_some_and(|it| EXTENSIONS.contains(&it))
}

fn say(line: &str) -> Result<()> {
    output::print(&format!("{}\n", api::printable(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_says_of_itself_by_what_it_is_known() {
        let source = include_str!("../../cni-shim/src/call.rs");

        assert!(is_plugin(source.as_bytes()));
        assert!(!is_plugin(b"weft-cni"));
    }

    fn usual() -> String {
        let of = SetupCni {
            plugins: PathBuf::new(),
            configurations: PathBuf::new(),
            state_dir: None,
            remove: false,
        };
        conflist(&of, Path::new(api::DEFAULT_SOCKET)).unwrap()
    }

    #[test]
    fn a_configuration_is_ours_if_our_plugin_is_in_it() {
        assert!(is_configuration(usual().as_bytes()));
        for other in ["", "{}", "weft-cni", r#"{"plugins": [{"type": "bridge"}]}"#, "[]"] {
            assert!(!is_configuration(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_documentation_has_the_same_configuration() {
        let doc = include_str!("../../docs/CNI.md");

        assert!(doc.contains(&usual()));
    }
}
