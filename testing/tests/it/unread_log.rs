//! A log that nobody reads: standard error is a full pipe. Programs work, answer and stop as if it were read.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::program::{Process, Program};
use crate::standalone::Home;
use pp_testkit::client::Api;

/// How long a stop may take that has nothing to wait for.
pub(crate) const SOON: Duration = Duration::from_secs(8);

/// It stops cleanly and soon.
pub(crate) fn stops(process: Process) {
    let begun = Instant::now();
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// The page that says whether the process is alive.
pub(crate) fn is_alive(api: &Api) -> bool {
    api.try_get("/health/live").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_standalone_whose_log_nobody_reads_works_and_stops() {
    let home = Home::new();
    let (mut process, _unread) = home.program().set("PP_LOG", "debug").start_unread();
    process.gets_ready(&home.api);
    for _ in 0..300 {
        home.api.post("{}");
    }
    home.all_done(Duration::from_secs(20));
    assert!(is_alive(&home.api) && home.api.is_ready());
    stops(process);
}

#[test]
fn a_second_signal_ends_a_program_at_once_though_nobody_reads_its_log() {
    let home = Home::new();
    let program = home.program().set("PP_LOG", "debug");
    let patient = program.set("PP_GRACE", "60s").set("PP_REQUEST_TIMEOUT", "60s");
    let (mut process, _unread) = patient.start_unread();
    process.gets_ready(&home.api);
    // A request that never ends keeps the first signal from ending it.
    let mut request = TcpStream::connect(("127.0.0.1", home.api.port)).unwrap();
    let head = "POST /work HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    write!(request, "{head}expect: 100-continue\r\ncontent-length: 2\r\n\r\n").unwrap();
    let mut going_on = [0; 12];
    request.read_exact(&mut going_on).unwrap();
    assert_eq!(&going_on, b"HTTP/1.1 100");
    process.signal(Signal::SIGTERM);
    process.is_seen_to("stop", |_| TcpStream::connect(("127.0.0.1", home.api.port)).is_err());
    let begun = Instant::now();
    let ended = process.ends_by(Signal::SIGTERM);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_program_ends_though_nobody_reads_why() {
    for (name, args) in [
        ("task_consumer", ""),
        ("pp_backend_api", ""),
        ("task_producer", "--count x"),
    ] {
        let (process, _unread) = Program::new(name).args(args).set("PP_PROBE_BIND", "off").start_unread();
        let begun = Instant::now();
        assert!(matches!(process.ends().code, Some(1 | 2)), "{name}");
        assert!(begun.elapsed() < SOON, "{name}: {:?}", begun.elapsed());
    }
}

#[test]
fn lines_that_were_dropped_are_counted_once_the_log_is_read() {
    let home = Home::new();
    let (mut process, mut log) = home.program().set("PP_LOG", "trace").start_unread();
    process.gets_ready(&home.api);
    // More than the queue of lines holds.
    let path = format!("/work/search?work_code=api-{}", "x".repeat(4_000));
    for _ in 0..3_000 {
        let _ = home.api.try_get(&path);
    }
    let text = Arc::new(Mutex::new(String::new()));
    let reader = thread::spawn({
        let text = text.clone();
        move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = log.read(&mut part) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..count]));
            }
        }
    });
    let count = || text.lock().unwrap().matches("lines were dropped").count();
    process.is_seen_to("count what it dropped", |_| count() > 0);
    stops(process);
    reader.join().unwrap();
    assert!(count() <= 5, "a count for each gap, not for each line: {}", count());
    assert!(
        text.lock().unwrap().contains("SIGTERM: stopping"),
        "the log goes on behind the gap"
    );
}
