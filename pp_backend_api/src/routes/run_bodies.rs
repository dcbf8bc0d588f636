//! The bodies of `/run`: claims, reports and their answers.

use std::time::Duration;

use pp_lib::claims::{ClaimRuns, RunToken, ShownRun};
use pp_lib::domain::{Json, KindName, Progress, WorkerName};
use pp_lib::kinds::{Policy, bounded_duration, duration_schema};
use pp_lib::serving::Heartbeat;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::request_json::{Item, given};

/// The most kinds of one claim.
const MOST_KINDS: usize = 100;
/// The most works of one claim.
const MOST_RUNS: u16 = 1_000;
/// The longest wait of a claim.
const LONGEST_CLAIM: Duration = Duration::from_secs(60);
/// The bounds of a lease.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(3_600);
const USUAL_LEASE: Duration = Duration::from_secs(60);

/// The body of `POST /run/claim`.
#[derive(Deserialize)]
#[serde(try_from = "ClaimFields")]
pub(super) struct Claim(pub(super) ClaimRuns);

/// A claim of a worker.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Claim")]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimFields {
    /// The kinds.
    #[schemars(length(min = 1, max = MOST_KINDS))]
    kinds: Vec<KindName>,
    /// The name of the worker; `unnamed` unless it is given.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "WorkerName")]
    worker: Option<WorkerName>,
    /// The most works; 1 unless it is given.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "u16", range(min = 1, max = MOST_RUNS))]
    max: Option<u16>,
    /// How long to wait for the first work; not at all unless it is given.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "wait_schema")]
    wait: Option<String>,
    /// How long the works stay this worker's without a heartbeat; a minute unless it is given.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "lease_schema")]
    lease: Option<String>,
}

impl TryFrom<ClaimFields> for Claim {
    type Error = String;

    fn try_from(fields: ClaimFields) -> Result<Self, String> {
        if !(1..=MOST_KINDS).contains(&fields.kinds.len()) {
            return Err(format!("kinds must be 1 to {MOST_KINDS} names of kinds"));
        }
        let max = fields.max.unwrap_or(1);
        if !(1..=MOST_RUNS).contains(&max) {
            return Err(format!("max must be from 1 to {MOST_RUNS}"));
        }
        let wait = |text: String| bounded_duration("wait", &text, Duration::ZERO..=LONGEST_CLAIM);
        Ok(Self(ClaimRuns {
            kinds: fields.kinds,
            worker: match fields.worker {
                Some(worker) => worker,
                None => "unnamed".parse().map_err(|error| format!("{error}"))?,
            },
            max,
            wait: fields.wait.map(wait).transpose()?.unwrap_or_default(),
            lease: fields.lease.map(lease).transpose()?.unwrap_or(USUAL_LEASE),
        }))
    }
}

fn lease(text: String) -> Result<Duration, String> {
    bounded_duration("lease", &text, SHORTEST_LEASE..=LONGEST_LEASE)
}

fn wait_schema(_: &mut SchemaGenerator) -> Schema {
    duration_schema(Duration::ZERO..=LONGEST_CLAIM)
}

fn lease_schema(_: &mut SchemaGenerator) -> Schema {
    duration_schema(SHORTEST_LEASE..=LONGEST_LEASE)
}

fn delay_schema(_: &mut SchemaGenerator) -> Schema {
    duration_schema(Duration::ZERO..=Policy::LONGEST_WAIT)
}

pub(super) fn delay(name: &str, text: &str) -> Result<Duration, String> {
    bounded_duration(name, text, Duration::ZERO..=Policy::LONGEST_WAIT)
}

/// The answer to a claim.
#[derive(Serialize, JsonSchema)]
pub(super) struct Claims<'a> {
    /// The runs; none if no work was due.
    pub(super) runs: Vec<ShownRun<'a>>,
}

/// An item of `POST /run/heartbeat`.
#[derive(Deserialize)]
#[serde(try_from = "BeatFields")]
pub(super) struct Beaten(pub(super) Heartbeat);

/// A sign of life from a run.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Heartbeat", extend("dependentRequired" = { "note": ["progress"] }))]
#[serde(deny_unknown_fields)]
pub(super) struct BeatFields {
    /// The token of the run.
    #[schemars(with = "String")]
    run: Token,
    /// How far it is, in percent.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "u8", range(max = 100))]
    progress: Option<u8>,
    /// Words for the progress, of which 200 bytes are kept.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String")]
    note: Option<String>,
    /// Another lease from now on.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "lease_schema")]
    lease: Option<String>,
}

impl TryFrom<BeatFields> for Beaten {
    type Error = String;

    fn try_from(fields: BeatFields) -> Result<Self, String> {
        let progress = match (fields.progress, fields.note) {
            (None, None) => None,
            (None, Some(_)) => return Err("a note needs a progress beside it".to_owned()),
            (Some(101..), _) => return Err("progress must be from 0 to 100".to_owned()),
            (Some(percent), note) => Some(Progress::new(percent, note.unwrap_or_default())),
        };
        Ok(Self(Heartbeat {
            run: fields.run.0,
            lease: fields.lease.map(lease).transpose()?,
            progress,
        }))
    }
}

/// The end of a run with its result.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Completed {
    /// The token of the run.
    #[schemars(with = "String")]
    pub(super) run: Token,
    /// Any JSON of at most 64 KiB; null unless it is given.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Json")]
    pub(super) result: Option<Box<RawValue>>,
}

/// The end of an attempt without a result.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("not" = { "required": ["permanent", "retry_after"], "properties": { "permanent": { "const": true } } }))]
#[serde(deny_unknown_fields)]
pub(super) struct Failed {
    /// The token of the run.
    #[schemars(with = "String")]
    pub(super) run: Token,
    /// The reason, of which 500 bytes are kept.
    pub(super) error: String,
    /// True if no attempt can succeed.
    #[serde(default)]
    pub(super) permanent: bool,
    /// The wait before the next attempt, in place of the one of the policy.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "delay_schema")]
    pub(super) retry_after: Option<String>,
}

/// A work that is put off.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Snoozed {
    /// The token of the run.
    #[schemars(with = "String")]
    pub(super) run: Token,
    /// The wait before it runs again. That is no failure.
    #[schemars(schema_with = "delay_schema")]
    pub(super) r#for: String,
}

/// The token of a run as a text.
pub(super) struct Token(pub(super) RunToken);

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Item for Beaten {
    const EXAMPLE: &'static str = r#"[{"run":"…","progress":40}]"#;
}

impl Item for Completed {
    const EXAMPLE: &'static str = r#"[{"run":"…","result":{}}]"#;
}

impl Item for Failed {
    const EXAMPLE: &'static str = r#"[{"run":"…","error":"…"}]"#;
}

impl Item for Snoozed {
    const EXAMPLE: &'static str = r#"[{"run":"…","for":"5m"}]"#;
}

/// The answer to a heartbeat.
#[derive(Serialize, JsonSchema)]
pub(super) struct Beating {
    /// Unix second in which the lease ends; null if the worker should stop.
    pub(super) lease_until: Option<i64>,
    /// True if the worker should stop.
    pub(super) cancel_requested: bool,
}
