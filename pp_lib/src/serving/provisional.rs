//! The JSON of an accepted demand, served until a worker has written its work.

use serde::{Serialize, Serializer};

use crate::cache::Provisional;
use crate::domain::{ShownWork, Status};

/// The JSON of a work that has no row yet: that of a work, with `id` null and `version` 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionalWork(Provisional);

impl From<Provisional> for ProvisionalWork {
    fn from(demand: Provisional) -> Self {
        Self(demand)
    }
}

#[cfg(feature = "openapi")]
impl schemars::JsonSchema for ProvisionalWork {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ProvisionalWork".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let id = schemars::json_schema!({ "type": "null" });
        crate::domain::of_work(generator, "A work that a worker writes later. Its version is 0.", &id)
    }
}

impl Serialize for ProvisionalWork {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(demand) = self;
        let shown = ShownWork {
            id: None,
            work_code: &demand.work_code,
            kind: &demand.kind,
            args: &demand.args,
            created_on: demand.created_on,
            updated_on: demand.created_on,
            status: Status::Pending,
            result: None,
            version: 0,
            run_at: None,
            unique: demand.unique.as_ref(),
            error: None,
            attempt: 1,
            progress: None,
            duplicate: false,
        };
        shown.serialize(serializer)
    }
}
