//! One connection that posts over and over, with as little of its own work as can be.
//!
//! It refuses an answer without its end, and in [`Wire::post`] one that is not 200.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// The end of the head of an HTTP/1.1 answer.
const HEAD_END: &[u8] = b"\r\n\r\n";
/// The media type of most bodies.
const JSON: &str = "application/json";

/// A connection and its last answer.
#[derive(Debug)]
pub(super) struct Wire<S = TcpStream> {
    stream: S,
    read: Vec<u8>,
}

impl Wire {
    pub(super) async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Over a stream that is open.
    pub(super) fn over(stream: S) -> Self {
        Self { stream, read: Vec::with_capacity(4096) }
    }

    /// Posts JSON to `path`; the body of the answer.
    pub(super) async fn post(&mut self, path: &str, token: &str, body: &str) -> Result<&str> {
        let (status, answer) = self.send(path, token, JSON, body).await?;
        ensure!(status == 200, "{status}: {answer}");
        Ok(answer)
    }

    /// Posts `body` of the type `media` to `path`; the status and the body of the answer.
    pub(super) async fn send(
        &mut self,
        path: &str,
        token: &str,
        media: &str,
        body: &str,
    ) -> Result<(u16, &str)> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {token}\r\n\
             content-type: {media}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        self.read.clear();
        loop {
            let more = self.stream.read_buf(&mut self.read).await?;
            ensure!(more > 0, "the hub closed the connection");
            if let Some((head, end)) = whole(&self.read)? {
                let answer = std::str::from_utf8(self.read.get(head..end).unwrap_or_default())?;
                let status = std::str::from_utf8(self.read.get(9..12).unwrap_or_default())?;
                return Ok((status.parse().context("a status")?, answer));
            }
        }
    }
}

/// Where the body begins and ends, once all of it is here.
fn whole(read: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(head) = memchr::memmem::find(read, HEAD_END) else { return Ok(None) };
    let text = std::str::from_utf8(read.get(..head).unwrap_or_default())?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.unwrap_or("0").trim().parse()?;
    let body = head + HEAD_END.len();
    Ok((read.len() >= body + length).then_some((body, body + length)))
}
