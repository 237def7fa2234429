//! A connection's task: octets from the socket to the control loop, and from it to the socket.
//!
//! Reading: a place in the loop's queue first, then a buffer, then the read. A connection that is idle, or
//! that the loop has no time for, holds no buffer; what a peer sends meanwhile waits in its own socket.
//! Writing: what the core hands out, in order; each write that the socket takes is reported. The core hands
//! out a window at most, so the queue between loop and task needs no bound of its own (the loop counts, and
//! cuts a connection that breaks this).
//!
//! The loop closes a connection by dropping its [`Line`]. What was handed out is then written, the
//! direction is shut, and what still comes is read and thrown away until the peer shuts its own: a socket
//! closed over unread octets is reset, and a reset can overtake the reason we have just given.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::gate::Admission;
use super::input::{Input, Inputs};
use super::listener::linger_not;
use crate::ConnId;

/// Octets read at once.
const READ: usize = 16 * 1024;
/// Octets written at once, if there are as many.
const WRITE: usize = 16 * 1024;
/// How long a connection may take to open: a TCP handshake with two lost SYNs (1 s and 2 s, RFC 6298).
const DIAL: Duration = Duration::from_secs(3);
/// How long a closed connection may take to write what it was given and to hear that the peer has it all.
pub(super) const FLUSH: Duration = Duration::from_secs(1);

/// The control loop's end of a connection. Dropping it closes the connection, after a flush.
#[derive(Debug)]
pub(super) struct Line {
    /// First, so that it is dropped first: the end of `octets` alone would look like an error.
    _open: oneshot::Sender<()>,
    octets: mpsc::UnboundedSender<Vec<u8>>,
}

/// The task's end of a connection.
#[derive(Debug)]
pub(super) struct Orders {
    octets: mpsc::UnboundedReceiver<Vec<u8>>,
    closing: oneshot::Receiver<()>,
}

/// The two ends.
pub(super) fn line() -> (Line, Orders) {
    let (to, octets) = mpsc::unbounded_channel();
    let (open, closing) = oneshot::channel();
    (Line { _open: open, octets: to }, Orders { octets, closing })
}

impl Line {
    /// Hands octets to the task.
    pub(super) fn send(&self, octets: Vec<u8>) {
        // A task that has ended has said so, or is about to: the loop closes the connection then.
        let _ = self.octets.send(octets);
    }
}

/// Opens a connection; the outcome goes to the loop.
pub(super) async fn dial(conn: ConnId, addr: SocketAddr, inputs: Inputs) {
    let outcome = match timeout(DIAL, TcpStream::connect(addr)).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", DIAL.as_secs())),
    };
    let input = match outcome {
        Ok(stream) => Input::Connected { conn, stream },
        Err(why) => Input::DialFailed { conn, why },
    };
    // Nobody is left to be told when the loop has ended.
    let _ = inputs.send(input).await;
}

/// Serves an open connection until it ends or is closed.
pub(super) async fn serve(
    conn: ConnId,
    stream: TcpStream,
    mut orders: Orders,
    inputs: Inputs,
    admission: Option<Arc<Admission>>,
) {
    // Batches are whole as they are, and a keepalive is no use late. Without it all still works.
    let _ = stream.set_nodelay(true);
    let (reading, writing) = stream.into_split();
    let why = {
        let mut writer = Box::pin(write(conn, writing, orders.octets, &inputs));
        let ended = tokio::select! {
            biased;
            _ = &mut orders.closing => None,
            () = displaced(admission.as_deref()) => {
                linger_not(reading.as_ref());
                Some("displaced before its handshake was finished".into())
            }
            why = &mut writer => Some(why),
            why = read(conn, &reading, &inputs) => Some(why),
        };
        if ended.is_none() {
            let _ = timeout(FLUSH, async {
                writer.await;
                discard(&reading).await;
            })
            .await;
        }
        ended
    };
    // The descriptor is closed before its place is given back.
    drop(reading);
    drop(admission);
    if let Some(why) = why {
        let _ = inputs.send(Input::Closed { conn, why }).await;
    }
}

async fn displaced(admission: Option<&Admission>) {
    match admission {
        Some(admission) => admission.displaced().await,
        None => std::future::pending().await,
    }
}

/// Reads until the connection ends; returns why.
async fn read(conn: ConnId, half: &OwnedReadHalf, inputs: &Inputs) -> String {
    loop {
        if let Err(error) = half.readable().await {
            return error.to_string();
        }
        let Ok(place) = inputs.reserve().await else { return "the mesh has stopped".into() };
        let mut octets = vec![0; READ];
        match half.try_read(&mut octets) {
            Ok(0) => return "closed by the peer".into(),
            Ok(count) => {
                octets.truncate(count);
                octets.shrink_to_fit();
                place.send(Input::Bytes { conn, octets });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes until the loop drops its end and all is written, or the connection ends; returns why. The
/// direction is shut when this returns.
async fn write(
    conn: ConnId,
    half: OwnedWriteHalf,
    mut octets: mpsc::UnboundedReceiver<Vec<u8>>,
    inputs: &Inputs,
) -> String {
    while let Some(mut batch) = octets.recv().await {
        while batch.len() < WRITE {
            let Ok(more) = octets.try_recv() else { break };
            batch.extend_from_slice(&more);
        }
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            if let Err(error) = half.writable().await {
                return error.to_string();
            }
            match half.try_write(rest) {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    let _ = inputs.send(Input::Written { conn, octets: count }).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return error.to_string(),
            }
        }
    }
    "closed".into()
}

/// Reads and forgets until the peer shuts its direction.
async fn discard(half: &OwnedReadHalf) {
    let mut octets = [0; 1024];
    while half.readable().await.is_ok() {
        match half.try_read(&mut octets) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{IpAddr, TcpListener, TcpStream as Peer};

    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;
    use crate::shell::gate::Gate;

    const CONN: ConnId = ConnId(7);

    /// A served connection, its queue of so many inputs, and the peer's blocking socket.
    async fn served(queue: usize) -> (Line, mpsc::Receiver<Input>, Peer, JoinHandle<()>) {
        served_as(queue, None).await
    }

    async fn served_as(
        queue: usize,
        admission: Option<Arc<Admission>>,
    ) -> (Line, mpsc::Receiver<Input>, Peer, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (inputs, queued) = mpsc::channel(queue);
        let (line, orders) = line();
        let task = tokio::spawn(serve(CONN, stream, orders, inputs, admission));
        (line, queued, peer, task)
    }

    async fn next(queued: &mut mpsc::Receiver<Input>) -> Input {
        timeout(Duration::from_secs(10), queued.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn octets_go_both_ways_and_writes_are_reported() {
        let (line, mut queued, mut peer, _task) = served(8).await;

        peer.write_all(b"ping").unwrap();
        assert!(
            matches!(next(&mut queued).await, Input::Bytes { octets, .. } if octets == b"ping")
        );
        line.send(b"pong".to_vec());
        assert!(matches!(next(&mut queued).await, Input::Written { conn: CONN, octets: 4 }));

        let mut got = [0; 4];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"pong");
    }

    #[tokio::test]
    async fn a_peer_that_closes_is_reported_once() {
        let (_line, mut queued, peer, task) = served(8).await;

        drop(peer);

        assert!(matches!(next(&mut queued).await, Input::Closed { conn: CONN, .. }));
        task.await.unwrap();
        assert!(queued.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_displaced_connection_is_closed_at_once_and_reported() {
        let gate = Gate::new(1);
        let source = |n: u8| IpAddr::from([10, 99, 0, n]);
        let admission = Arc::new(gate.admit(source(1), Duration::ZERO).unwrap());
        let (_line, mut queued, mut peer, task) = served_as(8, Some(admission)).await;

        let _newcomer = gate.admit(source(2), Duration::ZERO).unwrap();

        assert!(matches!(next(&mut queued).await, Input::Closed { conn: CONN, .. }));
        task.await.unwrap();
        assert!(matches!(peer.read(&mut [0; 1]), Ok(0) | Err(_)));
        assert_eq!(gate.unfinished(), 1);
    }

    #[tokio::test]
    async fn a_closed_connection_writes_what_it_was_given_though_the_peer_still_talks() {
        let (line, mut queued, mut peer, task) = served(8).await;
        peer.write_all(b"never read by us").unwrap();
        next(&mut queued).await;
        peer.write_all(&[0; 100_000]).unwrap();

        line.send(b"because".to_vec());
        drop(line);

        let reader = tokio::task::spawn_blocking(move || {
            let mut got = Vec::new();
            // A reset instead of an end would be an error here.
            peer.read_to_end(&mut got).map(|_| got)
        });
        while queued.recv().await.is_some() {}
        let got = reader.await;
        assert_eq!(got.unwrap().unwrap(), b"because");
        timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_delays_a_close_by_a_second_at_most() {
        let (line, mut queued, _peer, task) = served(8).await;
        line.send(vec![0; 64 << 20]);
        next(&mut queued).await;
        let start = Instant::now();

        drop(line);

        let drained = tokio::spawn(async move { while queued.recv().await.is_some() {} });
        timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        drained.await.unwrap();
        assert!(start.elapsed() < FLUSH + Duration::from_millis(500), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_peer_is_read_no_further_than_the_queue_reaches() {
        let (_line, mut queued, mut peer, _task) = served(2).await;
        peer.set_nonblocking(true).unwrap();
        let chunk = [0; READ];
        let mut sent = 0;
        // Until nothing moves any more: the queue and both sockets' buffers are full.
        for _ in 0..100 {
            while let Ok(count) = peer.write(&chunk) {
                sent += count;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        let waiting = queued.len();
        let mut got = 0;
        while got < sent {
            if let Input::Bytes { octets, .. } = next(&mut queued).await {
                assert!(octets.len() <= READ);
                got += octets.len();
            }
        }

        assert_eq!(waiting, 2);
        assert_eq!(got, sent);
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_reported() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (inputs, mut queued) = mpsc::channel(1);

        dial(CONN, closed, inputs).await;

        let Input::DialFailed { conn: CONN, why } = next(&mut queued).await else { panic!() };
        assert!(why.contains("refused"), "{why}");
    }
}
