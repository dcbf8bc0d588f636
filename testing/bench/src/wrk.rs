//! `wrk`, a load generator that takes little of the machine: throughput over kept connections, each asking again as soon as
//! it is answered. How long answers take it does not say rightly; that is for [`super::load`], which goes by the clock.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::stand::Stand;
use pp_testkit::programs;

/// So many connections, the same for every figure.
pub(super) const CONNECTIONS: u64 = 64;
/// Longer than the API itself gives a request: nothing is given up.
const TIMEOUT: &str = "15s";
/// What `wrk` says in the end, in words that do not depend on its version.
const DONE: &str = r#"
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("\nanswered %d in %d us, errors %d\n", summary.requests, summary.duration,
        e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// What is asked for.
pub(super) enum Ask<'a> {
    /// `POST` with a JSON body.
    Post(&'a str, &'a str),
    /// `GET` of these works in turn.
    Works(&'a [i64]),
}

/// What was answered, all of it with success.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) count: u64,
    pub(super) seconds: f64,
}

impl Answered {
    /// How many a second.
    pub(super) fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Asks the server on this port for so long, which counts in whole seconds.
pub(super) fn run(stand: &Stand, port: u16, time: Duration, ask: &Ask<'_>) -> Result<Answered> {
    run_with(stand, port, time, ask, None)
}

/// The same with an API key.
pub(super) fn run_with(stand: &Stand, port: u16, time: Duration, ask: &Ask<'_>, key: Option<&str>) -> Result<Answered> {
    let program = programs::in_path("wrk").context("wrk is not installed")?;
    let script = stand.file("wrk.lua");
    let key = key.map(|key| format!("wrk.headers['authorization'] = 'Bearer {key}'\n"));
    fs::write(&script, key.unwrap_or_default() + &lua(ask) + DONE)?;
    let output = Command::new(program)
        // One thread could not keep the bare handler busy, and is no lighter: both wait most of the time.
        .args(["--threads", "2", "--connections", &CONNECTIONS.to_string()])
        .args([
            "--timeout",
            TIMEOUT,
            "--duration",
            &format!("{}s", time.as_secs().max(1)),
        ])
        .arg("--script")
        .arg(&script)
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    parse(&said).with_context(|| format!("wrk says: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Requests are put together once, beforehand.
fn lua(ask: &Ask<'_>) -> String {
    match ask {
        Ask::Post(path, body) => format!(
            "wrk.method = 'POST'\nwrk.path = '{path}'\nwrk.body = '{body}'\n\
             wrk.headers['content-type'] = 'application/json'\n"
        ),
        Ask::Works(ids) => {
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            format!(
                "local ids = {{{}}}\nlocal requests, place = {{}}, 0\n\
                 function init()\n    for i, id in ipairs(ids) do \
                 requests[i] = wrk.format('GET', '/work/' .. id) end\nend\n\
                 function request()\n    place = place % #requests + 1\n    return requests[place]\nend\n",
                ids.join(",")
            )
        }
    }
}

fn parse(said: &str) -> Result<Answered> {
    let line = said.lines().find_map(|line| line.strip_prefix("answered "));
    let words: Vec<&str> = line.context("no answer")?.split([' ', ',']).collect();
    let number = |place: usize| -> Result<u64> { Ok(words.get(place).context("too few words")?.parse()?) };
    let (count, microseconds, errors) = (number(0)?, number(2)?, number(6)?);
    ensure!(errors == 0, "{errors} requests were not answered with success");
    ensure!(count > 0 && microseconds > 0, "nothing was answered");
    Ok(Answered {
        count,
        seconds: microseconds as f64 / 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_in_the_end_is_read() {
        let said = "Running 1s test\n  1 threads\n\nanswered 3000 in 1500000 us, errors 0\n";
        let answered = parse(said).unwrap();
        assert_eq!((answered.count, answered.rate()), (3000, 2000.0));
    }

    #[test]
    fn errors_are_no_figures() {
        for said in [
            "answered 3000 in 1500000 us, errors 1",
            "answered 0 in 1500000 us, errors 0",
            "unable to connect",
            "answered 3000",
        ] {
            assert!(parse(said).is_err(), "{said}");
        }
    }

    #[test]
    fn works_are_asked_for_in_turn() {
        let script = lua(&Ask::Works(&[4, 7]));
        assert!(script.contains("{4,7}") && script.contains("'/work/'"), "{script}");
    }
}
