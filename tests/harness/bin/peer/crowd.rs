//! TCP connections of somebody who means no good.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::{doze, now, report};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the other end may take to hang up.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one octet of a connection to its next.
const DRIP: Duration = Duration::from_secs(1);

/// Opens `count` connections, evenly over the first of `times`, keeps those that the other end does not
/// close for the second, and says the next octet of `hex` on each every second.
pub(crate) fn crowd(
    to: SocketAddr,
    count: u32,
    times: (Duration, Duration),
    hex: &str,
) -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let (drip, (opening, holding)) = (octets(hex)?, times);
    let start = now();
    let (mut held, mut opened, mut refused, mut most) = (Vec::new(), 0, 0, 0);
    let mut dripped = start;
    while opened + refused < count || start.elapsed() < opening + holding {
        if opened + refused < count && start.elapsed() >= opening * (opened + refused) / count {
            match TcpStream::connect_timeout(&to, CONNECT) {
                Ok(stream) => {
                    stream.set_nonblocking(true)?;
                    held.push((stream, drip.iter()));
                    opened += 1;
                }
                Err(_) => refused += 1,
            }
        } else {
            doze(Duration::from_millis(1));
        }
        if dripped.elapsed() >= DRIP {
            dripped = now();
            held.retain_mut(|(stream, rest)| alive(stream, rest.next()));
            most = most.max(held.len());
        }
    }
    let left = held.len();
    report(&json!({ "opened": opened, "refused": refused, "most_held": most, "left": left }));
    Ok(())
}

/// Says `hex` so many times on one connection and waits until the other end hangs up.
pub(crate) fn pour(to: SocketAddr, hex: &str, times: usize) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT).context("connect")?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let octets = octets(hex)?.repeat(times);
    // The other end may hang up at any octet: that is what it should do.
    let all = stream.write_all(&octets).and_then(|()| stream.shutdown(Shutdown::Write)).is_ok();
    let mut answer = Vec::new();
    let ended = match stream.read_to_end(&mut answer) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    };
    report(&json!({ "all": all, "answered": answer.len(), "ended": ended }));
    Ok(())
}

/// Whether a connection is still open; says an octet on it, if there is one.
fn alive(stream: &mut TcpStream, octet: Option<&u8>) -> bool {
    match stream.read(&mut [0; 256]) {
        Ok(0) => return false,
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => return false,
    }
    octet.is_none_or(|octet| stream.write(&[*octet]).is_ok())
}

fn octets(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|two| Ok(u8::from_str_radix(std::str::from_utf8(two)?, 16)?)).collect()
}
