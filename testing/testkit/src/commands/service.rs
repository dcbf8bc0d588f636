//! PP's services as `up` knows them: the program's name, the variable for its address, and whether it says it is ready.
//!
//! Nothing of the services' code: they are programs beside this one.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pp_tls::rustls::{ClientConnection, StreamOwned};
use pp_tls::{Check, Trust};

/// The service that has TLS if the system has it. The health pages of the others have none.
pub(crate) const WITH_TLS: &str = "pp_backend_api";

/// A service and where it answers.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    /// The variable that the service itself reads.
    pub(crate) bind_variable: &'static str,
    /// The variable that `up` takes its value from: services that share a variable need a value each.
    pub(crate) up_variable: &'static str,
    pub(crate) bind: String,
}

/// All services, in the order they are started.
pub(crate) fn all() -> [Service; 3] {
    [
        ("pp_backend_api", "PP_API_BIND", "PP_API_BIND", "127.0.0.1:3000"),
        (
            "task_consumer",
            "PP_PROBE_BIND",
            "PP_CONSUMER_PROBE_BIND",
            "127.0.0.1:3001",
        ),
        (
            "task_producer",
            "PP_PROBE_BIND",
            "PP_PRODUCER_PROBE_BIND",
            "127.0.0.1:3002",
        ),
    ]
    .map(|(name, bind_variable, up_variable, default)| {
        let bind = std::env::var(up_variable).ok().filter(|value| !value.is_empty());
        Service {
            name,
            bind_variable,
            up_variable,
            bind: bind.unwrap_or_else(|| default.to_owned()),
        }
    })
}

impl Service {
    /// The program, in the folder where this one is.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        let program = std::env::current_exe()?.with_file_name(self.name);
        ensure!(
            program.is_file(),
            "{} is not built: run `cargo build --bin {}`",
            program.display(),
            self.name
        );
        Ok(program)
    }

    /// Makes sure that nobody else listens there: it could be taken for the service.
    pub(crate) fn check_address(&self) -> Result<()> {
        if self.bind == "off" {
            return Ok(());
        }
        let listener = TcpListener::bind(&self.bind);
        listener
            .map(drop)
            .with_context(|| format!("{} cannot listen on {} ({})", self.name, self.bind, self.up_variable))
    }
}

/// The address that is meant.
pub(crate) fn bound(bind: &str) -> Result<SocketAddr> {
    let mut all = bind.to_socket_addrs().with_context(|| format!("no address: {bind}"))?;
    all.next().with_context(|| format!("no address: {bind}"))
}

/// Where clients reach what is bound to `bind`: `0.0.0.0` is no address to connect to.
pub(crate) fn address(bind: &str) -> Result<SocketAddr> {
    let mut address = bound(bind)?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(address)
}

/// Asks `/health/ready` once, with TLS if an authority is given.
pub(crate) fn is_ready(bind: &str, authority: Option<&Path>) -> Result<()> {
    if bind == "off" {
        return Ok(());
    }
    let limit = Duration::from_secs(2);
    let address = address(bind)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    match authority {
        None => ask(&mut stream, address),
        Some(file) => {
            let config = Trust::only(file)?.client(Check::ChainAndName)?;
            let connection = ClientConnection::new(config, address.ip().into())?;
            ask(&mut StreamOwned::new(connection, stream), address)
        }
    }
}

fn ask(stream: &mut (impl Read + Write), address: SocketAddr) -> Result<()> {
    write!(
        stream,
        "GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line)?;
    // Read to the end: closing with unread bytes would be an error in the service's log.
    let _ = std::io::copy(stream, &mut std::io::sink());
    match status_line.strip_prefix(b"HTTP/1.1 ") {
        Some(b"200") => Ok(()),
        Some(code) => bail!("it answers {}", String::from_utf8_lossy(code)),
        None => bail!("it does not speak HTTP"),
    }
}
