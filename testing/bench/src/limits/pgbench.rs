//! `pgbench` on PP's tables: one row a transaction, the way of a service that does not batch.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use url::Url;

use super::super::stand::{Place, Stand};
use pp_testkit::programs;
use pp_testkit::servers::Kind;

/// How its limits are called.
pub(in super::super) const INSERT: &str = "pgbench INSERT of one row, 16 clients";
pub(in super::super) const SELECT: &str = "pgbench SELECT of one row, 16 clients";
const CLIENTS: &str = "16";

/// Works inserted a second, into an empty table.
pub(in super::super) fn inserts(stand: &Stand, time: Duration) -> Result<f64> {
    let place = stand.place("pgbench")?;
    let script = "INSERT INTO works (kind, work_code, origin, message_id, args, due_at) VALUES ('add_up_to', 'api-' || \
                  substr(md5(random()::text), 1, 10), 'api', gen_random_uuid()::text, '{\"add_up_to\":42}', now()) \
                  ON CONFLICT DO NOTHING;\n";
    let rate = run(stand, &place, time, script)?;
    stand.leave(place)?;
    Ok(rate)
}

/// Works read a second by their ids, of 1 to this.
pub(in super::super) fn selects(stand: &Stand, place: &Place, time: Duration, highest: i64) -> Result<f64> {
    let columns = "id, work_code, kind, args, status, result, version, created_on, updated_on";
    let script = format!("\\set id random(1, {highest})\nSELECT {columns} FROM works WHERE id = :id;\n");
    run(stand, place, time, &script)
}

fn run(stand: &Stand, place: &Place, time: Duration, script: &str) -> Result<f64> {
    let beside = programs::locate(Kind::Postgres)?.with_file_name("pgbench");
    let program = Some(beside)
        .filter(|path| path.is_file())
        .or_else(|| programs::in_path("pgbench"));
    let file = stand.file("pgbench.sql");
    fs::write(&file, script)?;
    // A command line is everybody's to read: the password goes another way.
    let mut url = Url::parse(&place.database)?;
    let password = url.password().unwrap_or_default().to_owned();
    ensure!(url.set_password(None).is_ok(), "a URL without a host");
    let output = Command::new(program.context("pgbench is not installed")?)
        .args([
            "--no-vacuum",
            "--protocol",
            "prepared",
            "--client",
            CLIENTS,
            "--jobs",
            "1",
        ])
        .args(["--time", &time.as_secs().max(1).to_string(), "--file"])
        .arg(file)
        .arg(url.as_str())
        .env("PGPASSWORD", password)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = || format!("pgbench says: {said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), failed());
    parse(&said).with_context(failed)
}

fn parse(said: &str) -> Result<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "));
    let number = line.and_then(|line| line.split(' ').next()).context("no rate")?;
    Ok(number.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read() {
        let said = "latency average = 1.591 ms\ntps = 10053.172645 (without initial connection time)\n";
        assert_eq!(parse(said).unwrap(), 10053.172645);
        assert!(parse("pgbench: error").is_err());
    }
}
