//! A real Prometheus scrapes every program, with the files of `docs/metrics`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pp_testkit::client::Api;
use pp_testkit::ports;
use pp_testkit::prometheus::{Prometheus, promtool};

use super::place::{Place, until};
use crate::page::replaced;

const LIMIT: Duration = Duration::from_secs(90);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .join("docs/metrics")
}

#[test]
fn promtool_accepts_the_rules_and_the_configuration() {
    for (check, file, said) in [
        ("config", "prometheus.yml", "is valid prometheus config file syntax"),
        ("rules", "alerts.yml", "15 rules found"),
    ] {
        let file = folder().join(file);
        let output = promtool(&["check", check, file.to_str().unwrap()]).unwrap();
        assert!(output.contains(said), "{output}");
    }
}

#[test]
fn promtool_accepts_the_page_of_a_program() {
    promtool(&["--version"]).unwrap();
    let home = crate::standalone::Home::new();
    let _process = home.start();
    home.api.post("");
    home.all_done(LIMIT);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, home.api.try_get("/metrics").unwrap().body).unwrap();
    let words = format!("promtool check metrics <{}", file.path().display());
    let checked = std::process::Command::new("sh").args(["-c", &words]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(checked.stderr.is_empty() && checked.stdout.is_empty(), "{checked:?}");
}

#[test]
fn the_rules_fire_when_they_should() {
    promtool(&["test", "rules", folder().join("alerts-test.yml").to_str().unwrap()]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_every_program() {
    let place = Place::new().await;
    let ports: [u16; 4] = ports::free().unwrap();
    let data = tempfile::tempdir().unwrap();
    let programs = [
        ("pp_backend_api", "127.0.0.1:3000"),
        ("task_consumer", "127.0.0.1:3001"),
        ("task_producer", "127.0.0.1:3002"),
        ("pp_standalone", "pp.example.com:3000"),
    ];
    let mut config = fs::read_to_string(folder().join("prometheus.yml")).unwrap();
    let mut processes = Vec::new();
    for ((name, target), port) in programs.into_iter().zip(ports) {
        config = replaced(&config, &format!("[\"{target}\"]"), &format!("[\"127.0.0.1:{port}\"]"));
        let program = match name {
            "pp_standalone" => crate::program::Program::new(name).set("PP_DATA_DIR", data.path()),
            _ => place.service(name),
        };
        let mut process = program.answers_at(port).start();
        process.gets_ready(&Api::at(port));
        processes.push(process);
    }
    let config = replaced(&config, "15s", "1s");
    Api::at(ports[0]).post("");
    Api::at(ports[3]).post("");
    let prometheus = tokio::task::spawn_blocking(move || Prometheus::start(&config, &folder())).await;
    let prometheus = prometheus.unwrap().unwrap();

    let query = |expression: &str, label: &str| prometheus.query(expression, label).unwrap();
    let jobs = ["pp-api", "pp-consumer", "pp-producer", "pp-standalone"];
    until("all are up", LIMIT, async || {
        let up = query("up", "job");
        let is_up = |job: &&str| up.iter().any(|(of, value)| of == job && *value == 1.0);
        up.len() == jobs.len() && jobs.iter().all(is_up)
    })
    .await;
    until("works are done", LIMIT, async || {
        let done = query("pp_works_finished_total", "job");
        let by = |job: &str| done.iter().any(|(of, value)| of == job && *value >= 1.0);
        by("pp-consumer") && by("pp-standalone")
    })
    .await;
    until("demands of the producer are confirmed", LIMIT, async || {
        let published = query("pp_published_total", "job");
        published.iter().any(|(of, value)| of == "pp-producer" && *value >= 1.0)
    })
    .await;
    assert!(
        query("pp_http_requests_total", "job")
            .iter()
            .any(|(of, _)| of == "pp-api")
    );
    drop(processes);
    place.leave().await;
}
