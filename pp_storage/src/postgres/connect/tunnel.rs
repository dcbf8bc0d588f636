//! A socket within the process that leads to a server over TLS, for one connection of libpq.
//!
//! The entrance has a random name in the abstract namespace, so it needs no folder. It takes one connection, and only one
//! of this very process. A thread carries the bytes until one side ends.

#[cfg(target_os = "linux")]
pub(super) use self::linux::open;

#[cfg(not(target_os = "linux"))]
pub(super) fn open<S>(_: S, _: u16) -> std::io::Result<String> {
    Err(std::io::Error::other("this program uses it on Linux alone"))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    use std::io::{self, Read as _, Write as _};
    use std::net::{Shutdown, TcpStream};
    use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::time::Duration;
    use std::{process, thread};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    use pp_tls::rustls::{ClientConnection, StreamOwned};

    use crate::postgres::connect::sieve::Sieve;

    /// The time libpq gets to come in. It comes at once.
    const WAIT: Duration = Duration::from_secs(5);
    /// The number of bytes carried at once.
    const AT_ONCE: usize = 32 * 1024;

    /// Opens the entrance and returns the host that libpq must be given. `port` becomes a part of the socket's name.
    pub(in crate::postgres::connect) fn open(
        stream: Box<StreamOwned<ClientConnection, TcpStream>>,
        port: u16,
    ) -> io::Result<String> {
        let name = format!("pp-{:016x}{:016x}", random(), random());
        let address = SocketAddr::from_abstract_name(format!("{name}/.s.PGSQL.{port}"))?;
        let listener = UnixListener::bind_addr(&address)?;
        listener.set_nonblocking(true)?;
        let carry = move || {
            let carried = accept(&listener).and_then(|client| {
                // From now on nobody can come in.
                drop(listener);
                Carrier::new(client, *stream)?.run()
            });
            // What ended a connection is said by libpq to whoever uses it.
            drop(carried);
        };
        thread::Builder::new().name("pp postgres tls".to_owned()).spawn(carry)?;
        Ok(format!("@{name}"))
    }

    fn random() -> u64 {
        RandomState::new().build_hasher().finish()
    }

    /// Waits for a connection of this process. Others are closed.
    fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
        loop {
            let mut entrance = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            let wait = PollTimeout::try_from(WAIT).unwrap_or(PollTimeout::NONE);
            if poll(&mut entrance, wait)? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let (client, _) = listener.accept()?;
            if u32::try_from(getsockopt(&client, PeerCredentials)?.pid()) == Ok(process::id()) {
                return Ok(client);
            }
        }
    }

    struct Carrier {
        client: UnixStream,
        server: TcpStream,
        tls: ClientConnection,
        sieve: Sieve,
        /// Bytes for the client that it has not taken yet, from `at` on.
        waiting: Vec<u8>,
        at: usize,
        client_left: bool,
        server_left: bool,
    }

    impl Carrier {
        fn new(client: UnixStream, stream: StreamOwned<ClientConnection, TcpStream>) -> io::Result<Self> {
            let (tls, server) = stream.into_parts();
            client.set_nonblocking(true)?;
            server.set_nonblocking(true)?;
            Ok(Self {
                client,
                server,
                tls,
                sieve: Sieve::default(),
                waiting: Vec::new(),
                at: 0,
                client_left: false,
                server_left: false,
            })
        }

        /// Carries bytes until the client leaves, or the server does and the client has everything.
        fn run(mut self) -> io::Result<()> {
            let mut buffer = vec![0; AT_ONCE];
            loop {
                let (from_client, from_server) = self.wait()?;
                if from_server {
                    self.receive(&mut buffer)?;
                }
                self.hand_out()?;
                if from_client {
                    self.take_in(&mut buffer)?;
                }
                self.send()?;
                if self.client_left && !self.tls.wants_write() {
                    return self.server.shutdown(Shutdown::Both);
                }
                if self.server_left && self.waiting.is_empty() {
                    return Ok(());
                }
            }
        }

        /// Waits until something can go on. Neither side is read while the other does not take what it got.
        fn wait(&self) -> io::Result<(bool, bool)> {
            let flags = |reads: bool, writes: bool| {
                let (mut flags, both) = (
                    PollFlags::empty(),
                    [(reads, PollFlags::POLLIN), (writes, PollFlags::POLLOUT)],
                );
                both.iter()
                    .filter(|(wanted, _)| *wanted)
                    .for_each(|(_, flag)| flags |= *flag);
                flags
            };
            let client = flags(!self.client_left && !self.tls.wants_write(), !self.waiting.is_empty());
            let server = flags(!self.server_left && self.waiting.is_empty(), self.tls.wants_write());
            let sides = [(self.client.as_fd(), client), (self.server.as_fd(), server)];
            // A side of which nothing is wanted would still report its end, again and again.
            let mut wanted: Vec<PollFd<'_>> = sides
                .iter()
                .filter(|(_, flags)| !flags.is_empty())
                .map(|(side, flags)| PollFd::new(*side, *flags))
                .collect();
            match poll(&mut wanted, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let readable = |side: BorrowedFd<'_>, flags: PollFlags| {
                let mut ready = wanted.iter().filter(|one| one.any() != Some(false));
                flags.contains(PollFlags::POLLIN) && ready.any(|one| one.as_fd().as_raw_fd() == side.as_raw_fd())
            };
            Ok((
                readable(self.client.as_fd(), client),
                readable(self.server.as_fd(), server),
            ))
        }

        /// From the server: decrypts what has arrived.
        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<()> {
            match done(self.tls.read_tls(&mut self.server))? {
                None => return Ok(()),
                Some(0) => self.server_left = true,
                Some(_) => {}
            }
            if let Err(error) = self.tls.process_new_packets() {
                // The server is told, as far as possible.
                let _ = self.tls.write_tls(&mut self.server);
                return Err(io::Error::other(error));
            }
            loop {
                match done(self.tls.reader().read(buffer)) {
                    Ok(Some(0)) | Err(_) => {
                        self.server_left = true;
                        return Ok(());
                    }
                    Ok(Some(count)) => self.sieve.pass(&buffer[..count], &mut self.waiting),
                    Ok(None) => return Ok(()),
                }
            }
        }

        /// To the client, as much as it takes.
        fn hand_out(&mut self) -> io::Result<()> {
            while self.at < self.waiting.len() {
                match done(self.client.write(&self.waiting[self.at..]))? {
                    Some(count) => self.at += count,
                    None => return Ok(()),
                }
            }
            self.waiting.clear();
            self.at = 0;
            Ok(())
        }

        /// From the client: encrypts what it says.
        fn take_in(&mut self, buffer: &mut [u8]) -> io::Result<()> {
            match done(self.client.read(buffer))? {
                Some(0) => {
                    self.client_left = true;
                    self.tls.send_close_notify();
                }
                Some(count) => self.tls.writer().write_all(&buffer[..count])?,
                None => {}
            }
            Ok(())
        }

        /// To the server, as much as it takes.
        fn send(&mut self) -> io::Result<()> {
            while self.tls.wants_write() {
                if done(self.tls.write_tls(&mut self.server))?.is_none() {
                    return Ok(());
                }
            }
            Ok(())
        }
    }

    /// What was done, or nothing if it would have to wait.
    fn done(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
        match outcome {
            Ok(count) => Ok(Some(count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
