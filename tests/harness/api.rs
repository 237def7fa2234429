//! The daemon's API as a program sees it: HTTP over its unix socket.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use super::weftd::{Daemon, text};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A code and a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Replied {
    /// As 200.
    pub code: u16,
    /// What it says; `null` where nothing.
    pub body: Value,
}

impl Daemon {
    /// Asks something that only reads.
    pub fn get(&self, path: &str) -> Result<Replied> {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: weft\r\n\r\n"), None)
    }

    /// Asks for a change.
    pub fn post(&self, path: &str, body: &Value) -> Result<Replied> {
        self.post_with(path, body, None)
    }

    /// The same with a descriptor, which comes with the first octet.
    pub fn post_with(
        &self,
        path: &str,
        body: &Value,
        given: Option<BorrowedFd<'_>>,
    ) -> Result<Replied> {
        let body = body.to_string();
        let len = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: weft\r\nContent-Length: {len}\r\n\r\n{body}");
        self.http(&request, given)
    }

    /// Leases an address to this id.
    pub fn allocate(&self, id: &str) -> Result<IpAddr> {
        let replied = self.post("/v1/addresses/allocate", &json!({ "id": id }))?;
        replied.address().with_context(|| format!("{} on {}", id, self.node().name()))
    }

    /// Who has which address here.
    pub fn leases(&self) -> Result<Vec<(String, IpAddr)>> {
        let Replied { body, .. } = self.get("/v1/addresses")?;
        let rows = body.get("leases").and_then(Value::as_array).context("no leases")?;
        rows.iter().map(|row| Ok((text(row, "/id")?, address(row)?))).collect()
    }

    fn http(&self, request: &str, given: Option<BorrowedFd<'_>>) -> Result<Replied> {
        // The socket as the daemon has it, in its own mount namespace.
        let path = format!("/proc/{}/root/run/weft/weft.sock", self.proc.pid());
        let mut stream = UnixStream::connect(&path).with_context(|| format!("no way to {path}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let sent = given.map(|fd| send_with(&stream, request.as_bytes(), fd)).transpose()?;
        stream.write_all(request.as_bytes().get(sent.unwrap_or_default()..).unwrap_or_default())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body)? };
        Ok(Replied { code: code.with_context(|| format!("no code in {head}"))?, body })
    }
}

impl Replied {
    /// The address that was leased.
    pub fn address(&self) -> Result<IpAddr> {
        if self.code != 200 {
            bail!("{}: {}", self.code, self.body);
        }
        address(&self.body)
    }
}

/// How many octets were sent with it.
fn send_with(stream: &UnixStream, octets: &[u8], fd: BorrowedFd<'_>) -> Result<usize> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(control.push(SendAncillaryMessage::ScmRights(&fds)), "no room for a descriptor");
    Ok(sendmsg(stream, &[IoSlice::new(octets)], &mut control, SendFlags::NOSIGNAL)?)
}

fn address(of: &Value) -> Result<IpAddr> {
    let text = text(of, "/address")?;
    let (addr, _) = text.split_once('/').context("no prefix")?;
    Ok(addr.parse()?)
}
