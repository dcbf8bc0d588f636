//! Proof that PP runs as containers: the images are built, a project of its own is started, looked at, disturbed and
//! removed again.
//!
//! Each step is a sentence that either held or ends the check with the reason. What the files say about themselves is
//! compared by the tests; here counts only what the engine does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Container, Health, Project};
use crate::client::{Api, Sent};
use crate::{ports, wait};

const SERVICES: [&str; 3] = ["pp_backend_api", "task_consumer", "task_producer"];
const TOOLS: [&str; 3] = ["cli_01", "cli_02", "pp_storage"];
const STANDALONE: &str = "pp_standalone";

/// How long a work may take until it is done, and a container until it is back.
const LIMIT: Duration = Duration::from_secs(60);

/// The variables that docker-compose.yml reads the published ports from.
const PORTS: [&str; 2] = ["PP_API_PORT", "PP_STANDALONE_PORT"];

/// Goes through all steps; `step` hears of each that held.
///
/// # Errors
/// With the first that did not. The project is removed in either case.
pub fn check(mut step: impl FnMut(&str)) -> Result<()> {
    let mut project = Project::temporary()?;
    let [api, standalone] = ports::free()?;
    for (variable, port) in PORTS.into_iter().zip([api, standalone]) {
        project.set(variable, port);
    }
    project.build(&[SERVICES.as_slice(), &TOOLS, &[STANDALONE]].concat())?;
    step("the images of all programs are built");

    project.start(&[SERVICES.as_slice(), &["--scale", "task_consumer=2"]].concat())?;
    let containers = project.containers()?;
    ensure!(containers.len() == 7, "not 3 servers and 4 services: {containers:?}");
    for container in &containers {
        ensure!(container.health() == Health::Ready, "{container:?}");
        let is_local = |address: &String| address.starts_with("127.0.0.1:");
        ensure!(container.addresses().iter().all(is_local), "{container:?}");
    }
    step("three servers, the API, the producer and two consumers are healthy, and nothing listens beyond this machine");

    for container in containers
        .iter()
        .filter(|container| SERVICES.contains(&container.service.as_str()))
    {
        has_no_rights(&project, container)?;
    }
    step("the services run as a user without rights, on a file system that cannot be written to");

    let client = Api::at(api);
    let id = works_off(&client, 100, 5050)?;
    wait::until_ok("no demand of the producer was worked off", LIMIT, || {
        let found = good(client.try_get("/work/search?work_code=consumer-&done=true"))?;
        ensure!(found.as_array().is_some_and(|works| !works.is_empty()), "none yet");
        Ok(())
    })?;
    step("what comes in over REST and from the producer is worked off");

    for arguments in [
        format!("cli_01 --id {id} --output json"),
        format!("cli_01 --id {id} --output json --call-type db"),
        format!("cli_02 --host pp_backend_api --path /work/{id}"),
    ] {
        let said = run_tool(&project, &arguments)?;
        ensure!(said.contains("5050"), "{arguments}: {said}");
    }
    run_tool(&project, "pp_storage migrate")?;
    step("the tools find the API and the database");

    for container in containers
        .iter()
        .filter(|container| SERVICES.contains(&container.service.as_str()))
    {
        comes_back(&project, container)?;
    }
    works_off(&client, 10, 55)?;
    step("a service that ends by itself is started again");

    project.output(&[["stop"].as_slice(), &SERVICES].concat())?;
    for container in project
        .containers()?
        .iter()
        .filter(|container| SERVICES.contains(&container.service.as_str()))
    {
        ensure!(container.health() == Health::Stopped(0), "{container:?}");
    }
    step("services that are told to stop do so in time, with exit code 0");

    project.stop_all(false)?;
    project.start(&SERVICES)?;
    let work = good(client.try_get(&format!("/work/{id}")))?;
    ensure!(work["result"] == 5050, "after a restart: {work}");
    project.stop_all(false)?;
    step("the data outlives the containers");

    let client = Api::at(standalone);
    project.start(&[STANDALONE])?;
    let containers = project.containers()?;
    ensure!(
        containers.len() == 1,
        "the standalone brought others along: {containers:?}"
    );
    has_no_rights(&project, &containers[0])?;
    let id = works_off(&client, 4, 10)?;
    project.stop_all(false)?;
    project.start(&[STANDALONE])?;
    let work = good(client.try_get(&format!("/work/{id}")))?;
    ensure!(work["result"] == 10, "after a restart: {work}");
    step("the standalone runs alone and keeps its data");

    project.stop_all(true)?;
    let left = project.containers()?;
    ensure!(left.is_empty(), "still there: {left:?}");
    step("nothing is left");
    Ok(())
}

/// Posts a work and waits for its result.
fn works_off(client: &Api, bound: u32, result: i64) -> Result<i64> {
    let work = good(client.try_post("/work", &format!("{{\"add_up_to\":{bound}}}")))?;
    let id = work["id"].as_i64().with_context(|| format!("{work} has no id"))?;
    wait::until_ok(&format!("work {id} is not done"), LIMIT, || {
        let work = good(client.try_get(&format!("/work/{id}")))?;
        ensure!(work["done"] == true && work["result"] == result, "{work}");
        Ok(id)
    })
}

fn good(sent: Sent) -> Result<Value> {
    let answer = sent?;
    ensure!(answer.status == 200, "the API answers {answer:?}");
    Ok(serde_json::from_str(&answer.body)?)
}

/// The engine's own words, and those of the kernel about process 1.
fn has_no_rights(project: &Project, container: &Container) -> Result<()> {
    let status = execute(project, container, &["cat", "/proc/1/status"])?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    let users = field("Uid");
    ensure!(
        users.split_whitespace().all(|user| user == "10001"),
        "{}: runs as {users}",
        container.name
    );
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh"] {
        ensure!(field(set) == "0".repeat(16), "{}: {set} {}", container.name, field(set));
    }
    ensure!(field("NoNewPrivs") == "1", "{}: may gain rights", container.name);
    ensure!(
        execute(project, container, &["touch", "/usr/local/bin/x"])
            .is_err_and(|error| error.to_string().contains("Read-only")),
        "{}: its programs can be changed",
        container.name
    );
    Ok(())
}

/// Has the service end by itself, and waits until it is healthy again.
fn comes_back(project: &Project, container: &Container) -> Result<()> {
    let started = |project: &Project| execute(project, container, &["stat", "--format", "%Y.%y", "/proc/1"]);
    let before = started(project)?;
    let begun = Instant::now();
    execute(project, container, &["sh", "-c", "kill -TERM 1"])?;
    wait::until_ok(&format!("{} does not come back", container.name), LIMIT, || {
        ensure!(started(project)? != before, "it has not ended");
        let containers = project.containers()?;
        let found = containers.iter().find(|known| known.name == container.name);
        ensure!(
            found.is_some_and(|found| found.health() == Health::Ready),
            "{found:?} after {} s",
            begun.elapsed().as_secs()
        );
        Ok(())
    })
}

/// Runs a command in the container, and returns what it printed.
fn execute(project: &Project, container: &Container, command: &[&str]) -> Result<String> {
    let index = container.name.rsplit('-').next().unwrap_or("1");
    let exec = ["exec", "--no-TTY", "--index", index, &container.service];
    let output = project.output(&[exec.as_slice(), command].concat())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run_tool(project: &Project, arguments: &str) -> Result<String> {
    let run = ["run", "--rm", "--no-TTY"]
        .into_iter()
        .chain(arguments.split_whitespace());
    let output = project.output(&run.collect::<Vec<_>>())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
