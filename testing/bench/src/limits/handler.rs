//! A bare handler: the HTTP library of the API, with the API's settings, and nothing behind it but the bytes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::http::Connection;
use super::super::stand::Stand;
use pp_testkit::service::Service;
use pp_testkit::{ports, wait};

/// How the limit is called.
pub(in super::super) const WHAT: &str = "a bare handler, the same bytes";
const READY_LIMIT: Duration = Duration::from_secs(20);

/// The handler's process.
pub(in super::super) struct Handler {
    _service: Service,
    pub(in super::super) port: u16,
}

/// Starts it; it answers every `GET` with this body.
pub(in super::super) fn start(stand: &Stand, body: &str) -> Result<Handler> {
    let [port] = ports::free()?;
    let args = [port.to_string(), body.to_owned()];
    let service = stand.service_with("bare-handler", "pp_bare_handler", Vec::new(), &args)?;
    wait::until_ok("the bare handler does not answer", READY_LIMIT, || {
        let reply = stand
            .runtime
            .block_on(async { Connection::open(port).await?.get("/work/1").await })?;
        ensure!(
            reply.status == 200 && reply.body == body.as_bytes(),
            "it answers something else"
        );
        Ok(())
    })?;
    Ok(Handler {
        _service: service,
        port,
    })
}
