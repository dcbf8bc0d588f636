//! Works come in: they get their codes here, and a bound where none was asked for.

use std::fmt;
use std::time::{Duration, SystemTime};

use rand::RngExt as _;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::domain::{AddUpTo, MessageId, Origin, Work};
use crate::runtime::new_work_code;
use crate::serving::{ActorError, StoreHandle};
use crate::store::NewWork;

/// More codes than this are never taken in a row; a store that says so is broken.
const MOST_TRIES: usize = 100;
/// How far ahead a work may be scheduled.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// A new work as a client asks for it: the body of `POST /work`, and an item of `POST /work/bulk`. A field may be left
/// out, but not be `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Its bound; a random one from 1 to 99 when there is none.
    #[serde(default, deserialize_with = "given")]
    pub add_up_to: Option<AddUpTo>,
    /// When it is to run, in Unix seconds from 0 to [`latest_run_at`]; at once when there is none or it is over.
    #[serde(default, deserialize_with = "given_moment")]
    pub run_at: Option<i64>,
}

/// The last moment for which a work may be scheduled now, in Unix seconds: 366 days ahead.
pub fn latest_run_at() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from((now + LONGEST_WAIT).as_secs()).unwrap_or(i64::MAX)
}

impl StoreHandle {
    /// Creates a work under this identity, or returns the work that has it. The work is committed when this returns.
    ///
    /// # Errors
    /// When the store refuses it or cannot be reached; see [`ActorError`].
    pub async fn create(&self, wanted: Wanted, message_id: MessageId) -> Result<Work, ActorError> {
        let mut new = new_work(wanted, message_id);
        for _ in 0..MOST_TRIES {
            if let Some(work) = self.insert(new.clone()).await? {
                return Ok(work);
            }
            new.work_code = new_work_code(Origin::Api);
        }
        Err(every_code_is_taken())
    }

    /// Creates works, all or none, under identities made of `seed` and their places, or returns those that have them.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_all(&self, wanted: &[Wanted], seed: &MessageId) -> Result<Vec<Work>, ActorError> {
        let mut new = Vec::with_capacity(wanted.len());
        for (place, wanted) in wanted.iter().enumerate() {
            let message_id = MessageId::try_from(format!("{seed}/{place}")).map_err(|_| ActorError::Failed)?;
            new.push(new_work(*wanted, message_id));
        }
        for _ in 0..MOST_TRIES {
            if let Some(works) = self.insert_all(&new).await? {
                return Ok(works);
            }
            for work in &mut new {
                work.work_code = new_work_code(Origin::Api);
            }
        }
        Err(every_code_is_taken())
    }
}

fn new_work(wanted: Wanted, message_id: MessageId) -> NewWork {
    NewWork {
        message_id,
        work_code: new_work_code(Origin::Api),
        add_up_to: wanted.add_up_to.unwrap_or_else(random_bound),
        run_at: wanted.run_at,
    }
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AddUpTo>, D::Error> {
    AddUpTo::deserialize(deserializer).map(Some)
}

fn given_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let latest = latest_run_at();
    deserializer.deserialize_i64(MomentVisitor { latest }).map(Some)
}

struct MomentVisitor {
    latest: i64,
}

impl Visitor<'_> for MomentVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latest = self.latest;
        write!(
            f,
            "run_at as Unix seconds, a whole number from 0 to {latest} (366 days ahead)"
        )
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<i64, E> {
        if (0..=self.latest).contains(&seconds) {
            Ok(seconds)
        } else {
            Err(E::invalid_value(Unexpected::Signed(seconds), &self))
        }
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<i64, E> {
        let moment = i64::try_from(seconds).ok().filter(|seconds| *seconds <= self.latest);
        moment.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(seconds), &self))
    }
}

/// A bound from 1 to 99.
fn random_bound() -> AddUpTo {
    let number: i64 = rand::rng().random_range(1..=99);
    AddUpTo::try_from(number).unwrap_or(AddUpTo::MIN)
}

fn every_code_is_taken() -> ActorError {
    log::error!("the store says of {MOST_TRIES} random codes that they are taken");
    ActorError::Failed
}
