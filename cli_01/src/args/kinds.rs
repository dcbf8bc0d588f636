//! The arguments of `kind` and `worker`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pp_lib::domain::{Json, KindName};
use pp_lib::kinds::Declaration;
use serde_json::{Map, Value, json};

use crate::commands::Kinds;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum KindAction {
    /// List the kinds.
    List,
    /// Show a kind: its policy, its settings and what is declared of it.
    Show(OneKind),
    /// Stop sending and taking works of a kind; those under way go on.
    Pause(OneKind),
    /// Send and take works of a kind again.
    Resume(OneKind),
    /// Change settings of a kind over its declared policy.
    Set {
        #[command(flatten)]
        kind: OneKind,

        /// A setting and its value, as in max_attempts=8, timeout=30s or backoff.cap=1h; without a value the setting is
        /// taken back.
        #[arg(value_name = "SETTING=VALUE", required = true, num_args = 1..=20)]
        settings: Vec<String>,
    },
    /// Declare a kind, as a program with a handler for it does when it starts.
    Declare {
        #[command(flatten)]
        kind: OneKind,

        /// A file with the declaration, a JSON object with policy, args_schema and result_schema [default: {}].
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum WorkerAction {
    /// List the workers that were heard of within a day, the last one first.
    List {
        /// The most workers to list, 1 to 1000.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
}

#[derive(Args, Debug)]
pub(super) struct OneKind {
    /// The name of the kind.
    #[arg(value_name = "KIND")]
    kind: KindName,
}

impl KindAction {
    pub(super) fn command(self) -> Result<Kinds, Failure> {
        let set = |kind: OneKind, change: Value| Ok(Kinds::Set(kind.kind, Json::accepted(change.to_string())));
        match self {
            Self::List => Ok(Kinds::List),
            Self::Show(kind) => Ok(Kinds::Show(kind.kind)),
            Self::Pause(kind) => set(kind, json!({"paused": true})),
            Self::Resume(kind) => set(kind, json!({"paused": false})),
            Self::Set { kind, settings } => set(kind, change(&settings)?),
            Self::Declare { kind, file } => Ok(Kinds::Declare(kind.kind, Box::new(declaration(file)?))),
        }
    }
}

/// The settings as a JSON merge patch.
fn change(settings: &[String]) -> Result<Value, Failure> {
    let mut change = Map::new();
    for setting in settings {
        let wrong = || {
            Failure::Usage(format!(
                "expected SETTING=VALUE, as in max_attempts=8, instead of `{setting}`"
            ))
        };
        let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
        // A text that is no number or truth value is a text.
        let value = match value {
            "" => Value::Null,
            value => match serde_json::from_str(value) {
                Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
                _ => Value::from(value),
            },
        };
        let (place, name) = match name.split_once('.') {
            None => (&mut change, name),
            Some((outer, inner)) => {
                let outer = change.entry(outer).or_insert_with(|| json!({}));
                (outer.as_object_mut().ok_or_else(wrong)?, inner)
            }
        };
        place.insert(name.to_owned(), value);
    }
    Ok(Value::Object(change))
}

fn declaration(file: Option<PathBuf>) -> Result<Declaration, Failure> {
    let Some(file) = file else {
        return Ok(Declaration::default());
    };
    let wrong = |why: String| Failure::Usage(format!("--file {}: {why}", file.display()));
    let length = file.metadata().map_err(|error| wrong(error.to_string()))?.len();
    if length > Declaration::MAX_LENGTH as u64 {
        return Err(wrong(format!("it has more than {} bytes", Declaration::MAX_LENGTH)));
    }
    let text = std::fs::read(&file).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_a_merge_patch() {
        let settings = [
            "max_attempts=8",
            "timeout=30s",
            "backoff.cap=1h",
            "backoff.factor=1.5",
            "paused=true",
            "lease=",
        ];
        let change = change(&settings.map(str::to_owned)).unwrap();
        let expected = json!({"max_attempts": 8, "timeout": "30s", "backoff": {"cap": "1h", "factor": 1.5},
            "paused": true, "lease": null});
        assert_eq!(change, expected);
        for wrong in [&["paused"][..], &["backoff=3", "backoff.cap=1h"]] {
            let settings: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            assert!(super::change(&settings).is_err(), "{wrong:?}");
        }
    }
}
