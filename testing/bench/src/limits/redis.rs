//! `redis-benchmark`: GET of a value of a work's size, without pipelining.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::super::stand::Stand;
use pp_testkit::programs;
use pp_testkit::servers::{Kind, redis_command};

/// How the limit is called.
pub(in super::super) const WHAT: &str = "Redis GET, 32 connections, no pipelining";
const KEY: &str = "bench_limit";

/// Reads a second.
pub(in super::super) fn gets(stand: &Stand, count: usize) -> Result<f64> {
    let url = stand.servers.url(Kind::Redis)?;
    redis_command(&url, &format!("SET {KEY} {}", "x".repeat(155)))?;
    let program = programs::in_path("redis-benchmark").context("redis-benchmark is not installed")?;
    let output = Command::new(program)
        .args(["-u", &url, "-c", "32", "-n", &count.to_string(), "--csv", "GET", KEY])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "redis-benchmark failed: {said}");
    parse(&said).with_context(|| format!("redis-benchmark says: {said}"))
}

/// The second column of the last line.
fn parse(said: &str) -> Result<f64> {
    let line = said.lines().rfind(|line| line.starts_with('"')).context("no line")?;
    let rate = line.split("\",\"").nth(1).context("no rate")?;
    Ok(rate.trim_matches('"').parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read() {
        let said = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET bench_limit\",\"64808.82\",\"0.278\"\n";
        assert_eq!(parse(said).unwrap(), 64808.82);
        assert!(parse("\"test\",\"rps\"\n").is_err());
        assert!(parse("").is_err());
    }
}
