//! The API's live streams: opened here, read by whoever follows them.

use std::io::BufReader;
use std::time::Duration;

use pp_lib::streams::sse::{self, Parser};
use ureq::BodyReader;
use ureq::http::StatusCode;

use super::Api;
use crate::commands::Followed;
use crate::failure::Failure;

/// How long a stream may be silent: longer than between two of its heartbeats.
const SILENCE: Duration = Duration::from_secs(20);

/// A stream as it comes.
pub(crate) type Stream = Parser<BufReader<BodyReader<'static>>>;

impl Api {
    /// Opens a stream, behind the event with this id if there was one.
    pub(super) fn stream(&self, what: &Followed, last_id: Option<&str>) -> Result<Stream, Failure> {
        let (path, query) = asked(what);
        let request = self.get(&path).query_pairs(query).config();
        // All in all it takes as long as it takes.
        let request = request
            .timeout_global(None)
            .timeout_connect(Some(self.timeout))
            .timeout_recv_response(Some(self.timeout))
            .timeout_per_read(Some(SILENCE))
            .accept(sse::CONTENT_TYPE)
            .build();
        let request = last_id
            .into_iter()
            .fold(request, |request, id| request.header(sse::LAST_EVENT_ID, id));
        let reply = request.call().map_err(|error| self.unreachable(&error))?;
        let kind = reply.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let is_stream = kind.is_some_and(|kind| kind.starts_with(sse::CONTENT_TYPE));
        if reply.status() == StatusCode::OK && is_stream {
            return Ok(Parser::new(BufReader::new(reply.into_body().into_reader())));
        }
        let (status, body) = self.read(Ok(reply))?;
        if status == StatusCode::OK {
            return Err(Failure::Unavailable(format!(
                "{} does not stream as the API of PP does",
                self.base
            )));
        }
        Err(self.refused(status, &body))
    }
}

/// The path of a stream, and its query.
fn asked(what: &Followed) -> (String, Vec<(&'static str, String)>) {
    match what {
        Followed::One(id) => (format!("/work/{id}/stream"), Vec::new()),
        Followed::All { work_code, status } => {
            let code = work_code
                .as_ref()
                .map(|prefix| ("work_code", prefix.as_str().to_owned()));
            let status = status.map(|status| ("status", status.to_string()));
            ("/stream".to_owned(), code.into_iter().chain(status).collect())
        }
    }
}
