//! A client of the REST API that costs little beside what it measures: one connection that is kept, and live streams.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pp_lib::streams::StreamedChange;
use pp_lib::streams::sse;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than the API itself gives a request.
const PATIENCE: Duration = Duration::from_secs(15);
const HEADER_COUNT_LIMIT: usize = 32;

/// A connection on which one request follows the other.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What was answered.
pub(super) struct Reply {
    pub(super) status: u16,
    /// Where a read was answered from.
    pub(super) hit: bool,
    pub(super) body: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(port: u16) -> Result<Self> {
        Ok(Self {
            stream: connect(port).await?,
            buffer: Vec::new(),
        })
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Reply> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
            .await
    }

    pub(super) async fn post(&mut self, path: &str, body: &str) -> Result<Reply> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.ask(&(head + body)).await
    }

    async fn ask(&mut self, request: &str) -> Result<Reply> {
        let answered = async {
            self.stream.write_all(request.as_bytes()).await?;
            self.reply().await
        };
        timeout(PATIENCE, answered).await.context("no answer to a request")?
    }

    async fn reply(&mut self) -> Result<Reply> {
        loop {
            if let Some((reply, length)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(reply);
            }
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the API closed a connection"
            );
        }
    }
}

/// A whole reply and its length, once it is there.
fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_LIMIT];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length: usize = header("content-length").context("a reply without a length")?.parse()?;
    let Some(body) = bytes.get(head..head + length) else {
        return Ok(None);
    };
    let reply = Reply {
        status: response.code.unwrap_or_default(),
        hit: header("cache-status").is_some_and(|status| status.starts_with("pp; hit")),
        body: body.to_vec(),
    };
    Ok(Some((reply, head + length)))
}

/// A live stream.
pub(super) struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Follows all that happens; back once nothing is missed any more.
    pub(super) async fn open(port: u16, path: &str) -> Result<Self> {
        let mut stream = Self(BufReader::new(connect(port).await?));
        // In the older version of the protocol bodies come without chunks.
        let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.0.get_mut().write_all(request.as_bytes()).await?;
        let started = format!("event: {}", sse::START);
        let beginning = async {
            let status = stream.line().await?;
            ensure!(status.contains(" 200 "), "a stream is answered with {status}");
            while stream.line().await? != started {}
            Ok(())
        };
        timeout(PATIENCE, beginning)
            .await
            .context("a stream does not begin")??;
        Ok(stream)
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line).await? > 0, "a stream ended");
        Ok(line.trim_end().to_owned())
    }

    /// What happens next.
    pub(super) async fn change(&mut self) -> Result<StreamedChange> {
        let mut is_named = true;
        loop {
            let line = self.line().await?;
            match line.split_once(": ") {
                None if line.is_empty() => is_named = false,
                Some(("event", _)) => is_named = true,
                Some(("data", json)) if !is_named => return Ok(serde_json::from_str(json)?),
                _ => {}
            }
        }
    }

    /// Reads for ever and makes nothing of it.
    pub(super) async fn sit(mut self) -> Result<()> {
        loop {
            self.line().await?;
        }
    }
}

async fn connect(port: u16) -> Result<TcpStream> {
    let stream = timeout(PATIENCE, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
