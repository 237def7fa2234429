//! The flight recorder's journal, into a file.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use anyhow::Result;
use api::Client;

use crate::partial::{Partial, denied};

/// Writes the journal to `file`, whole or not at all: under another name first. A device, a pipe or what a link
/// leads to, as `/dev/stdout`, gets what comes, as it comes: that name is not ours to replace. `-` is stdout.
pub(crate) fn write(client: &Client, file: &Path) -> Result<()> {
    if file == Path::new("-") {
        let mut sink = io::stdout().lock();
        client.journal(&mut sink).map_err(|error| error.problem())?;
        return Ok(());
    }
    let special = fs::symlink_metadata(file).is_ok_and(|it| !it.is_file());
    if special {
        let opened = OpenOptions::new().write(true).truncate(true).open(file);
        let mut sink = opened.map_err(|why| denied(file, &why))?;
        client.journal(&mut sink).map_err(|error| error.problem())?;
        return Ok(());
    }
    let partial = Partial::create(file)?;
    let mut sink = partial.file();
    client.journal(&mut sink).map_err(|error| error.problem())?;
    partial.keep(file)
}
