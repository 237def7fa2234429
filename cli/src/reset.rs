//! `weft reset`: becomes `weftd --reset`, which knows what weftd makes. This program links no data plane.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use api::Problem;

use crate::args::Reset;

/// Returns only if that failed.
pub(crate) fn run(reset: &Reset, socket: &Path) -> Result<()> {
    let program = weftd();
    let mut command = Command::new(&program);
    command.args([OsStr::new("--reset"), OsStr::new("--socket"), socket.as_os_str()]);
    let flags = [(reset.dry_run, "--dry-run"), (reset.force, "--force"), (reset.all, "--all")];
    command.args(flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag));
    if let Some(dir) = &reset.state_dir {
        command.arg("--state-dir").arg(dir);
    }
    let why = command.exec();
    let problem = Problem {
        what: format!("cannot run {}", program.display()),
        why: why.to_string(),
        what_to_do: "install weftd beside weft, or in the path".into(),
    };
    Err(problem.into())
}

/// The one beside this program; else the one in the path.
fn weftd() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("weftd"));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| "weftd".into())
}
