//! The images' health checks, as they are written, against the real programs with the containers' settings.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pp_testkit::{ports, wait};
use tempfile::TempDir;

use super::built;
use super::dockerfile::{self, Stage};
use crate::program::{Process, Program};

/// Runs the image's health check, with another port for the image's.
fn is_healthy(image: &Stage, port: u16) -> bool {
    let command = image.command("HEALTHCHECK").unwrap();
    let written = image.port().unwrap().to_string();
    assert_eq!(
        command.iter().filter(|word| **word == written).count(),
        1,
        "{command:?}"
    );
    let words = command.iter().map(|word| {
        if *word == written {
            port.to_string()
        } else {
            word.clone()
        }
    });
    let words: Vec<String> = words.collect();
    let status = Command::new(built(&words[0]))
        .args(&words[1..])
        .output()
        .unwrap()
        .status;
    status.success()
}

/// The program with the variables of its image, where the port and the folder are free ones.
fn start(program: Program, image: &Stage, port: u16, folder: &Path) -> Process {
    let written = image.port().unwrap().to_string();
    let variables = image.variables().into_iter();
    let program = variables.fold(program, |program, (variable, value)| match variable.as_str() {
        "PP_DATA_DIR" => program.set(&variable, folder),
        "PP_ADMIN_KEY_FILE" => program.set(&variable, folder.join("admin.key")),
        _ => program.set(
            &variable,
            value
                .replace("0.0.0.0:", "127.0.0.1:")
                .replace(&written, &port.to_string()),
        ),
    });
    program.folder(folder).start()
}

/// Healthy when it says so, not before it serves, and not any more when it stopped.
fn is_told_from_dead(name: &str, program: Program) {
    let image = dockerfile::stage(name);
    let ([port], folder) = (ports::free().unwrap(), TempDir::new().unwrap());
    assert!(!is_healthy(&image, port), "{name} is healthy though it does not run");
    let process = start(program, &image, port, folder.path());
    let healthy = wait::holds_within(Duration::from_secs(30), || is_healthy(&image, port));
    assert!(healthy, "{name} does not become healthy: {}", process.stderr());
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!is_healthy(&image, port), "{name} is healthy though it stopped");
}

#[test]
fn the_standalone_is_healthy_while_it_runs() {
    is_told_from_dead("pp_standalone", Program::new("pp_standalone"));
}

/// A service whose server is away must not pass for healthy.
#[test]
fn a_service_without_its_server_is_not_healthy() {
    let image = dockerfile::stage("task_producer");
    let ([port, nobody], folder) = (ports::free().unwrap(), TempDir::new().unwrap());
    let program = Program::new("task_producer").set("PP_BROKER_URL", format!("amqp://pp:pp@127.0.0.1:{nobody}/%2f"));
    let mut process = start(program, &image, port, folder.path());
    process.is_seen_to("answer", |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(!is_healthy(&image, port));
    assert_eq!(process.terminate().code, Some(0));
}

mod on_servers {
    use pp_testkit::servers::Kind;

    use super::is_told_from_dead;
    use crate::on_servers::place::{Place, server};

    #[tokio::test(flavor = "multi_thread")]
    async fn each_service_is_healthy_while_it_runs() {
        let place = Place::new().await;
        for name in ["pp_backend_api", "task_consumer", "task_producer"] {
            let program = place.service(name).set("PP_CACHE_URL", server(Kind::Redis));
            is_told_from_dead(name, program.set("PP_CACHE_PREFIX", &place.prefix));
        }
        place.leave().await;
    }
}
