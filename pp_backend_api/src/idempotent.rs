//! Parses `Idempotency-Key`, and answers a POST that has one only once. `pp_lib::serving` implements the guarantee.

use std::future::Future;

use actix_web::http::header::{CONTENT_TYPE, HeaderName};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use pp_lib::domain::{MessageId, Principal};
use pp_lib::runtime::new_message_id;
use pp_lib::serving::{ActorError, DemandIdentity, KeyError, KeyedAnswer, KeyedRequest, Scope};
use pp_lib::store::Answer;
use serde::Serialize;

use crate::access::Caller;
use crate::answer::JSON;
use crate::error::ApiError;
use crate::{Api, answer};

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotent-replayed";
pub(crate) const LONGEST: usize = 255;

/// Runs a request once per key; a request without a key always runs. `execute` gets a seed, from which the ids of new
/// objects are derived.
pub(crate) async fn answer_once<E, F>(
    api: &Api,
    request: &HttpRequest,
    body: &[u8],
    execute: E,
) -> Result<HttpResponse, ApiError>
where
    E: FnOnce(MessageId) -> F + Send + 'static,
    F: Future<Output = Result<Answer, KeyError>> + Send + 'static,
{
    let caller = Caller::of(request);
    let given = match key(request)? {
        Some(key) => {
            let keyed = KeyedRequest::new(
                scope(request, &caller.principal),
                key,
                request.query_string(),
                canonical_body(body),
            );
            api.ask(api.requests.answer(keyed, execute)).await?
        }
        None => KeyedAnswer {
            answer: api.ask(execute(new_message_id())).await?,
            replayed: false,
        },
    };
    response(api, given)
}

/// The body for comparing requests. An object without fields equals an empty body.
fn canonical_body(body: &[u8]) -> &[u8] {
    let inside = body
        .trim_ascii()
        .strip_prefix(b"{")
        .and_then(|body| body.strip_suffix(b"}"));
    match inside {
        Some(inside) if inside.trim_ascii().is_empty() => b"",
        _ => body,
    }
}

/// The identity of a demand: its key, or a random one.
pub(crate) fn demand_identity(request: &HttpRequest) -> Result<DemandIdentity, ApiError> {
    let caller = Caller::of(request);
    let identity = key(request)?.map(|key| DemandIdentity::of_key(scope(request, &caller.principal), key));
    Ok(identity.unwrap_or_else(DemandIdentity::fresh))
}

/// A 200 answer with JSON and further headers.
pub(crate) fn ok_json(value: &impl Serialize, headers: Vec<(String, String)>) -> Result<Answer, KeyError> {
    let body = serde_json::to_vec(value).map_err(|_| ActorError::Failed)?;
    let content_type = (CONTENT_TYPE.to_string(), JSON.to_owned());
    Ok(Answer {
        status: StatusCode::OK.as_u16(),
        headers: [vec![content_type], headers].concat(),
        body: body.into(),
    })
}

fn response(api: &Api, given: KeyedAnswer) -> Result<HttpResponse, ApiError> {
    let KeyedAnswer { answer, replayed } = given;
    let status = StatusCode::from_u16(answer.status).map_err(|_| ApiError::internal())?;
    let mut response = HttpResponse::build(status);
    for header in answer.headers {
        response.insert_header(header);
    }
    if replayed {
        response.insert_header((REPLAYED, "true"));
    }
    answer::send(&api.answers, response, answer.body)
}

fn scope<'a>(request: &'a HttpRequest, principal: &'a Principal) -> Scope<'a> {
    let path = request.path();
    Scope {
        method: request.method().as_str(),
        // A slash at the end does not change the resource.
        path: path.strip_suffix('/').unwrap_or(path),
        principal,
    }
}

/// The key, if there is one: a quoted string or bare text.
fn key(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let mut values = request.headers().get_all(HeaderName::from_static(KEY));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value).map(Some).ok_or_else(|| {
            ApiError::bad_request(format!(
                "Idempotency-Key must be 1 to {LONGEST} printable ASCII characters, quoted or bare"
            ))
        }),
        (Some(_), Some(_)) => Err(ApiError::bad_request("give one Idempotency-Key, not several")),
    }
}

fn parse(value: &header::HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => unquoted(rest)?,
        None => text.to_owned(),
    };
    let printable = key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (printable && (1..=LONGEST).contains(&key.len())).then_some(key)
}

/// The content of a quoted string after its opening quote. A backslash escapes a quote or a backslash.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(key),
            '\\' => key.push(characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            other => key.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn parsed(text: &[u8]) -> Option<String> {
        parse(&HeaderValue::from_bytes(text).unwrap())
    }

    #[test]
    fn a_key_is_the_same_quoted_or_bare() {
        for text in [r#""8e03978e-40d5""#, "8e03978e-40d5", r#"  "8e03978e-40d5"  "#] {
            assert_eq!(parsed(text.as_bytes()).as_deref(), Some("8e03978e-40d5"), "{text}");
        }
        assert_eq!(parsed(br#""a\"b\\c d""#).as_deref(), Some(r#"a"b\c d"#));
        assert_eq!(parsed("k".repeat(255).as_bytes()), Some("k".repeat(255)));
    }

    #[test]
    fn an_object_without_fields_equals_an_empty_body() {
        for body in ["", "{}", " {\n} "] {
            assert_eq!(canonical_body(body.as_bytes()), b"", "{body:?}");
        }
        for body in ["{", "[]", "{\"add_up_to\":5}"] {
            assert_eq!(canonical_body(body.as_bytes()), body.as_bytes());
        }
    }

    #[test]
    fn an_invalid_key_is_refused() {
        let long = "k".repeat(256);
        for text in [
            "",
            "  ",
            r#""""#,
            r#"""#,
            r#""a"#,
            r#""a"b"#,
            r#""a\b""#,
            r#""a\"#,
            r#""a";x=1"#,
            "a\tb",
            &long,
        ] {
            assert_eq!(parsed(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parsed("é".as_bytes()), None);
    }
}
