//! Thousands of clients that only take: bodies that never end, answers that nobody reads, streams that come and go. The
//! process keeps its memory, and serves others meanwhile. And a thousand workers that wait, which cost next to nothing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pp_testkit::client::Api;
use socket2::{Domain, Socket, Type};

use crate::standalone::Home;

const BODIES: usize = 2_000;
const READERS: usize = 5_000;
const STREAMS: usize = 100;
/// How often each stream comes and goes.
const ROUNDS: usize = 10;
/// The files that this process may need.
const FILES: usize = BODIES + READERS + STREAMS + 500;
const MOST_KIB: u64 = 512 * 1024;
/// All of it.
const LIMIT: Duration = Duration::from_secs(60);
/// The announced size of a body.
const BODY: usize = 256 * 1024;

fn connect(api: &Api) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", api.port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// A client that sends a body without its end: almost all of it, or a little.
fn withholding(api: &Api, number: usize) -> TcpStream {
    let mut stream = connect(api);
    let head = format!(
        "POST /work/bulk HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n\r\n"
    );
    let sent = if number.is_multiple_of(2) { BODY - 1 } else { 4_000 };
    // One that has no room is refused before it has sent everything.
    let _ = stream.write_all(&[head.as_bytes(), &vec![b' '; sent]].concat());
    stream
}

/// A client that asks for 120 KB, and reads no more than the status. The kernel takes most of it and the process keeps the
/// rest, which is too little to be counted in a budget.
fn unread(api: &Api) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], api.port));
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET /work?limit=2 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

/// A client that follows a stream until it has begun.
fn follow(api: &Api) {
    let mut stream = connect(api);
    write!(stream, "GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let (mut seen, mut buffer) = (String::new(), [0; 1024]);
    while !seen.contains("event: start") {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

/// Calls this so often, in some threads.
fn spread<T: Send>(count: usize, threads: usize, call: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let some = |first| (first..count).step_by(threads).map(&call).collect::<Vec<T>>();
    let some = &some;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || some(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Reads a work on connections of its own until told to stop; returns the times, shortest first.
fn probe(api: &Api, stop: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = Api::at(api.port).try_get("/work/1").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        times.push(begun.elapsed());
        thread::sleep(Duration::from_millis(10));
    }
    times.sort_unstable();
    times
}

/// The most memory that a process had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The time of all processors that a process used.
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // In the user's and in the system's code, in hundredths of a second.
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// A worker that waits for a work.
fn waiting(api: &Api) -> TcpStream {
    let mut stream = connect(api);
    let body = r#"{"kinds":["resize"],"wait":"60s"}"#;
    write!(
        stream,
        "POST /run/claim HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// Lets this process have enough files.
fn raise_limit() {
    let mut raise = Command::new("prlimit");
    let raise = raise.args(["--pid", &std::process::id().to_string(), &format!("--nofile={FILES}:")]);
    assert!(
        raise.status().unwrap().success(),
        "the hard limit of open files (ulimit -Hn) is below {FILES}"
    );
}

#[test]
fn thousands_that_only_take_leave_memory_and_time_for_others() {
    raise_limit();
    let home = Home::new();
    // Bodies may be withheld as long as the test lasts.
    let mut process = home.start_with(&[("PP_REQUEST_TIMEOUT", "60s")]);
    let api = &home.api;
    api.post("");
    api.try_json("PUT", "/kind/user.large", "{}", None).unwrap().with(200);
    let large = format!(r#"{{"kind":"user.large","args":"{}"}}"#, "a".repeat(60_000));
    (0..2).for_each(|_| drop(api.post(&large)));
    let (begun, stop) = (Instant::now(), AtomicBool::new(false));
    let (times, held) = thread::scope(|scope| {
        let times = scope.spawn(|| probe(api, &stop));
        let bodies = scope.spawn(|| spread(BODIES, 2, |number| withholding(api, number)));
        let readers = scope.spawn(|| spread(READERS, 4, |_| unread(api)));
        let held = [bodies.join().unwrap(), readers.join().unwrap()];
        spread(STREAMS, STREAMS, |_| (0..ROUNDS).for_each(|_| follow(api)));
        stop.store(true, Ordering::Relaxed);
        (times.join().unwrap(), held)
    });
    let (p99, peak) = (times[times.len() * 99 / 100], peak(process.pid()));
    assert!(process.is_running());
    assert!(peak < MOST_KIB, "{peak} KiB");
    assert!(
        times.len() > 100 && p99 < Duration::from_millis(100),
        "{p99:?} in {} tries",
        times.len()
    );
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    drop(held);
    assert_eq!(api.get("/work/1")["id"], 1);
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn a_thousand_waiting_workers_cost_nothing_and_one_work_wakes_one() {
    const WORKERS: usize = 1_000;
    const QUIET: Duration = Duration::from_secs(5);
    raise_limit();
    let home = Home::new();
    let process = home.start_with(&[]);
    let api = &home.api;
    let declared = api.try_json("PUT", "/kind/resize", r#"{"delivery":"pull"}"#, None);
    declared.unwrap().with(200);
    // What the program costs that has nothing to do.
    let cost = |time| {
        let before = processor_time(process.pid());
        thread::sleep(time);
        processor_time(process.pid()) - before
    };
    thread::sleep(Duration::from_secs(1));
    let idle = cost(QUIET);
    let workers = spread(WORKERS, 4, |_| waiting(api));
    thread::sleep(Duration::from_secs(1));
    let with_workers = cost(QUIET);
    assert!(
        with_workers < idle + QUIET / 20,
        "{idle:?} without and {with_workers:?} with workers"
    );

    let begun = Instant::now();
    api.post(r#"{"kind":"resize","args":1}"#);
    let mut first = None;
    while first.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(5), "nobody was woken");
        first = workers.iter().find(|worker| has_answer(worker));
    }
    let first = begun.elapsed();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(workers.iter().filter(|worker| has_answer(worker)).count(), 1);
    assert!(first < Duration::from_millis(500), "{first:?}");
    drop(workers);
    assert_eq!(process.terminate().code, Some(0));
}

/// True if there are bytes to read.
fn has_answer(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    stream.peek(&mut [0]).is_ok_and(|count| count > 0)
}
