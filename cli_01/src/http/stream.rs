//! Opens the API's live streams.

use std::io::BufReader;
use std::time::Duration;

use pp_lib::streams::sse::{self, Parser};
use ureq::BodyReader;
use ureq::http::StatusCode;

use super::Api;
use crate::commands::Followed;
use crate::failure::Failure;

/// The longest silence of a stream. It exceeds the pause between two heartbeats.
const SILENCE: Duration = Duration::from_secs(20);

pub(crate) type Stream = Parser<BufReader<BodyReader<'static>>>;

impl Api {
    /// Opens a stream, continuing after the event with this id.
    pub(super) fn stream(&self, what: &Followed, last_id: Option<&str>) -> Result<Stream, Failure> {
        let (path, query) = path_and_query(what);
        let request = self.get(&path).query_pairs(query).config();
        // A stream has no time limit.
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
                "{} does not stream like an API of PP",
                self.base
            )));
        }
        Err(self.refused(status, &body))
    }
}

/// The path and query of a stream.
fn path_and_query(what: &Followed) -> (String, Vec<(&'static str, String)>) {
    match what {
        Followed::One(id) => (format!("/work/{id}/stream"), Vec::new()),
        Followed::All {
            work_code,
            kind,
            status,
        } => {
            let code = work_code
                .as_ref()
                .map(|prefix| ("work_code", prefix.as_str().to_owned()));
            let kind = kind.as_ref().map(|kind| ("kind", kind.to_string()));
            let status = status.map(|status| ("status", status.to_string()));
            (
                "/stream".to_owned(),
                [code, kind, status].into_iter().flatten().collect(),
            )
        }
    }
}
