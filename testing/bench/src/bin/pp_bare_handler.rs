//! What the API's HTTP library does with nothing behind it: a handler that answers every GET with the bytes it was given.
//! `make bench` measures it beside `GET /work/{id}`; it is no part of PP.

use actix_web::http::header;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context as _;

/// Takes a port of the loopback interface and a body.
fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (port, body) = args
        .next()
        .zip(args.next())
        .context("usage: pp_bare_handler PORT BODY")?;
    let (port, body) = (port.parse::<u16>()?, web::Bytes::from(body));
    let app = move || {
        let body = body.clone();
        // The headers of a work that comes from the cache.
        let answer = move || {
            let response = HttpResponse::Ok()
                .content_type("application/json")
                .insert_header((header::ETAG, "\"2\""))
                .insert_header(("cache-status", "pp; hit"))
                .body(body.clone());
            async { response }
        };
        App::new().default_service(web::get().to(answer))
    };
    let server = HttpServer::new(app).tcp_nodelay(true).bind(("127.0.0.1", port))?;
    actix_web::rt::System::new().block_on(server.run())?;
    Ok(())
}
