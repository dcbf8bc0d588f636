//! `/kind/{name}/worker.py` and `/kind/{name}/worker.mjs`: a whole worker for a kind, to be copied and run.
//!
//! The programs are files of `src/workers/`; the kind and the address of this service are filled in.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::kinds::Delivery;

use super::kinds::{no_such_kind, parse_name};
use super::runs::other_delivery;
use crate::Api;
use crate::error::ApiError;
use crate::openapi::{Operation, Tag};

pub(super) async fn python(
    api: web::Data<Api>,
    request: HttpRequest,
    name: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let program = include_str!("../workers/worker.py");
    send(
        &api,
        &request,
        &name,
        "text/x-python; charset=utf-8",
        "worker.py",
        program,
    )
    .await
}

pub(super) async fn node(
    api: web::Data<Api>,
    request: HttpRequest,
    name: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let (program, language) = (include_str!("../workers/worker.mjs"), "text/javascript; charset=utf-8");
    send(&api, &request, &name, language, "worker.mjs", program).await
}

async fn send(
    api: &Api,
    request: &HttpRequest,
    name: &str,
    content_type: &'static str,
    file: &'static str,
    program: &'static str,
) -> Result<HttpResponse, ApiError> {
    let name = parse_name(name)?;
    let kinds = api.ask(api.kinds.list()).await?;
    let kind = kinds.into_iter().find(|kind| *kind.name() == name);
    let delivery = kind.ok_or_else(no_such_kind)?.delivery;
    if delivery != Delivery::Pull {
        return Err(other_delivery(&name, delivery));
    }
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, content_type))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{file}\"")))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(filled_in(program, name.as_str(), &address(api, request))))
}

/// The address by which this request reached the service.
fn address(api: &Api, request: &HttpRequest) -> String {
    let scheme = match api.config.identity {
        Some(_) => "https",
        None => "http",
    };
    let header = || request.headers().get("host")?.to_str().ok();
    let asked = request.uri().authority().map(|authority| authority.as_str());
    // Known hosts alone get here. Only HTTP/1.0 may name none.
    match asked.or_else(header) {
        Some(host) => format!("{scheme}://{host}"),
        None => format!("{scheme}://{}", request.app_config().local_addr()),
    }
}

/// The program with its kind and its address. JSON strings are strings of both languages, so no text ends its literal.
fn filled_in(program: &str, kind: &str, url: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    program
        .replacen("\"@kind@\"", &quoted(kind), 1)
        .replacen("\"@url@\"", &quoted(url), 1)
}

/// Describes `GET /kind/{name}/worker.py`.
pub(super) fn python_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_python_worker", Tag::Workers)
        .file("text/x-python", "The program.")
        .header("Content-Disposition")
        .missing()
        .problem(
            422,
            &["other_delivery"],
            "Works of the kind are not claimed by workers.",
        )
}

/// Describes `GET /kind/{name}/worker.mjs`.
pub(super) fn node_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_node_worker", Tag::Workers)
        .file("text/javascript", "The program.")
        .header("Content-Disposition")
        .missing()
        .problem(
            422,
            &["other_delivery"],
            "Works of the kind are not claimed by workers.",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_within_its_literal() {
        let program = filled_in("KIND = \"@kind@\"\nURL = \"@url@\"\n", "a.b", "http://x\"+\\\n@kind@");
        assert_eq!(program, "KIND = \"a.b\"\nURL = \"http://x\\\"+\\\\\\n@kind@\"\n");
    }

    #[test]
    fn both_programs_have_a_place_for_each() {
        for program in [
            include_str!("../workers/worker.py"),
            include_str!("../workers/worker.mjs"),
        ] {
            for place in ["\"@kind@\"", "\"@url@\""] {
                assert_eq!(program.matches(place).count(), 1, "{place}");
            }
        }
    }
}
