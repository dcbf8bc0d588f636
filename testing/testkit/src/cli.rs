//! For tests of command-line tools: what one call left behind, and a server for its one connection.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Far longer than any call takes. Only a hanging program reaches it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The output and the exit code of one call.
#[derive(Debug)]
pub struct Called {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Called {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Called {
    /// Asserts success and an empty standard error, and returns standard output.
    pub fn done(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// Asserts this exit code and this single error line.
    pub fn assert_error(&self, code: i32, line: &str) {
        let line = format!("error: {line}\n");
        assert_eq!((self.code, &self.stderr), (Some(code), &line), "{self:?}");
    }

    /// Asserts this exit code and this single error line, and no other output.
    pub fn failed(self, code: i32, line: &str) {
        assert_eq!(self.stdout, "", "{self:?}");
        self.assert_error(code, line);
    }
}

/// A server for one connection, which behaves as the test says.
pub struct PreparedServer {
    /// Where it listens.
    pub address: SocketAddr,
    thread: JoinHandle<String>,
}

impl PreparedServer {
    /// Reads the request, then runs `behaviour`.
    pub fn start(behaviour: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = read_request(&mut stream);
            behaviour(stream);
            request
        });
        Self { address, thread }
    }

    /// Sends these bytes and closes the connection. The client may close it before it has read everything.
    pub fn sending(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::start(move |mut stream| drop(stream.write_all(bytes.as_ref())))
    }

    /// The request, after the connection has ended.
    pub fn request(self) -> String {
        self.thread.join().unwrap()
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    while !request.ends_with("\r\n\r\n") {
        let start = request.len();
        let read = reader.read_line(&mut request).unwrap();
        assert_ne!(read, 0, "the request ends in its head: {request:?}");
        let line = request[start..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request + &String::from_utf8(body).unwrap()
}
