//! What `up` and its companions do with an engine: asked of a stand-in for `docker` that writes down what it is told.
//!
//! What a real engine makes of it is `make containers-test`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use pp_testkit::{ports, wait};
use tempfile::TempDir;

use crate::program::{Ended, Program};

/// Answers as an engine does. Once it was told to start the services, `ps` shows containers.
const DOCKER: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
[ -e engine ] || exit 1
case "$*" in
info | "compose version") exit ;;
esac
shift 7 # compose, and which project, folder and file
echo "$*" >> said
case "$*" in
*--wait*pp_backend_api*)
    env | grep -E '^PP_(API_PORT|SCHEDULE)=' >> said
    : > started ;;
--profile*down*) rm -f started ;;
ps*)
    [ ! -e started ] || cat containers ;;
logs*) echo "the containers' lines" ;;
esac
"#;

struct Engine {
    folder: TempDir,
    port: u16,
}

impl Engine {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let docker = folder.path().join("docker");
        fs::write(&docker, DOCKER).unwrap();
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("engine"), "").unwrap();
        let [port] = ports::free().unwrap();
        let container = |service: &str, number: u8, port: u16, health: &str| {
            format!(
                r#"{{"Name":"pp-{service}-{number}","Service":"{service}","State":"running","Health":"{health}","ExitCode":0,"Publishers":[{{"URL":"127.0.0.1","TargetPort":3000,"PublishedPort":{port},"Protocol":"tcp"}}]}}"#
            )
        };
        let containers = [
            container("pp_backend_api", 1, port, "healthy"),
            container("task_consumer", 2, 32002, "unhealthy"),
            container("task_consumer", 1, 32001, "starting"),
        ];
        fs::write(folder.path().join("containers"), containers.join("\n")).unwrap();
        Self { folder, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, words: &str) -> Program {
        let path = std::env::var("PATH").unwrap();
        Program::new("pp_testkit")
            .args(words)
            .set("PATH", format!("{}:{path}", self.folder.path().display()))
            .set("PP_STATE_DIR", self.path("state"))
            .set("PP_API_BIND", format!("127.0.0.1:{}", self.port))
            .set("PP_SCHEDULE", "* * * * * *")
    }

    fn run(&self, words: &str) -> Ended {
        self.program(words).run()
    }

    /// What the stand-in was told since the last time.
    fn said(&self) -> Vec<String> {
        let said = fs::read_to_string(self.path("said")).unwrap_or_default();
        let _ = fs::remove_file(self.path("said"));
        said.lines().map(str::to_owned).collect()
    }

    /// The API's port answers, once the containers were started and until the test ends.
    fn serve(&self) {
        let (started, port) = (self.path("started"), self.port);
        thread::spawn(move || {
            assert!(wait::holds_within(Duration::from_secs(30), || started.exists()));
            for stream in TcpListener::bind(("127.0.0.1", port)).unwrap().incoming() {
                // Whoever does not wait for the answer asks again.
                let _ = stream.and_then(answer);
            }
        });
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let _ = stream.read(&mut [0; 1024])?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
}

#[test]
fn with_an_engine_servers_and_services_are_containers() {
    let engine = Engine::new();
    engine.serve();
    let up = engine.run("up");
    assert_eq!(up.code, Some(0), "{up:?}");
    let first = up.stdout.lines().next();
    assert_eq!(first, Some("with Docker Compose: servers and services are containers"));
    let said = engine.said();
    let services = "pp_backend_api task_consumer task_producer";
    let with = |start: &str, end: &str| said.iter().any(|line| line.starts_with(start) && line.ends_with(end));
    assert!(
        with("up --detach --no-recreate --wait", "rabbitmq redis postgres"),
        "{said:?}"
    );
    assert!(
        with("build", services) && with("up --detach --no-recreate --wait", services),
        "{said:?}"
    );
    assert!(
        with(&format!("PP_API_PORT={}", engine.port), "") && with("PP_SCHEDULE=* * * * * *", ""),
        "{said:?}"
    );
    let variables = fs::read_to_string(engine.path("state/env")).unwrap();
    assert!(
        variables.contains(&format!("PP_API_URL=http://127.0.0.1:{}\n", engine.port)),
        "{variables}"
    );

    // Each container has a line, in the order of their names.
    let status = engine.run("status");
    let line = |name: &str| {
        status
            .stdout
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        line("pp-pp_backend_api-1").ends_with(&format!("127.0.0.1:{}  ready", engine.port)),
        "{status:?}"
    );
    assert!(
        line("pp-task_consumer-1").ends_with("127.0.0.1:32001  starting"),
        "{status:?}"
    );
    assert!(
        line("pp-task_consumer-2").ends_with("127.0.0.1:32002  not ready"),
        "{status:?}"
    );
    assert!(line("task_producer").ends_with("stopped"), "{status:?}");

    // A second `up` starts what is missing.
    engine.said();
    let again = engine.run("up --servers-only");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(
        !engine.said().iter().any(|line| line.contains("pp_backend_api")),
        "only the servers were wanted"
    );

    let logs = engine.run("logs task_consumer --lines 7");
    assert_eq!(
        (logs.code, logs.stdout.trim()),
        (Some(0), "the containers' lines"),
        "{logs:?}"
    );
    assert_eq!(engine.said().last().unwrap(), "logs --tail 7 task_consumer");

    let down = engine.run("down");
    assert_eq!(
        (down.code, down.stdout.lines().last()),
        (Some(0), Some("nothing left running")),
        "{down:?}"
    );
    assert_eq!(engine.said()[0], "--profile * down --remove-orphans");
    let purge = engine.run("down --purge");
    assert_eq!(purge.code, Some(0), "{purge:?}");
    assert_eq!(
        engine.said()[0],
        "--profile * down --remove-orphans --volumes --rmi local"
    );
    assert!(!engine.path("state").exists());
}

#[test]
fn containers_are_not_opened_to_the_network() {
    let engine = Engine::new();
    let up = engine
        .program("up")
        .set("PP_API_BIND", format!("0.0.0.0:{}", engine.port))
        .run();
    assert_eq!(up.code, Some(1), "{up:?}");
    assert!(
        up.stderr.contains("PP_API_BIND") && up.stderr.contains("127.0.0.1 alone"),
        "{up:?}"
    );
    assert!(!engine.said().iter().any(|line| line.contains("pp_backend_api")));
}

#[test]
fn containers_or_nothing_is_an_error_without_an_engine() {
    let engine = Engine::new();
    fs::remove_file(engine.path("engine")).unwrap();
    for words in ["up", "containers-test"] {
        let ended = engine.program(words).set("PP_SERVERS", "compose").run();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("no Docker engine with the compose plugin answers"),
            "{ended:?}"
        );
    }
    assert_eq!(engine.said(), [""; 0]);
}
