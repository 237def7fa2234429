//! Which boot of the machine this is.

use std::fs;
use std::io;

/// The kernel's id of this boot, as text.
pub(crate) fn id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
