//! Creating works: choosing their codes, and a random bound if none is requested.

use std::fmt;
use std::time::{Duration, SystemTime};

use rand::RngExt as _;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::domain::{AddUpTo, CreatedWork, Json, KindName, MessageId, Origin, Unique, WebUrl};
use crate::runtime::new_work_code;
use crate::serving::{ActorError, StoreHandle};
use crate::store::NewWork;

/// Random codes collide rarely. A store that rejects this many in a row is broken.
const MOST_TRIES: usize = 100;
/// The furthest a work may be scheduled ahead.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// A client's request for a new work: the body of `POST /work`, and an item of `POST /work/bulk`. A field may be absent
/// but not `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct CreateWork {
    /// The kind; by default the sum.
    pub kind: KindName,
    /// The arguments; by default those of a sum with a random bound from 1 to 99.
    pub args: Option<Json>,
    /// The scheduled time, in Unix seconds from 0 to [`latest_run_at`]. Absent or past times mean at once.
    pub run_at: Option<i64>,
    /// While a work of the kind with this text is unfinished, the answer is that work.
    pub unique: Option<Unique>,
    /// The URL that is told when the work is finished.
    pub notify: Option<WebUrl>,
}

/// A work to create.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema), schemars(rename = "NewWork"))]
#[serde(deny_unknown_fields)]
struct Fields {
    /// The last number of a sum. Without it, a sum has a random one from 1 to 99.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "openapi", schemars(with = "AddUpTo"))]
    add_up_to: Option<AddUpTo>,
    /// The kind; a sum unless it is given.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "openapi", schemars(with = "KindName"))]
    kind: Option<KindName>,
    /// The arguments, in place of `add_up_to`: what the schema of the kind allows.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "openapi", schemars(with = "Json"))]
    args: Option<Json>,
    /// Unix second from which it may run, at most 366 days ahead; at once unless it is given.
    #[serde(default, deserialize_with = "given_moment")]
    #[cfg_attr(feature = "openapi", schemars(with = "i64", range(min = 0)))]
    run_at: Option<i64>,
    /// While a work of the kind with this text is unfinished, the answer is that work. At most 255 bytes.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "openapi", schemars(with = "Unique"))]
    unique: Option<Unique>,
    /// The URL that is told when the work is finished, in place of that of its kind. It needs the scope `admin`, or the
    /// origin of the kind's.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "openapi", schemars(with = "WebUrl"))]
    notify: Option<WebUrl>,
}

#[cfg(feature = "openapi")]
impl schemars::JsonSchema for CreateWork {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Fields::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Fields::json_schema(generator)
    }
}

impl TryFrom<Fields> for CreateWork {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let kind = fields.kind.unwrap_or_default();
        Ok(Self {
            args: requested_args(&kind, fields.add_up_to, fields.args)?,
            kind,
            run_at: fields.run_at,
            unique: fields.unique,
            notify: fields.notify,
        })
    }
}

/// The arguments that a client asks for: `args`, or `add_up_to` for a sum.
///
/// # Errors
/// They are missing, are not those of a sum, or break a rule for JSON; a sentence for the client.
pub fn requested_args(kind: &KindName, add_up_to: Option<AddUpTo>, args: Option<Json>) -> Result<Option<Json>, String> {
    let sum = kind.is_add_up_to();
    let args = match (add_up_to, args) {
        (Some(_), Some(_)) => return Err("add_up_to and args say the same; give one of them".to_owned()),
        (Some(bound), None) if sum => return Ok(Some(bound.args())),
        (Some(_), None) => return Err(format!("add_up_to is of another kind than {kind}; give args")),
        (None, None) if sum => return Ok(None),
        (None, None) => return Err("missing field `args`".to_owned()),
        (None, Some(args)) => args,
    };
    let args = Json::parse(args.as_str().as_bytes(), Json::LARGEST_LIMIT)
        .map_err(|error| format!("/args{}: {}", error.pointer, error.fault))?;
    match sum {
        true => AddUpTo::of_args(&args).map(|bound| Some(bound.args())),
        false => Ok(Some(args)),
    }
    .map_err(|why| format!("/args: {why}"))
}

/// The latest time for which a work may be scheduled, in Unix seconds: 366 days from now.
pub fn latest_run_at() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from((now + LONGEST_WAIT).as_secs()).unwrap_or(i64::MAX)
}

impl StoreHandle {
    /// Creates a work under this identity, or returns the work that already has it or its `unique`. The work is committed
    /// on return.
    pub async fn create(&self, wanted: CreateWork, message_id: MessageId) -> Result<CreatedWork, ActorError> {
        let mut new = new_work(wanted, message_id);
        for _ in 0..MOST_TRIES {
            if let Some(created) = self.insert(new.clone()).await? {
                return Ok(created);
            }
            new.work_code = new_work_code(Origin::Api);
        }
        Err(every_code_is_taken())
    }

    /// Creates all works or none, under identities derived from `seed` and their positions. Returns the existing works
    /// if these identities are taken.
    pub async fn create_all(&self, wanted: &[CreateWork], seed: &MessageId) -> Result<Vec<CreatedWork>, ActorError> {
        let mut new = Vec::with_capacity(wanted.len());
        for (place, wanted) in wanted.iter().enumerate() {
            let message_id = MessageId::try_from(format!("{seed}/{place}")).map_err(|_| ActorError::Failed)?;
            new.push(new_work(wanted.clone(), message_id));
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

fn new_work(wanted: CreateWork, message_id: MessageId) -> NewWork {
    NewWork {
        message_id,
        work_code: new_work_code(Origin::Api),
        args: wanted.args.unwrap_or_else(|| random_bound().args()),
        kind: wanted.kind,
        run_at: wanted.run_at,
        unique: wanted.unique,
        notify: wanted.notify,
    }
}

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
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

fn random_bound() -> AddUpTo {
    let number: i64 = rand::rng().random_range(1..=99);
    AddUpTo::try_from(number).unwrap_or(AddUpTo::MIN)
}

fn every_code_is_taken() -> ActorError {
    log::error!("the store says of {MOST_TRIES} random codes that they are taken");
    ActorError::Failed
}
