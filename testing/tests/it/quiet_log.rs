//! What is worth a line, and what is not: a work given up is one line, what repeats is one line and then counts, and
//! what clients send wrong is none.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use pp_testkit::wait;

use crate::standalone::Home;

const LIMIT: Duration = Duration::from_secs(20);

/// The lines that warn.
pub(crate) fn warnings(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains(" WARN ]") || line.contains(" ERROR]"))
        .collect()
}

/// Of how many times lines of a kind tell: one each, and what counts say.
pub(crate) fn told(log: &str, kind: &str) -> usize {
    let lines = log.lines().filter_map(|line| line.split_once(&format!("] {kind}: ")));
    lines
        .map(|(_, rest)| match rest.split_once(" more in ") {
            Some((count, _)) => count.parse().unwrap(),
            None => 1,
        })
        .sum()
}

/// Sends bytes and reads until the server closes the connection.
fn send(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bad_requests_are_no_warnings() {
    let home = Home::new();
    let process = home.start();
    let post = "POST /work HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let bad = [
        "\u{1}\u{2}\u{3}\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000)),
        format!("{post}content-length: 3\r\n\r\n{{]}}"),
        format!("{post}content-length: 10000000\r\n\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\nno chunk\r\n\r\n"),
        "DELETE /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(),
    ];
    for _ in 0..20 {
        for request in &bad {
            send(home.api.port, request.as_bytes());
        }
        // And one that leaves in the middle.
        let mut leaves = TcpStream::connect(("127.0.0.1", home.api.port)).unwrap();
        write!(leaves, "{post}content-length: 100\r\n\r\n{{").unwrap();
    }
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(warnings(&ended.stderr), [""; 0]);
}

#[test]
fn each_work_that_is_given_up_is_one_line_with_its_code_and_reason() {
    let home = Home::new();
    let process = home.start_with(&[
        ("PP_PACE", "10s"),
        ("PP_WORK_TIMEOUT", "50ms"),
        ("PP_MAX_ATTEMPTS", "1"),
    ]);
    let codes: Vec<String> = (0..20)
        .map(|_| {
            home.api.post(r#"{"add_up_to":7}"#)["work_code"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let failed = || home.api.get("/work?status=failed&limit=100").as_array().unwrap().len();
    assert!(
        wait::holds_within(LIMIT, || failed() == codes.len()),
        "{} failed",
        failed()
    );
    let ended = process.terminate();
    for code in &codes {
        let line = format!("] work {code} is given up: took longer than 50ms");
        let count = ended.stderr.lines().filter(|said| said.ends_with(&line)).count();
        assert_eq!(count, 1, "{line}: {}", ended.stderr);
    }
    assert_eq!(warnings(&ended.stderr).len(), codes.len(), "{}", ended.stderr);
}

#[test]
fn a_full_disk_is_one_line_and_then_counts() {
    let home = Home::new();
    // No file may grow beyond this; and whoever tries hears of it by an error instead of a signal.
    let limited = "trap '' XFSZ; exec prlimit --fsize=1000000 -- \"$0\"";
    let program = home.program_under(&["sh", "-c", limited]);
    let mut process = program.start();
    process.gets_ready(&home.api);
    let mut refused = 0;
    for number in 0..20_000 {
        assert!(number < 19_999, "the disk never was full");
        let answer = home.api.try_post("/work", r#"{"add_up_to":7}"#).unwrap();
        assert!(matches!(answer.status, 200 | 500 | 503), "{answer:?}");
        refused += usize::from(answer.status != 200);
        if refused == 500 {
            break;
        }
    }
    let ended = process.ends_by(nix::sys::signal::Signal::SIGTERM);
    let warnings = warnings(&ended.stderr);
    assert!((1..30).contains(&warnings.len()), "{}: {warnings:#?}", warnings.len());
}

#[test]
fn used_up_file_descriptors_are_said_once_and_the_service_recovers() {
    const KIND: &str = "actix_server::accept";
    let home = Home::new();
    let mut process = home.program_under(&["prlimit", "--nofile=128:128", "--"]).start();
    process.gets_ready(&home.api);
    let mut clients = Vec::new();
    process.is_seen_to("have no more of them", |process| {
        // More than there are, and again when some of them were ended for want of a request.
        clients.clear();
        clients.extend((0..200).filter_map(|_| TcpStream::connect(("127.0.0.1", home.api.port)).ok()));
        process.stderr().contains(KIND)
    });
    // It is tried again twice a second for as long as that lasts.
    std::thread::sleep(Duration::from_secs(3));
    drop(clients);
    process.gets_ready(&home.api);
    home.api.post("{}");
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines = warnings(&ended.stderr).len();
    assert!(lines <= 4 && told(&ended.stderr, KIND) > 2, "{}", ended.stderr);
}
