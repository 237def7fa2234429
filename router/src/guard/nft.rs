//! The process `nft`, with a deadline.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::listing::Listing;

/// For one call: it takes some 10 ms, and longer where others change a large ruleset.
const DEADLINE: Duration = Duration::from_secs(5);

/// Where `nft` may be, besides the path: daemons are often started without these.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why nft did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It is not installed.
    #[error("there is no program nft; install nftables")]
    Missing,
    /// It says no.
    #[error("nft says: {0}; it needs CAP_NET_ADMIN and a kernel with nf_tables")]
    Refused(String),
    /// It does not know the rules that bring VXLAN to the process.
    #[error("nft says: {0}; it needs CAP_NET_ADMIN and a kernel with nft_tproxy and nft_socket")]
    NoTproxy(String),
    /// There is no socket that VXLAN could be brought to.
    #[error("there is no transparent socket")]
    NoReceiver,
    /// It hangs.
    #[error("nft did not end within 5 s; see whether another process changes rules all the time")]
    Late,
    /// It could not be run.
    #[error("nft could not be run: {0}; see the limits of this process")]
    Process(#[source] io::Error),
    /// Its answer is none.
    #[error("nft -j gave no JSON that is understood: {0}; see its version")]
    Unreadable(String),
    /// The table is not there.
    #[error("somebody has removed the table {0}; it is put back by the next look")]
    Gone(String),
}

/// Runs nft in the network namespace of the calling thread.
#[derive(Debug)]
pub(super) struct Nft {
    program: &'static str,
    deadline: Duration,
}

impl Default for Nft {
    fn default() -> Self {
        Self { program: "nft", deadline: DEADLINE }
    }
}

impl Nft {
    /// Applies these commands, all or none.
    pub(super) async fn run(&self, commands: &str) -> Result<(), NftError> {
        let output = self.call(&["-f", "-"], commands).await?;
        if output.status.success() { Ok(()) } else { Err(refusal(&output)) }
    }

    /// Whether nft and the kernel would take them: nothing changes.
    pub(super) async fn check(&self, commands: &str) -> Result<(), NftError> {
        let output = self.call(&["-c", "-f", "-"], commands).await?;
        if output.status.success() { Ok(()) } else { Err(refusal(&output)) }
    }

    /// What there is of a table of ours; `None` when there is no such table.
    pub(super) async fn listing(&self, table: [&str; 2]) -> Result<Option<Listing>, NftError> {
        let [family, name] = table;
        let output = self.call(&["-j", "list", "table", family, name], "").await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let missing = said.contains("No such file or directory");
            return if missing { Ok(None) } else { Err(refusal(&output)) };
        }
        Listing::parse(&output.stdout).map(Some).map_err(NftError::Unreadable)
    }

    /// The same; a listing that cannot be understood is an empty one: nft 1.0.6 says nonsense of a table
    /// with flags, which ours has only from somebody else.
    pub(super) async fn state(&self, table: [&str; 2]) -> Result<Option<Listing>, NftError> {
        match self.listing(table).await {
            Err(NftError::Unreadable(_)) => Ok(Some(Listing::default())),
            outcome => outcome,
        }
    }

    /// What there is of a table that has to be there.
    pub(super) async fn expect_listing(&self, table: [&str; 2]) -> Result<Listing, NftError> {
        self.listing(table).await?.ok_or_else(|| NftError::Gone(table.join(" ")))
    }

    async fn call(&self, args: &[&str], input: &str) -> Result<Output, NftError> {
        match tokio::time::timeout(self.deadline, called(self.program, args, input)).await {
            Err(_late) => Err(NftError::Late),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(NftError::Missing),
            Ok(outcome) => outcome.map_err(NftError::Process),
        }
    }
}

async fn called(program: &str, args: &[&str], input: &str) -> io::Result<Output> {
    let mut command = Command::new(find(program, &search_path())?);
    command.args(args).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who ends without reading has said why on stderr.
        let _unread = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}

fn search_path() -> OsString {
    let own = env::var_os("PATH").map(|own| [own, ":".into()].into_iter().collect::<OsString>());
    [own.unwrap_or_default(), PATH.into()].into_iter().collect()
}

/// Where a program is. With that, and with nothing else that would take more, `Command` needs no fork(2) but has posix_spawn(3). A fork
/// copies what this process has mapped, for up to seconds on a busy machine, and any thread of it that touches a page anew waits
/// for that, those that carry frames among them.
fn find(program: &str, path: &OsStr) -> io::Result<PathBuf> {
    let mut places = env::split_paths(path).map(|dir| dir.join(program));
    let fits = |file: &PathBuf| file.is_file() && access(file, Access::EXEC_OK).is_ok();
    places.find(fits).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The first line: the others point at the place in a text that nobody sees.
fn refusal(output: &Output) -> NftError {
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    NftError::Refused(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(program: &'static str, commands: &str) -> Result<(), NftError> {
        Nft { program, deadline: Duration::from_millis(300) }.run(commands).await
    }

    #[tokio::test]
    async fn a_machine_without_nft_is_told_what_to_install() {
        let error = told("no-such-nft", "").await.unwrap_err();

        assert_eq!(error.to_string(), "there is no program nft; install nftables");
    }

    // `sh -f -` takes its commands from stdin, as nft does.
    #[tokio::test]
    async fn what_nft_says_first_is_why_it_refused() {
        let error = told("sh", "echo 'Error: no' >&2; echo more >&2; exit 1").await.unwrap_err();

        assert!(matches!(error, NftError::Refused(said) if said == "Error: no"));
    }

    #[test]
    fn a_program_is_found_by_its_path_and_has_to_be_one() {
        let found = find("sh", &search_path()).unwrap();

        assert!(found.is_absolute() && found.ends_with("sh"), "{}", found.display());
        for nothing in ["bin", "os-release", "no-such-nft"] {
            assert!(find(nothing, OsStr::new("/etc:/usr")).is_err(), "{nothing}");
        }
    }

    #[tokio::test]
    async fn an_nft_that_hangs_is_given_up() {
        assert!(matches!(told("sh", "exec sleep 60").await, Err(NftError::Late)));
    }
}
