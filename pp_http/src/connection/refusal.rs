//! The answer to a malformed request: problem details, written without the server.

use std::time::SystemTime;

use actix_web::http::StatusCode;
use actix_web::http::header::HttpDate;
use pp_lib::domain::Problem;
use pp_lib::runtime::new_message_id;

/// The reason for refusing a request before the server sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    code: Option<&'static str>,
    detail: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let code = None;
        Self { status, code, detail }
    }

    /// The same refusal with a code of its own.
    pub(crate) fn code(self, code: &'static str) -> Self {
        let code = Some(code);
        Self { code, ..self }
    }

    /// The complete answer. The connection is closed after it.
    pub(crate) fn render(self) -> Vec<u8> {
        let (code, title) = (self.status.as_u16(), self.status.canonical_reason().unwrap_or("Error"));
        let problem = Problem::new(code, title, self.detail).with_code(self.code);
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let retry = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => "retry-after: 1\r\n",
            _ => "",
        };
        format!(
            "HTTP/1.1 {code} {title}\r\ncontent-length: {}\r\nconnection: close\r\ncontent-type: {}\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\n\
             cross-origin-resource-policy: same-origin\r\nx-request-id: {}\r\n{retry}date: {}\r\n\r\n{body}",
            body.len(),
            Problem::CONTENT_TYPE,
            new_message_id().as_str(),
            HttpDate::from(SystemTime::now()),
        )
        .into_bytes()
    }
}
