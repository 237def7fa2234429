use std::net::SocketAddr;
use std::time::Duration;

use peer_mesh::{ConnId, Mesh, Output};

/// What runs on a host: a core, or something a scenario wrote to play foul. The calls are those of
/// [`Mesh`], which has their contract.
pub trait Process {
    /// A connection came in.
    fn handle_accepted(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        now: Duration,
    ) -> Option<ConnId>;
    /// A dialled connection is open.
    fn handle_connected(&mut self, conn: ConnId, local: SocketAddr, now: Duration);
    /// It could not be opened.
    fn handle_dial_failed(&mut self, conn: ConnId, why: &str, now: Duration);
    /// Octets came.
    fn handle_bytes(&mut self, conn: ConnId, octets: &[u8], now: Duration);
    /// The socket took octets.
    fn handle_written(&mut self, conn: ConnId, octets: usize, now: Duration);
    /// The connection ended.
    fn handle_closed(&mut self, conn: ConnId, why: &str, now: Duration);
    /// The time has come.
    fn handle_timeout(&mut self, now: Duration);
    /// What to do next.
    fn poll_output(&mut self) -> Option<Output>;
    /// When to call `handle_timeout`.
    fn poll_timeout(&self) -> Option<Duration>;
    /// Whether the process ends.
    fn is_stopped(&self) -> bool {
        false
    }
    /// The core, if it is one.
    fn mesh(&self) -> Option<&Mesh> {
        None
    }
    /// The core, if it is one, for requests.
    fn mesh_mut(&mut self) -> Option<&mut Mesh> {
        None
    }
}

impl Process for Mesh {
    fn handle_accepted(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        now: Duration,
    ) -> Option<ConnId> {
        Self::handle_accepted(self, local, remote, now)
    }

    fn handle_connected(&mut self, conn: ConnId, local: SocketAddr, now: Duration) {
        Self::handle_connected(self, conn, local, now);
    }

    fn handle_dial_failed(&mut self, conn: ConnId, why: &str, now: Duration) {
        Self::handle_dial_failed(self, conn, why, now);
    }

    fn handle_bytes(&mut self, conn: ConnId, octets: &[u8], now: Duration) {
        Self::handle_bytes(self, conn, octets, now);
    }

    fn handle_written(&mut self, conn: ConnId, octets: usize, now: Duration) {
        Self::handle_written(self, conn, octets, now);
    }

    fn handle_closed(&mut self, conn: ConnId, why: &str, now: Duration) {
        Self::handle_closed(self, conn, why, now);
    }

    fn handle_timeout(&mut self, now: Duration) {
        Self::handle_timeout(self, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Duration> {
        Self::poll_timeout(self)
    }

    fn is_stopped(&self) -> bool {
        Self::is_stopped(self)
    }

    fn mesh(&self) -> Option<&Mesh> {
        Some(self)
    }

    fn mesh_mut(&mut self) -> Option<&mut Mesh> {
        Some(self)
    }
}
