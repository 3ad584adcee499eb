//! As many requests as a server answers, over connections that each wait for their answer.
//!
//! It refuses an answer that is not the expected one: a fast refusal is no throughput.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::Started;
use crate::waiting;

const START: Duration = Duration::from_secs(20);
/// Redis's own program of many names, in Debian's `redis-tools`, which starts no service.
const REDIS: &str = "/usr/bin/redis-check-rdb";

/// One request, and what its answer looks like.
#[derive(Debug)]
pub(super) struct Pressure {
    address: String,
    request: Vec<u8>,
    begins: &'static [u8],
    ends: &'static [u8],
}

impl Pressure {
    /// A request that is answered with 204.
    pub(super) fn http_204(address: &str, request: String) -> Result<Self> {
        let (begins, ends): (&[u8], &[u8]) = (b"HTTP/1.1 204", b"\r\n\r\n");
        let one = Self { address: address.to_owned(), request: request.into(), begins, ends };
        one.once()?;
        Ok(one)
    }

    /// `GET` of a key that is there.
    pub(super) fn redis_get(address: &str) -> Result<Self> {
        let set = b"*3\r\n$3\r\nSET\r\n$2\r\ns1\r\n$1\r\n1\r\n".to_vec();
        let address = address.to_owned();
        Self { address: address.clone(), request: set, begins: b"+OK", ends: b"\r\n" }.once()?;
        let get = b"*2\r\n$3\r\nGET\r\n$2\r\ns1\r\n".to_vec();
        let one = Self { address, request: get, begins: b"$1\r\n", ends: b"1\r\n" };
        one.once()?;
        Ok(one)
    }

    /// Answers a second, over `connections` for `round`.
    pub(super) fn rate(&self, connections: usize, round: Duration) -> Result<f64> {
        let mut streams = Vec::new();
        for _ in 0..connections {
            streams.push(self.connect()?);
        }
        let begun = Instant::now();
        let end = begun + round;
        let counts = std::thread::scope(|scope| {
            let askers: Vec<_> = streams
                .iter_mut()
                .map(|stream| scope.spawn(|| self.ask_until(stream, end)))
                .collect();
            askers.into_iter().map(|asker| asker.join()).collect::<Vec<_>>()
        });
        let lasted = begun.elapsed().as_secs_f64();
        let mut all = 0_u32;
        for count in counts {
            all += count.map_err(|_| anyhow::anyhow!("an asker panicked"))??;
        }
        Ok(f64::from(all) / lasted)
    }

    fn once(&self) -> Result<()> {
        let mut stream = self.connect()?;
        self.ask(&mut stream, &mut [0; 4096])
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)
            .with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(START))?;
        Ok(stream)
    }

    fn ask_until(&self, stream: &mut TcpStream, end: Instant) -> Result<u32> {
        let (mut count, mut buffer) = (0, [0; 4096]);
        while Instant::now() < end {
            self.ask(stream, &mut buffer)?;
            count += 1;
        }
        Ok(count)
    }

    fn ask(&self, stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
        stream.write_all(&self.request)?;
        let mut read = 0;
        loop {
            let room = buffer.get_mut(read..).context("an answer that does not end")?;
            let more = stream.read(room)?;
            ensure!(more > 0, "{} closed the connection", self.address);
            read += more;
            let answer = buffer.get(..read).unwrap_or_default();
            if answer.len() >= self.begins.len() + self.ends.len() && answer.ends_with(self.ends) {
                let shown = || String::from_utf8_lossy(answer).into_owned();
                ensure!(answer.starts_with(self.begins), "{} answered {}", self.address, shown());
                return Ok(());
            }
        }
    }
}

/// A server that answers 204 to anything and does nothing else, in a process of its own.
#[derive(Debug)]
pub(super) struct Bare {
    pub(super) address: String,
    _process: Started,
    _dir: tempfile::TempDir,
}

impl Bare {
    pub(super) fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(super::bare::NAME);
        let (process, address) =
            Started::announce("the bare server", &mut command, &dir.path().join("log"))?;
        Ok(Self { address, _process: process, _dir: dir })
    }
}

/// A Redis of the bench's own, which writes nothing to disk.
#[derive(Debug)]
pub(super) struct Redis {
    pub(super) address: String,
    _process: Started,
    _dir: tempfile::TempDir,
}

impl Redis {
    pub(super) fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new(REDIS);
        command.arg0("redis-server").current_dir(dir.path());
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        let mut process = Started::start("redis-server", &mut command, &dir.path().join("log"))?;
        let address = format!("127.0.0.1:{port}");
        waiting::until("the start of Redis", START, || {
            ensure!(process.is_running()?, "Redis ended:\n{}", process.log());
            Ok(TcpStream::connect(&address).is_ok().then_some(()))
        })?;
        Ok(Self { address, _process: process, _dir: dir })
    }
}
