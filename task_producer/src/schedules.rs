//! The schedules of a producer: the one of the flags, or those of a file. Each is checked before anything is produced.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use pp_cli::config::{ConfigError, RuntimeArgs};
use pp_lib::broker::queues::QueueNames;
use pp_lib::domain::{AddUpTo, Json, KindName};
use serde::{Deserialize, Deserializer};

use crate::args::{LARGEST_COUNT, ScheduleArgs};
use crate::slots::Schedule;
use crate::{Mode, ProducerConfig};

/// The maximum number of schedules in a file.
const MOST_ENTRIES: usize = 100;
/// The room for everything in an entry but its arguments, in bytes.
const ENTRY_ROOM: usize = 4 << 10;

const ARGS: &str = "PP_ARGS";
const ADD_UP_TO: &str = "PP_ADD_UP_TO";
const FILE: &str = "PP_SCHEDULE_FILE";

impl ScheduleArgs {
    /// The producers of all schedules, for queues with this prefix.
    pub fn configs(&self, runtime: &RuntimeArgs, queue_prefix: &str) -> Result<Vec<ProducerConfig>, ConfigError> {
        let config = |schedule, count, catch_up, demands: Demands| ProducerConfig {
            mode: Mode::Scheduled(Box::new(schedule)),
            catch_up,
            count,
            kind: demands.kind,
            queue: None,
            args: demands.args,
            identity: demands.identity,
            queue_prefix: queue_prefix.to_owned(),
            grace: runtime.grace,
        };
        let Some(file) = &self.schedule_file else {
            let schedule = Schedule::parse(&self.schedule, &self.time_zone)?;
            return Ok(vec![config(
                schedule,
                self.count,
                self.catch_up,
                self.demands(runtime.args_limit)?,
            )]);
        };
        let mut configs: Vec<ProducerConfig> = Vec::new();
        for (place, entry) in entries(file, runtime.args_limit)?.into_iter().enumerate() {
            let wrong = |why: &str| wrong_entry(place, why);
            let schedule = Schedule::parse(&entry.schedule, &entry.time_zone).map_err(|error| wrong(error.why()))?;
            let demands = Demands::of(entry.kind, entry.args, runtime.args_limit).map_err(|why| wrong(&why))?;
            let same = |other: &ProducerConfig| match &other.mode {
                Mode::Scheduled(other_schedule) => {
                    other_schedule.is_same(&schedule)
                        && (&other.kind, &other.identity) == (&demands.kind, &demands.identity)
                }
                Mode::Once | Mode::Rate(_) => false,
            };
            // Their demands would have the same ids.
            if let Some(earlier) = configs.iter().position(same) {
                return Err(wrong(&format!(
                    "the same as entry {earlier}; say how many with `count`"
                )));
            }
            configs.push(ProducerConfig {
                queue: entry.queue,
                ..config(schedule, entry.count, entry.catch_up, demands)
            });
        }
        queues_of(&configs).map_err(|(place, why)| wrong_entry(place, &why))?;
        Ok(configs)
    }

    fn demands(&self, limit: usize) -> Result<Demands, ConfigError> {
        let kind = self.kind.clone();
        let args = match &self.args {
            None => None,
            Some(given) => Some(args_of(given, limit).map_err(|why| ConfigError::new(ARGS, why))?),
        };
        match (self.add_up_to, args) {
            (Some(_), Some(_)) => Err(ConfigError::new(
                ADD_UP_TO,
                "PP_ARGS has the arguments already; give one of them",
            )),
            (Some(bound), None) if kind.is_add_up_to() => Ok(Demands {
                kind,
                args: Some(bound.args()),
                identity: String::new(),
            }),
            (Some(_), None) => Err(ConfigError::new(
                ADD_UP_TO,
                format!("only sums have a bound, and PP_KIND is `{kind}`; give its arguments with PP_ARGS"),
            )),
            (None, args) => Demands::of(kind, args, limit).map_err(|why| ConfigError::new(ARGS, why)),
        }
    }
}

/// The demands of a schedule.
struct Demands {
    kind: KindName,
    /// `None` for sums with random bounds.
    args: Option<Json>,
    /// The part of their ids that tells them from other demands of the same schedule; empty for plain sums.
    identity: String,
}

impl Demands {
    /// Checks arguments of a kind.
    fn of(kind: KindName, args: Option<Json>, limit: usize) -> Result<Self, String> {
        let args = match args {
            Some(args) if args.bytes() > limit => return Err(format!("args: longer than {limit} bytes")),
            Some(args) if kind.is_add_up_to() => Some(AddUpTo::of_args(&args)?.args()),
            None if !kind.is_add_up_to() => {
                return Err(format!(
                    "no arguments, which the kind `{kind}` needs; for example {{\"user\":7}}"
                ));
            }
            args => args,
        };
        let identity = args
            .as_ref()
            .map(|args| format!("\n{kind}\n{args}"))
            .unwrap_or_default();
        Ok(Self { kind, args, identity })
    }
}

/// The arguments in a setting: JSON, or the name of a file with JSON behind an `@`.
fn args_of(given: &str, limit: usize) -> Result<Json, String> {
    let text = match given.strip_prefix('@') {
        Some(name) => read(Path::new(name), limit)?,
        None => given.as_bytes().to_vec(),
    };
    Json::parse(&text, limit).map_err(|error| error.to_string())
}

/// A schedule in a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleEntry {
    schedule: String,
    #[serde(default = "utc")]
    time_zone: String,
    #[serde(default)]
    kind: KindName,
    /// Any JSON, also `null`.
    #[serde(default, deserialize_with = "given")]
    args: Option<Json>,
    #[serde(default = "one")]
    count: u32,
    #[serde(default)]
    catch_up: u32,
    #[serde(default)]
    queue: Option<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn one() -> u32 {
    1
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// The entries of a file with a JSON array.
fn entries(file: &Path, args_limit: usize) -> Result<Vec<ScheduleEntry>, ConfigError> {
    let wrong = |why: String| ConfigError::new(FILE, why);
    let most = MOST_ENTRIES * (args_limit + ENTRY_ROOM);
    let text = read(file, most).map_err(wrong)?;
    let array = Json::parse(&text, most).map_err(|error| wrong(error.to_string()))?;
    let items: Vec<Json> = array
        .read()
        .map_err(|_| wrong("expected an array of schedules, as in [{\"schedule\":\"0 3 * * *\"}]".to_owned()))?;
    if !(1..=MOST_ENTRIES).contains(&items.len()) {
        return Err(wrong(format!(
            "expected 1 to {MOST_ENTRIES} schedules, found {}",
            items.len()
        )));
    }
    let entries = items.iter().enumerate().map(|(place, item)| entry(place, item));
    entries.collect()
}

fn entry(place: usize, item: &Json) -> Result<ScheduleEntry, ConfigError> {
    // Serde would also read the fields from an array.
    if !item.as_str().starts_with('{') {
        return Err(wrong_entry(place, "expected an object"));
    }
    let entry: ScheduleEntry = item.read().map_err(|error| {
        let mut why = error.to_string();
        why.truncate(why.floor_char_boundary(200));
        wrong_entry(place, &why)
    })?;
    if !(1..=LARGEST_COUNT).contains(&entry.count) {
        return Err(wrong_entry(place, &format!("count must be 1 to {LARGEST_COUNT}")));
    }
    if entry.catch_up > LARGEST_COUNT {
        return Err(wrong_entry(place, &format!("catch_up must be 0 to {LARGEST_COUNT}")));
    }
    Ok(entry)
}

/// The queues with names. A kind has one queue, and no other kind has it.
///
/// # Errors
/// A name that cannot be; the place of its configuration, and a sentence for the user.
pub(crate) fn queues_of(configs: &[ProducerConfig]) -> Result<Vec<(KindName, String)>, (usize, String)> {
    let mut queues: Vec<(KindName, String)> = Vec::new();
    for (place, config) in configs.iter().enumerate() {
        let wrong = |why: String| (place, format!("queue: {why}"));
        let (kind, prefix) = (&config.kind, &config.queue_prefix);
        let Some(name) = &config.queue else { continue };
        QueueNames::checked(name).map_err(wrong)?;
        if kind.is_add_up_to() {
            return Err(wrong("PP_DEMAND_QUEUE names the queue of sums".to_owned()));
        }
        if name
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.starts_with('.'))
        {
            return Err(wrong(format!(
                "names that begin with `{prefix}.` are those that PP gives by itself"
            )));
        }
        let is_taken = |other: &(KindName, String)| (other.0 == *kind) != (other.1 == *name);
        if let Some((other, queue)) = queues.iter().find(|other| is_taken(other)) {
            return Err(wrong(format!("`{name}` for {kind}, but `{queue}` for {other}")));
        }
        queues.push((kind.clone(), name.clone()));
    }
    let unnamed =
        |config: &&ProducerConfig| config.queue.is_none() && queues.iter().any(|(kind, _)| *kind == config.kind);
    match configs.iter().position(|config| unnamed(&config)) {
        Some(place) => Err((
            place,
            format!("queue: missing, and another entry of {} has one", configs[place].kind),
        )),
        None => Ok(queues),
    }
}

pub(crate) fn wrong_entry(place: usize, why: &str) -> ConfigError {
    ConfigError::new(FILE, format!("entry {place}: {why}"))
}

/// A file of at most `limit` bytes.
fn read(file: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let mut read = || -> io::Result<usize> {
        let room = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        File::open(file)?.take(room).read_to_end(&mut text)
    };
    match read() {
        Ok(length) if length > limit => Err(format!("the file {} has more than {limit} bytes", file.display())),
        Ok(_) => Ok(text),
        Err(error) => Err(format!("the file {} cannot be read: {error}", file.display())),
    }
}

#[cfg(test)]
mod tests;
