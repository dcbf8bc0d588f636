//! docker-compose.yml as far as the tests look at it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::text_of;

#[derive(Debug, Deserialize)]
pub(super) struct ComposeFile {
    pub(super) services: BTreeMap<String, Service>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Service {
    pub(super) image: Option<String>,
    pub(super) build: Option<Build>,
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub(super) ports: Vec<String>,
    #[serde(default)]
    pub(super) profiles: Vec<String>,
    #[serde(default)]
    pub(super) depends_on: BTreeMap<String, Dependency>,
    #[serde(default)]
    pub(super) volumes: Vec<String>,
    pub(super) restart: Option<String>,
    pub(super) stop_grace_period: Option<String>,
    #[serde(default)]
    pub(super) read_only: bool,
    #[serde(default)]
    pub(super) cap_drop: Vec<String>,
    #[serde(default)]
    pub(super) security_opt: Vec<String>,
    pub(super) healthcheck: Option<Healthcheck>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Build {
    pub(super) context: String,
    pub(super) target: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) condition: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Healthcheck {
    pub(super) test: Vec<String>,
}

impl ComposeFile {
    pub(super) fn read() -> Self {
        serde_saphyr::from_str(&text_of("docker-compose.yml")).unwrap()
    }

    /// The services that are PP's programs.
    pub(super) fn of_programs(&self) -> impl Iterator<Item = (&str, &Service)> {
        let built = self.services.iter().filter(|(_, service)| service.build.is_some());
        built.map(|(name, service)| (name.as_str(), service))
    }

    /// The others: PostgreSQL, RabbitMQ and Redis.
    pub(super) fn of_servers(&self) -> impl Iterator<Item = (&str, &Service)> {
        let pulled = self.services.iter().filter(|(_, service)| service.image.is_some());
        pulled.map(|(name, service)| (name.as_str(), service))
    }
}

impl Service {
    /// The ports within the container that are published.
    pub(super) fn container_ports(&self) -> Vec<u16> {
        let ports = self.ports.iter();
        ports
            .map(|port| port.rsplit(':').next().unwrap().parse().unwrap())
            .collect()
    }

    /// The variable's value, which docker-compose.yml must set.
    pub(super) fn value(&self, variable: &str) -> &str {
        let value = self.environment.get(variable).and_then(Option::as_deref);
        value.unwrap_or_else(|| panic!("{variable} has no value"))
    }
}
