//! TCP connections of somebody who means no good.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::{doze, now, report};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the other end may take to hang up.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one octet of a connection to its next.
const DRIP: Duration = Duration::from_secs(1);

/// Many connections to one address.
pub(crate) struct Crowd {
    pub(crate) to: SocketAddr,
    /// Where they come from, in turn; empty: from wherever the kernel likes.
    pub(crate) from: Vec<IpAddr>,
    pub(crate) count: u32,
    /// How long they take to be opened, and how long they are held after that.
    pub(crate) times: (Duration, Duration),
}

impl Crowd {
    /// Opens them, evenly over the time, keeps those that the other end does not close, and says the next
    /// octet of `hex` on each every second.
    pub(crate) fn run(&self, hex: &str) -> Result<()> {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
        let (drip, (opening, holding), start) = (octets(hex)?, self.times, now());
        let (mut held, mut opened, mut refused, mut most) = (Vec::new(), 0, 0, 0);
        let mut dripped = start;
        while opened + refused < self.count || start.elapsed() < opening + holding {
            let tried = opened + refused;
            if tried < self.count && start.elapsed() >= opening * tried / self.count {
                match self.open(tried) {
                    Ok(stream) => {
                        held.push((stream, drip.iter()));
                        opened += 1;
                    }
                    // It was made, and ended before we looked.
                    Err(error) if is_reset(&error) => opened += 1,
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

    fn open(&self, number: u32) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, None)?;
        if let Some(from) = self.from.iter().cycle().nth(usize::try_from(number)?) {
            socket.bind(&SocketAddr::new(*from, 0).into())?;
        }
        socket.connect_timeout(&self.to.into(), CONNECT)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }
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

fn is_reset(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == ErrorKind::ConnectionReset)
}

fn octets(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|two| Ok(u8::from_str_radix(std::str::from_utf8(two)?, 16)?)).collect()
}
