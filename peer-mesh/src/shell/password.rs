//! The mesh's password: from a file, or from the environment as Weave has it.

use std::env::VarError;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Psk;

/// The environment variable with the password.
const VARIABLE: &str = "WEAVE_PASSWORD";
/// Octets of a password: none is as long.
const MAX: u64 = 4096;
/// How long a pipe may keep us waiting for what it has.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Why there is no password to be had. Going on without one would let everybody in.
#[derive(Debug, thiserror::Error)]
pub enum NoPassword {
    /// The file cannot be read.
    #[error("cannot read the password in {}: {why}; name a file that this user can read", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// The file is no password.
    #[error("the file {} has more than {MAX} octets: name one that holds a password", .0.display())]
    Long(PathBuf),
    /// It is no text.
    #[error("the password in {0} is not UTF-8: give one that is")]
    NotText(String),
    /// It cannot be used.
    #[error(
        "the password in {from} cannot be used: {why}; give another, or leave it out for an open mesh"
    )]
    Unusable {
        /// Where it was.
        from: String,
        /// Why.
        why: String,
    },
}

impl Psk {
    /// The password in `file`, whose final newline does not belong to it; else the one in the environment variable
    /// `WEAVE_PASSWORD`; else none. Takes a tenth of a second, on purpose.
    ///
    /// # Errors
    /// As [`NoPassword`] says.
    pub fn find(file: Option<&Path>) -> Result<Self, NoPassword> {
        let (password, from) = match file {
            Some(file) => (read(file)?, file.display().to_string()),
            None => match std::env::var(VARIABLE) {
                // An empty variable is how scripts say none.
                Ok(password) if !password.is_empty() => (password, VARIABLE.to_owned()),
                Ok(_) | Err(VarError::NotPresent) => return Ok(Self::open()),
                Err(VarError::NotUnicode(_)) => {
                    return Err(NoPassword::NotText(VARIABLE.to_owned()));
                }
            },
        };
        let key = Self::from_password(&password);
        key.map_err(|why| NoPassword::Unusable { from, why: why.to_string() })
    }
}

fn read(file: &Path) -> Result<String, NoPassword> {
    let octets = read_soon(file).map_err(|why| NoPassword::Read { file: file.to_owned(), why })?;
    if octets.len() as u64 > MAX {
        return Err(NoPassword::Long(file.to_owned()));
    }
    let text = String::from_utf8(octets);
    let text = text.map_err(|_| NoPassword::NotText(file.display().to_string()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Reads all there is. A pipe whose other end says nothing is not waited for for ever: no signal would end us meanwhile.
fn read_soon(file: &Path) -> io::Result<Vec<u8>> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(nonblock).open(file)?;
    let (mut opened, mut octets) = (opened.take(MAX + 1), Vec::new());
    loop {
        match opened.read_to_end(&mut octets) {
            Ok(_) => return Ok(octets),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(opened.get_ref(), PollFlags::IN)];
                if poll(&mut fds, Some(&PATIENCE))? == 0 {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody writes to it"));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::scratch::Scratch;

    #[test]
    fn a_file_is_read_without_its_final_newline_and_what_is_no_password_is_refused() {
        let scratch = Scratch::new("password");
        let file = scratch.path().join("password");
        let with = |octets: &[u8]| {
            std::fs::write(&file, octets).unwrap();
            Psk::find(Some(&file))
        };

        let long = "x".repeat(40);
        let plain = with(long.as_bytes()).unwrap();
        assert!(with(format!("{long}\n").as_bytes()).unwrap() == plain);
        assert!(matches!(with(&[0xff; 40]), Err(NoPassword::NotText(_))));
        assert!(matches!(with(&[b'x'; 5000]), Err(NoPassword::Long(_))));
        assert!(matches!(with(b""), Err(NoPassword::Unusable { .. })));
        let pipe = scratch.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        assert!(matches!(Psk::find(Some(&pipe)), Err(NoPassword::Unusable { .. })));
        let missing = scratch.path().join("missing");
        assert!(matches!(Psk::find(Some(&missing)), Err(NoPassword::Read { .. })));
    }
}
