//! Requests to rtnetlink, on threads that may wait.
//!
//! The kernel works a request off within the call that sends it, and waits there for whoever changes links (`rtnl_mutex`,
//! `net/core/rtnetlink.c`): on a node that makes or removes many, for seconds. A runtime's thread that sent it would do nothing else
//! meanwhile, and nobody would hear of this node.

use std::sync::mpsc;
use std::{io, thread};

use rtnetlink::Handle;
use tokio::runtime::Runtime;

/// Opens a netlink socket of its own in the calling thread's network namespace. Its thread ends when the last copy of the handle is
/// dropped.
///
/// # Errors
/// No socket or no thread is to be had.
pub fn connect() -> io::Result<Handle> {
    let (tell, told) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("netlink".to_owned());
    thread.spawn(move || match open() {
        Ok((runtime, connection, handle)) => {
            if tell.send(Ok(handle)).is_ok() {
                runtime.block_on(connection);
            }
        }
        Err(error) => drop(tell.send(Err(error))),
    })?;
    told.recv().map_err(io::Error::other)?
}

fn open() -> io::Result<(Runtime, impl Future<Output = ()>, Handle)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (connection, handle, _) = {
        let _within = runtime.enter();
        rtnetlink::new_connection()?
    };
    Ok((runtime, connection, handle))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use futures_util::TryStreamExt;
    use tokio::time::{sleep, timeout};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// The kernel's numbers of this process' threads for netlink.
    fn threads() -> Vec<String> {
        let all = fs::read_dir("/proc/self/task").unwrap().flatten();
        let name = |it: &fs::DirEntry| fs::read_to_string(it.path().join("comm"));
        let of_netlink = |it: &fs::DirEntry| name(it).is_ok_and(|it| it.trim() == "netlink");
        all.filter(of_netlink).map(|it| it.file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_request_is_answered_and_the_thread_ends_with_the_last_handle() {
        let before = threads();
        let handle = connect().unwrap();
        let mut ours = threads();
        ours.retain(|it| !before.contains(it));
        assert!(!ours.is_empty());

        let found = handle.link().get().match_name("lo".to_owned()).execute().try_next().await;
        drop(handle);

        assert!(found.unwrap().is_some());
        let ended = async {
            while threads().iter().any(|it| ours.contains(it)) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, ended).await.expect("the thread goes on");
    }
}
