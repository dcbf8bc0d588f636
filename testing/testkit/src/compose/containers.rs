//! What `docker compose ps` says of a project's containers.
//!
//! Only reads; starting and stopping is one level up.

use std::fmt;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// The container's own name.
    pub name: String,
    /// The service in docker-compose.yml that it is one of.
    pub service: String,
    state: String,
    #[serde(default)]
    health: String,
    #[serde(default)]
    exit_code: i64,
    #[serde(default)]
    publishers: Option<Vec<Publisher>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Publisher {
    #[serde(rename = "URL", default)]
    address: String,
    #[serde(default)]
    published_port: u16,
}

/// What the engine thinks of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Its health check succeeds.
    Ready,
    /// It was started lately, and its health check has not succeeded yet.
    Starting,
    /// It runs and its health check fails.
    Unready,
    /// It does not run; with its exit code.
    Stopped(i64),
}

impl Container {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// What the engine thinks of it.
    pub fn health(&self) -> Health {
        match (self.is_running(), self.health.as_str()) {
            (true, "healthy" | "") => Health::Ready,
            (true, "starting") => Health::Starting,
            (true, _) => Health::Unready,
            (false, _) => Health::Stopped(self.exit_code),
        }
    }

    /// Where its ports are published on this machine, each as `address:port`.
    pub fn addresses(&self) -> Vec<String> {
        let publishers = self.publishers.iter().flatten();
        let published = publishers.filter(|publisher| publisher.published_port != 0);
        published
            .map(|publisher| format!("{}:{}", publisher.address, publisher.published_port))
            .collect()
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Starting => f.write_str("starting"),
            Self::Unready => f.write_str("not ready"),
            Self::Stopped(code) => write!(f, "stopped (exit code {code})"),
        }
    }
}

/// Reads the output of `ps --format json`: one object a line, or, before Compose 2.21, one array.
pub(super) fn parse(output: &[u8]) -> Result<Vec<Container>> {
    let mut containers: Vec<Container> = match output.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(output),
        _ => serde_json::Deserializer::from_slice(output).into_iter().collect(),
    }
    .context("docker compose ps says what cannot be understood")?;
    containers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(containers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_list_are_read() {
        let one = r#"{"Name":"pp-redis-1","Service":"redis","State":"running","Health":"healthy","ExitCode":0,
            "Publishers":[{"URL":"127.0.0.1","TargetPort":6379,"PublishedPort":7000,"Protocol":"tcp"},
                          {"URL":"","TargetPort":6380,"PublishedPort":0,"Protocol":"tcp"}],"More":[1]}"#;
        let other =
            r#"{"Name":"pp-cli_01-1","Service":"cli_01","State":"exited","Health":"","ExitCode":3,"Publishers":null}"#;
        for text in [format!("{one}\n{other}\n"), format!("[{one},{other}]")] {
            let containers = parse(text.as_bytes()).expect("a list");
            let [exited, running] = containers.as_slice() else {
                panic!("{containers:?}")
            };
            assert_eq!((exited.health(), exited.addresses()), (Health::Stopped(3), Vec::new()));
            assert_eq!(running.health(), Health::Ready);
            assert_eq!(running.addresses(), ["127.0.0.1:7000"]);
        }
        assert!(parse(b"").is_ok_and(|none| none.is_empty()));
        assert!(parse(b"what?").is_err());
    }
}
