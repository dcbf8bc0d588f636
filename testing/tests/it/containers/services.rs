//! The services of docker-compose.yml: their rights, settings, ports, and what they wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use url::Url;

use super::compose::{ComposeFile, Service};
use super::{dockerfile, help, text_of, variables};

/// What the standalone has within itself.
const EMBEDDED: [&str; 4] = [
    "PP_DATABASE_URL",
    "PP_BROKER_URL",
    "PP_BROKER_MANAGEMENT_URL",
    "PP_CACHE_URL",
];

/// It goes with a connection pooler, and there is none.
const OF_A_POOLER: &str = "PP_DATABASE_DIRECT_URL";

/// A producer writes rows where there is no broker, and in the project there is one.
const OF_NO_BROKER: [&str; 3] = ["PP_DATABASE_URL", "PP_DATABASE_POOL", "PP_DATABASE_TIMEOUT"];

/// Their files are not in the images, and the health checks speak HTTP.
const OF_TLS: [&str; 3] = ["PP_TLS_CA", "PP_TLS_CERT", "PP_TLS_KEY"];

/// By which names the API is reached.
const HOSTS: &str = "PP_API_HOSTS";

const SERVERS: [&str; 3] = ["postgres", "rabbitmq", "redis"];

fn is_service(service: &Service) -> bool {
    service.profiles != ["tools"]
}

#[test]
fn each_program_gets_every_variable_it_reads_and_no_other() {
    for (name, service) in ComposeFile::read().of_programs() {
        let of_image: BTreeSet<String> = dockerfile::stage(name).variables().into_keys().collect();
        let mut read = variables(name);
        assert!(of_image.is_subset(&read), "{name} does not read {of_image:?}");
        read.retain(|variable| {
            !of_image.contains(variable) && variable != OF_A_POOLER && !OF_TLS.contains(&variable.as_str())
        });
        if name == "task_producer" {
            read.retain(|variable| !OF_NO_BROKER.contains(&variable.as_str()));
        }
        if name == "pp_standalone" {
            read.retain(|variable| !EMBEDDED.contains(&variable.as_str()));
        }
        let given: BTreeSet<String> = service.environment.keys().cloned().collect();
        assert_eq!(given, read, "{name}");
        // What is not about the other containers is the caller's.
        for (variable, value) in &service.environment {
            let other_containers = variable.ends_with("_URL") || variable == HOSTS;
            assert_eq!(value.is_some(), other_containers, "{name}: {variable}");
        }
    }
}

#[test]
fn the_api_answers_to_its_name_in_the_project() {
    for (name, service) in ComposeFile::read().of_programs() {
        let Some(hosts) = service.environment.get(HOSTS) else {
            continue;
        };
        let hosts = hosts.as_deref().unwrap().strip_prefix("${PP_API_HOSTS:-").unwrap();
        assert!(
            hosts.trim_end_matches('}').split(',').any(|host| host == name),
            "{name}: {hosts}"
        );
    }
}

#[test]
fn no_container_has_rights_that_it_does_not_need() {
    for (name, service) in ComposeFile::read().services {
        assert!(service.read_only, "{name}");
        assert_eq!(service.cap_drop, ["ALL"], "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        // PP's images say themselves as whom they run; those of the servers begin as root unless told otherwise.
        let is_server = service.image.is_some();
        assert_eq!(service.user.is_some_and(|user| user != "root"), is_server, "{name}");
    }
}

#[test]
fn services_come_back_and_have_time_to_stop() {
    let default_of = |text: &str, name: &str| {
        let after = text.split(name).nth(1).unwrap_or_else(|| panic!("no {name}"));
        after
            .split("[default: ")
            .nth(1)
            .unwrap()
            .split(']')
            .next()
            .unwrap()
            .to_owned()
    };
    let seconds = |text: &str| Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap());
    for (name, service) in ComposeFile::read().of_programs() {
        if !is_service(service) {
            assert_eq!((&service.restart, &service.stop_grace_period), (&None, &None), "{name}");
            continue;
        }
        assert_eq!(service.restart.as_deref(), Some("unless-stopped"), "{name}");
        let period = service.stop_grace_period.as_deref().unwrap();
        let period = period
            .strip_prefix("${PP_STOP_GRACE_PERIOD:-")
            .unwrap()
            .trim_end_matches('}');
        let grace = default_of(&help(name), "PP_GRACE");
        assert!(
            seconds(period) >= seconds(&grace) + Duration::from_secs(5),
            "{name}: {period}, {grace}"
        );
    }
}

#[test]
fn ports_are_on_the_loopback_interface_and_those_of_the_program() {
    for (name, service) in ComposeFile::read().services {
        for port in &service.ports {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
        if service.build.is_none() {
            continue;
        }
        let image = dockerfile::stage(&name);
        assert_eq!(
            service.container_ports(),
            image.port().into_iter().collect::<Vec<_>>(),
            "{name}"
        );
        let binds = image
            .variables()
            .into_iter()
            .filter(|(variable, _)| variable.ends_with("_BIND"));
        let bound: Vec<String> = binds.map(|(_, address)| address).collect();
        let expected = image.port().map(|port| format!("0.0.0.0:{port}"));
        assert_eq!(bound, expected.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn each_program_finds_the_servers_and_waits_until_they_are_well() {
    let file = ComposeFile::read();
    let servers: BTreeMap<&str, &Service> = file.of_servers().collect();
    for (name, service) in file.of_programs().filter(|(name, _)| *name != "pp_standalone") {
        let mut used = BTreeSet::new();
        for (variable, value) in &service.environment {
            let Some(value) = value.as_ref().filter(|_| variable != HOSTS) else {
                continue;
            };
            let url = Url::parse(&value.replace("${", "").replace('}', "")).unwrap();
            let host = url.host_str().unwrap();
            let Some(server) = servers.get(host) else {
                assert_eq!((name, host), ("cli_01", "pp_backend_api"), "{variable}");
                assert_eq!(url.port(), dockerfile::stage(host).port());
                continue;
            };
            used.insert(host.to_owned());
            assert!(
                server.container_ports().contains(&url.port().unwrap()),
                "{name}: {variable}"
            );
            let password = match host {
                "postgres" => {
                    let database = url.path().trim_start_matches('/');
                    let of_server = (server.value("POSTGRES_USER"), server.value("POSTGRES_DB"));
                    assert_eq!((url.username(), database), of_server, "{name}");
                    server.value("POSTGRES_PASSWORD")
                }
                "rabbitmq" => {
                    assert_eq!(url.username(), server.value("RABBITMQ_DEFAULT_USER"), "{name}");
                    server.value("RABBITMQ_DEFAULT_PASS")
                }
                _ => server.value("REDISCLI_AUTH"),
            };
            let expected = format!("${{{}:?", url.password().unwrap());
            assert!(password.starts_with(&expected), "{name}: {variable}, {password}");
        }
        // cli_01 is for looking at what does not work as well.
        let awaited: BTreeSet<String> = service.depends_on.keys().cloned().collect();
        assert_eq!(awaited, if name == "cli_01" { BTreeSet::new() } else { used }, "{name}");
        assert!(
            service.depends_on.values().all(|on| on.condition == "service_healthy"),
            "{name}"
        );
    }
}

#[test]
fn each_server_is_pinned_checked_and_keeps_its_data() {
    let file = ComposeFile::read();
    assert_eq!(file.of_servers().map(|(name, _)| name).collect::<Vec<_>>(), SERVERS);
    for (name, server) in file.of_servers() {
        let image = server.image.as_deref().unwrap();
        let (of, version) = image.split_once(':').unwrap();
        let numbers = version.split('-').next().unwrap();
        let is_exact = numbers.contains('.') && numbers.chars().all(|c| c.is_ascii_digit() || c == '.');
        assert!(of == name && is_exact, "{image} is not pinned");
        assert_eq!(server.restart.as_deref(), Some("unless-stopped"), "{name}");
        assert!(!server.healthcheck.as_ref().unwrap().test.is_empty(), "{name}");
        let volume = format!("{name}-data");
        assert!(
            server
                .volumes
                .iter()
                .any(|mount| mount.starts_with(&format!("{volume}:/"))),
            "{name}"
        );
    }
    let postgres = &file.services["postgres"];
    let major: u32 = postgres.image.as_deref().unwrap()["postgres:".len()..]
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    // The image refuses to start with a volume further down.
    assert!(major >= 18 && postgres.volumes == ["postgres-data:/var/lib/postgresql"]);
    assert!(
        file.services["rabbitmq"]
            .image
            .as_deref()
            .unwrap()
            .ends_with("-management")
    );
}

#[test]
fn the_standalone_keeps_its_data_where_it_is_told_to() {
    let image = dockerfile::stage("pp_standalone");
    let folder = &image.variables()["PP_DATA_DIR"];
    assert_eq!(image.last("VOLUME"), Some(folder.as_str()));
    let file = ComposeFile::read();
    assert_eq!(
        file.services["pp_standalone"].volumes,
        [format!("standalone-data:{folder}")]
    );
    // Named alone, it must bring nothing along.
    assert!(file.services["pp_standalone"].depends_on.is_empty());
}

#[test]
fn the_example_of_an_env_file_has_everything_that_is_asked_for() {
    let (compose, example) = (text_of("docker-compose.yml"), text_of(".env.example"));
    let example: BTreeMap<&str, &str> = example.lines().filter_map(|line| line.split_once('=')).collect();
    let asked = compose.split("${").skip(1).map(|rest| rest.split('}').next().unwrap());
    let mut names = BTreeSet::new();
    for asked in asked {
        let (name, default) = match asked.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (asked.split(':').next().unwrap(), None),
        };
        match default {
            Some(default) => assert_eq!(example.get(format!("#{name}").as_str()), Some(&default), "{name}"),
            None => assert!(example.get(name).is_some_and(|value| !value.is_empty()), "{name}"),
        }
        names.insert(name.to_owned());
    }
    assert!(names.len() > 8, "{names:?}");
    let known = |line: &&str| names.contains(line.trim_start_matches('#'));
    let unknown: Vec<&&str> = example.keys().filter(|line| !known(line)).collect();
    assert!(
        unknown.iter().all(|line| line.starts_with("#PP_") && is_read(line)),
        "{unknown:?}"
    );
    assert!(
        text_of(".gitignore").lines().any(|line| line == ".env"),
        "the real one is to stay here"
    );
}

/// Whether some service reads the variable.
fn is_read(line: &str) -> bool {
    let file = ComposeFile::read();
    let variable = line.trim_start_matches('#');
    file.of_programs()
        .any(|(_, service)| service.environment.contains_key(variable))
}
