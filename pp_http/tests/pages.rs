//! The health pages over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pp_lib::runtime::{Health, Metrics};
use tokio_util::sync::CancellationToken;

fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn page() -> Metrics {
    Metrics::new(|| "pp_works 1\n".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_report_liveness_and_readiness_until_the_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (health, shutdown) = (Health::new(), CancellationToken::new());
    let store = health.part("store", true);
    let server = tokio::spawn(pp_http::serve(listener, health.clone(), page(), shutdown.clone()));
    let asked = move |line: &'static str| tokio::task::spawn_blocking(move || ask(address, line));

    let live = asked("GET /health/live").await.unwrap();
    assert!(
        live.starts_with("HTTP/1.1 200 OK") && live.ends_with(r#"{"status":"live"}"#),
        "{live}"
    );

    let unready = asked("GET /health/ready").await.unwrap();
    assert!(unready.starts_with("HTTP/1.1 503 "), "{unready}");
    assert!(unready.contains("content-type: application/problem+json"), "{unready}");
    assert!(
        unready.contains(r#""detail":"store: it has not started yet""#),
        "{unready}"
    );

    store.up();
    health.part("cache", false).down("the cache is gone");
    let ready = asked("GET /health/ready").await.unwrap();
    assert!(ready.starts_with("HTTP/1.1 200 OK"), "{ready}");
    assert!(
        ready.contains(r#"{"status":"degraded""#) && ready.contains("the cache is gone"),
        "{ready}"
    );

    let metrics = asked("GET /metrics").await.unwrap();
    assert!(
        metrics.starts_with("HTTP/1.1 200 OK") && metrics.ends_with("\r\n\r\npp_works 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{metrics}"
    );
    for (line, status) in [
        ("POST /metrics", "405"),
        ("GET /metrics?x=1", "400"),
        ("GET /metrics/x", "404"),
    ] {
        let answer = asked(line).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }

    let head = asked("HEAD /health/ready").await.unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let post = asked("POST /health/ready").await.unwrap();
    assert!(
        post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"),
        "{post}"
    );
    let nothing = asked("GET /nothing").await.unwrap();
    assert!(
        nothing.starts_with("HTTP/1.1 404 ") && nothing.contains("application/problem+json"),
        "{nothing}"
    );

    shutdown.cancel();
    server.await.unwrap().unwrap();
    assert!(!health.report().is_ready());
}

/// The pages have their own threads, which run while the others are stuck.
#[test]
fn a_process_whose_runtime_is_stuck_is_not_alive() {
    const LIMIT: Duration = Duration::from_millis(300);
    let runtime = |threads| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).enable_all().build().unwrap()
    };
    let (works, pages) = (runtime(1), runtime(1));
    let health = {
        let _entered = works.enter();
        Health::beating(LIMIT)
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let server = pages.spawn(pp_http::serve(listener, health, Metrics::default(), shutdown.clone()));
    let becomes = |status: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = ask(address, "GET /health/live");
            if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
                return answer;
            }
            assert!(Instant::now() < deadline, "not {status}: {answer}");
        }
    };
    becomes("200");
    let (go_on, stuck) = mpsc::channel::<()>();
    works.spawn(async move { stuck.recv() });
    let dead = becomes("503");
    assert!(
        dead.contains("application/problem+json") && dead.contains("the process is stuck"),
        "{dead}"
    );
    drop(go_on);
    becomes("200");
    shutdown.cancel();
    pages.block_on(server).unwrap().unwrap();
}
