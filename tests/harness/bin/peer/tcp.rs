//! One TCP connection with content that can be compared.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::content::{Content, Hash};
use crate::{now, report};

/// Octets per read and write: a multiple of the generator's word.
const BLOCK: usize = 1 << 16;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a connection may stand still.
const STALL: Duration = Duration::from_secs(30);

/// Accepts one connection and hashes it to its end.
pub(crate) fn serve(port: u16) -> Result<()> {
    let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let listener = TcpListener::bind(any)?;
    report(&json!({ "listening": listener.local_addr()?.port() }));
    let (mut stream, from) = listener.accept()?;
    stream.set_read_timeout(Some(STALL))?;
    let start = now();
    let mut hash = Hash::new();
    let mut block = vec![0; BLOCK];
    loop {
        let length = match stream.read(&mut block) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                let after = hash.length();
                return Err(error).context(format!("reading from {from} after {after} octets"));
            }
        };
        let Some(octets) = block.get(..length).filter(|octets| !octets.is_empty()) else { break };
        hash.update(octets);
    }
    let secs = start.elapsed().as_secs_f64();
    report(&json!({ "bytes": hash.length(), "hash": hash.finish(), "secs": secs }));
    Ok(())
}

/// Sends `bytes` octets and waits until the server has read them all.
pub(crate) fn send(to: SocketAddr, bytes: u64, seed: u64) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT).context("connect")?;
    stream.set_write_timeout(Some(STALL))?;
    stream.set_read_timeout(Some(STALL))?;
    let start = now();
    let (mut content, mut hash) = (Content::new(seed), Hash::new());
    let mut block = vec![0; BLOCK];
    while hash.length() < bytes {
        let length = usize::try_from(bytes - hash.length())?.min(BLOCK);
        block.truncate(length);
        content.fill(&mut block);
        let sent = hash.length();
        stream.write_all(&block).with_context(|| format!("writing after {sent} octets"))?;
        hash.update(&block);
    }
    stream.shutdown(Shutdown::Write)?;
    let more = stream.read(&mut [0]).context("waiting for the server's end")?;
    ensure!(more == 0, "the server talks back");
    let secs = start.elapsed().as_secs_f64();
    report(&json!({ "bytes": hash.length(), "hash": hash.finish(), "secs": secs }));
    Ok(())
}
