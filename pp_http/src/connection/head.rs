//! Checks and repairs the head of one request.
//!
//! The checks are as strict as the server's, so that every refusal carries an explanation. The repairs change valid
//! requests that the server would misread.

use actix_web::http::{StatusCode, Uri};
use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::refusal::Refusal;

/// The maximum size of a head in bytes.
pub(super) const LARGEST: usize = 64 * 1024;
/// The maximum length of the request target: over a thousand ids in a query, or 10,000 escaped characters.
const LONGEST_TARGET: usize = 48 * 1024;
/// The maximum number of headers. The server has the same limit.
const MOST_HEADERS: usize = 96;

/// The body that follows a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes; may be 0.
    Length(u64),
    Chunked,
    /// The bytes of a tunnel.
    Rest,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length as received.
    pub(super) length: usize,
    /// The bytes for the server.
    pub(super) mended: Vec<u8>,
    /// The body that follows it.
    pub(super) body: Body,
}

/// Reads the head at the beginning of these bytes. `None` means that it is incomplete.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) if length <= LARGEST => length,
        Ok(Status::Partial) if bytes.len() <= LARGEST => return Ok(None),
        Ok(_) => return Err(too_large(bytes)),
        Err(httparse::Error::TooManyHeaders) => return Err(too_many()),
        Err(error) => return Err(unreadable(error)),
    };
    let target = request.path.unwrap_or_default();
    if target.len() > LONGEST_TARGET {
        return Err(target_too_long());
    }
    if Uri::try_from(target).is_err() {
        return Err(bad(
            "the target of the request is not a valid URI; escape special characters",
        ));
    }
    let old = request.version == Some(0);
    let framing = Framing::of(request.headers, old)?;
    let method = request.method.unwrap_or_default();
    let mut mended = bytes[..length].to_vec();
    ignore_upgrades(bytes, request.headers, &mut mended);
    // The server refuses an HTTP/1.0 POST without a length. Clients and proxies send it when there is no body.
    if old && method == "POST" && framing.length.is_none() {
        let last_line = if mended.ends_with(b"\r\n") { 2 } else { 1 };
        let end = mended.len() - last_line;
        mended.splice(end..end, *b"content-length: 0\r\n");
    }
    let body = match framing.length {
        _ if framing.chunked => Body::Chunked,
        None if method == "CONNECT" => Body::Rest,
        length => Body::Length(length.unwrap_or(0)),
    };
    Ok(Some(Head { length, mended, body }))
}

/// The headers' description of the body.
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    fn of(headers: &[Header<'_>], old: bool) -> Result<Self, Refusal> {
        let lengths = one(headers, "content-length")?;
        let encodings = one(headers, "transfer-encoding")?;
        let host = one(headers, "host")?;
        if host.is_none() && !old {
            return Err(bad("an HTTP/1.1 request needs the header Host"));
        }
        if encodings.is_some() && (old || lengths.is_some()) {
            return Err(bad("Transfer-Encoding requires HTTP/1.1 and excludes Content-Length"));
        }
        if encodings.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("chunked")) {
            return Err(bad("the only supported Transfer-Encoding is chunked"));
        }
        let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let length = match lengths {
            None => None,
            Some(text) => Some(
                (Some(text).filter(digits))
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| bad("Content-Length must be a whole number"))?,
            ),
        };
        Ok(Self {
            length,
            chunked: encodings.is_some(),
        })
    }
}

/// The value of a header that may occur once.
fn one<'a>(headers: &[Header<'a>], name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(header), None) => match str::from_utf8(header.value) {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(bad(format!("the header {name} cannot be read"))),
        },
        (Some(_), Some(_)) => Err(bad(format!("the header {name} may occur only once"))),
    }
}

/// Removes a request to switch protocols. PP has no other protocol, so it answers as if none were requested
/// (RFC 9110, section 7.8). The server would treat everything after the head as the other protocol.
fn ignore_upgrades(bytes: &[u8], headers: &[Header<'_>], mended: &mut [u8]) {
    let place = |part: *const u8| part as usize - bytes.as_ptr() as usize;
    for header in headers {
        if header.name.eq_ignore_ascii_case("upgrade") {
            overwrite(mended, place(header.name.as_ptr()));
        }
        if header.name.eq_ignore_ascii_case("connection") {
            let start = place(header.value.as_ptr());
            for (at, _) in header.value.windows(UPGRADE).enumerate().filter(is_upgrade) {
                overwrite(mended, start + at);
            }
        }
    }
}

const UPGRADE: usize = "upgrade".len();

fn is_upgrade((_, text): &(usize, &[u8])) -> bool {
    text.eq_ignore_ascii_case(b"upgrade")
}

/// Replaces the name with one that has no meaning.
fn overwrite(mended: &mut [u8], place: usize) {
    mended[place..place + UPGRADE].copy_from_slice(b"ignored");
}

/// Names the part that is too large. If even the first line has no end, that is the target.
fn too_large(bytes: &[u8]) -> Refusal {
    let first_line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    if first_line > LONGEST_TARGET {
        return target_too_long();
    }
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Refusal::new(
        status,
        format!("the head of a request may have at most {LARGEST} bytes"),
    )
}

fn too_many() -> Refusal {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Refusal::new(status, format!("a request may have at most {MOST_HEADERS} headers"))
}

fn target_too_long() -> Refusal {
    let detail = format!("the target of a request may have at most {LONGEST_TARGET} bytes");
    Refusal::new(StatusCode::URI_TOO_LONG, detail)
}

fn unreadable(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::Version => bad("the first line must end with HTTP/1.1 or HTTP/1.0"),
        httparse::Error::Token => {
            bad("the first line must be a method, a target and a version, as in GET /work HTTP/1.1")
        }
        _ => bad("a header cannot be read"),
    }
}

fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &str) -> (String, Body) {
        let head = read(text.as_bytes()).unwrap().unwrap();
        (String::from_utf8(head.mended).unwrap(), head.body)
    }

    #[test]
    fn a_valid_head_passes_unchanged() {
        for (head, body) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Body::Length(0)),
            ("GET / HTTP/1.0\r\n\r\n", Body::Length(0)),
            ("POST / HTTP/1.1\nhost: x\ncontent-length:  7 \n\n", Body::Length(7)),
            (
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n",
                Body::Chunked,
            ),
            ("POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\n", Body::Length(3)),
            ("CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", Body::Rest),
        ] {
            assert_eq!(mended(head), (head.to_owned(), body));
            for cut in 0..head.len() {
                assert_eq!(read(&head.as_bytes()[..cut]), Ok(None), "{head:?} at {cut}");
            }
        }
    }

    #[test]
    fn an_old_post_without_a_length_has_no_body() {
        for end in ["\r\n", "\n"] {
            let (head, body) = mended(&format!("POST /work HTTP/1.0{end}connection: close{end}{end}"));
            assert_eq!(
                (head, body),
                (
                    format!("POST /work HTTP/1.0{end}connection: close{end}content-length: 0\r\n{end}"),
                    Body::Length(0)
                )
            );
        }
    }

    #[test]
    fn an_upgrade_is_hidden_from_the_server() {
        let (head, body) = mended(
            "POST / HTTP/1.1\r\nhost: x\r\nUPGRADE: websocket\r\nConnection: keep-alive, Upgrade\r\ncontent-length: 2\r\n\r\n",
        );
        assert_eq!(body, Body::Length(2));
        assert_eq!(
            head,
            "POST / HTTP/1.1\r\nhost: x\r\nignored: websocket\r\nConnection: keep-alive, ignored\r\ncontent-length: 2\r\n\r\n"
        );
    }

    #[test]
    fn a_malformed_head_is_refused_with_its_status() {
        let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(LONGEST_TARGET));
        let endless = format!("GET /{}", "x".repeat(LARGEST));
        let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(LARGEST));
        let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(MOST_HEADERS));
        for (head, status) in [
            ("NONSENSE\r\n\r\n", 400),
            ("GET / HTTP/9.9\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length:\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
                400,
            ),
            ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
            (&long, 414),
            (&endless, 414),
            (&large, 431),
            (&many, 431),
        ] {
            let refusal = read(head.as_bytes()).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{head:.80?}: {refusal:?}");
        }
    }
}
