//! The code of the kinds of a run, for its workers. Each call has an effect outside of PP: a line in a file, so that calls
//! can be counted. [`super::calls`] reads them.

use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;
use std::{env, process};

use anyhow::{Context as _, Result};
use pp_lib::kinds::{Backoff, Context, Failure, Kind, Kinds, Policy};

use super::asks::{self, Mood, Moody, Slow};
use super::calls::Call;

/// The variable that names the file of calls.
pub const CALLS: &str = "CHAOS_CALLS";
/// The variable that names the kinds that a worker handles, separated by commas; without it, all.
pub const KINDS: &str = "CHAOS_KINDS";

/// Short waits: a run waits for the end of each work.
const POLICY: Policy = Policy {
    backoff: Backoff {
        base: Duration::from_millis(100),
        ..Backoff::DEFAULT
    },
    ..Policy::DEFAULT
};

/// The file of calls. All workers append to it.
#[derive(Clone)]
pub struct Calls(Arc<File>);

impl Calls {
    /// Notes a call, in one write: the line of a killed process is there or not.
    fn note<K: Kind>(&self, context: &Context) -> io::Result<()> {
        let call = Call {
            kind: K::NAME.to_owned(),
            work_code: context.work_code().to_string(),
            generation: context.run().generation,
            attempt: context.run().attempt,
            message_id: context.message_id().as_str().to_owned(),
        };
        (&*self.0).write_all(format!("{call}\n").as_bytes())
    }
}

/// These kinds with those of a run.
///
/// # Errors
/// When [`CALLS`] names no file that can be written.
pub fn with_kinds(mut kinds: Kinds) -> Result<Kinds> {
    let file = env::var_os(CALLS).with_context(|| format!("{CALLS} names no file"))?;
    let file = OpenOptions::new().create(true).append(true).open(file).context(CALLS)?;
    let calls = Calls(Arc::new(file));
    kinds = kinds.with::<Slow>(calls.clone()).with::<Moody>(calls);
    if let Ok(only) = env::var(KINDS) {
        let names: Vec<&str> = only.split(',').collect();
        let others: Vec<_> = kinds.iter().map(|kind| kind.name.clone()).collect();
        for name in others.iter().filter(|name| !names.contains(&name.as_str())) {
            kinds = kinds.without(name);
        }
    }
    Ok(kinds)
}

impl Kind for Slow {
    const NAME: &'static str = asks::SLOW;
    const POLICY: Policy = POLICY;
    type Output = u32;
    type State = Calls;

    async fn run(self, calls: &Calls, context: &Context) -> Result<u32, Failure> {
        calls.note::<Self>(context)?;
        tokio::time::sleep(Duration::from_millis(self.millis.into())).await;
        Ok(self.millis)
    }
}

impl Kind for Moody {
    const NAME: &'static str = asks::MOODY;
    const POLICY: Policy = POLICY;
    type Output = u32;
    type State = Calls;

    async fn run(self, calls: &Calls, context: &Context) -> Result<u32, Failure> {
        calls.note::<Self>(context)?;
        let Self { mood, number } = self;
        match mood {
            Mood::Fails => Err(Failure::permanent("it fails for good")),
            Mood::FailsTwice if context.run().attempt <= 2 => Err(Failure::retry("it fails twice")),
            Mood::PanicsOnce if context.run().attempt == 1 => panic!("it panics once"),
            Mood::FailsTwice | Mood::PanicsOnce => Ok(number),
            Mood::Hangs => pending().await,
            Mood::Panics => panic!("it panics"),
            Mood::Aborts => process::abort(),
        }
    }
}
