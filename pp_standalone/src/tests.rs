//! Running everything leaves the process as it was: logger, signals, panic hook, limits and environment belong to the
//! program around it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, panic};

use clap::Parser as _;
use log::LevelFilter;
use pp_lib::runtime::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Args, run};

/// What belongs to the process: signals that are caught, ignored or blocked, limits, variables, folder and log level.
fn process() -> (Vec<String>, String, Vec<(OsString, OsString)>, PathBuf, LevelFilter) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let signals = status.lines().filter(|line| {
        ["SigCgt:", "SigIgn:", "SigBlk:"]
            .iter()
            .any(|field| line.starts_with(field))
    });
    (
        signals.map(str::to_owned).collect(),
        fs::read_to_string("/proc/self/limits").unwrap(),
        env::vars_os().collect(),
        env::current_dir().unwrap(),
        log::max_level(),
    )
}

async fn request(address: &str, call: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("{call} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn running_everything_changes_nothing_of_the_process() {
    static HOOK_CALLED: AtomicBool = AtomicBool::new(false);
    const PANIC: &str = "a panic of this test";
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| match panic.payload_as_str() {
        Some(PANIC) => HOOK_CALLED.store(true, Ordering::SeqCst),
        _ => others(panic),
    }));

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let database = format!("sqlite://{data}/pp.sqlite");
    let args = Args::parse_from(
        [
            ["pp_standalone", "--api-bind=127.0.0.1:0"],
            ["--data-dir", data],
            ["--database-url", &database],
            ["--broker-url", "memory:"],
            ["--cache-url", "memory:"],
        ]
        .concat(),
    );
    let before = process();
    let (stop, (started, starting)) = (CancellationToken::new(), oneshot::channel());
    let using = async {
        let api: String = starting.await.unwrap();
        let address = api.trim_start_matches("http://");
        let created = request(address, "POST /work").await;
        assert!(created.starts_with("HTTP/1.1 200"), "{created}");
        while !request(address, "GET /work/1").await.contains("\"done\":true") {
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(process(), before, "while it ran");
        stop.cancel();
    };
    let kinds = args.kinds();
    let running = run(args, kinds, Metrics::default(), stop.clone(), |ready| {
        started.send(ready.api.clone()).unwrap()
    });
    let (ran, ()) = timeout(Duration::from_secs(60), async { tokio::join!(running, using) })
        .await
        .unwrap();
    ran.unwrap();
    assert_eq!(process(), before, "when it had ended");

    panic::catch_unwind(|| panic!("{PANIC}")).unwrap_err();
    assert!(HOOK_CALLED.load(Ordering::SeqCst), "another hook was installed");
}
