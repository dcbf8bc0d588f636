//! The address of the health pages and metrics.

use std::net::{TcpListener, ToSocketAddrs as _};
use std::str::FromStr;

use anyhow::Context as _;
use pp_lib::runtime::{Health, Metrics};
use tokio_util::sync::CancellationToken;

/// The value of `PP_PROBE_BIND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeBind {
    /// No pages.
    Off,
    /// At this host and port.
    At(String),
}

impl FromStr for ProbeBind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            address if address.to_socket_addrs().is_ok() => Ok(Self::At(address.to_owned())),
            _ => Err("expected a host and a port, as in 127.0.0.1:3001, or `off`".to_owned()),
        }
    }
}

impl ProbeBind {
    /// Opens the address. A taken one is thus an error at start, in one line that names the variable.
    pub fn bind(&self) -> anyhow::Result<ProbeListener> {
        let Self::At(address) = self else {
            return Ok(ProbeListener(None));
        };
        let listener = TcpListener::bind(address).with_context(|| {
            format!("cannot serve health pages on {address}; choose another address, or `off`, with PP_PROBE_BIND")
        })?;
        Ok(ProbeListener(Some(listener)))
    }
}

/// The listener of the pages, if they have one.
#[derive(Debug)]
pub struct ProbeListener(Option<TcpListener>);

impl ProbeListener {
    /// Serves the pages until the shutdown.
    pub async fn serve(self, health: Health, metrics: Metrics, shutdown: CancellationToken) {
        let Some(listener) = self.0 else {
            return shutdown.cancelled().await;
        };
        if let Err(error) = crate::serve(listener, health, metrics, shutdown).await {
            log::error!("the health pages have stopped: {error}");
        }
    }
}
