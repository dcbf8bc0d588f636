//! Two API processes that share a cache, and changes that are made behind their backs.

use std::time::Duration;

use pp_lib::domain::{AddUpTo, Principal, WorkId};
use pp_lib::store::postgres::PostgresStore;
use pp_lib::store::{Changed, WorkChanges as _};
use pp_testkit::servers::Kind;

use super::place::{Place, server, until};
use crate::program::Process;
use pp_testkit::client::{Api, Seen};

pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// `PP_STALENESS` of the services: its default.
const BOUND: Duration = Duration::from_secs(1);
/// The clock of the cache counts milliseconds.
const ROUNDING: Duration = Duration::from_millis(10);

/// One of the processes.
pub(super) struct Sharer {
    pub(super) api: Api,
    pub(super) process: Process,
}

/// What they share.
pub(super) struct Shared {
    pub(super) place: Place,
    store: PostgresStore,
    work: i64,
    add_up_to: i64,
}

/// One more process in this place, ready.
pub(super) fn sharer(place: &Place, near: &str) -> Sharer {
    let program = place
        .service("pp_backend_api")
        .set("PP_CACHE_URL", server(Kind::Redis))
        .set("PP_CACHE_PREFIX", &place.prefix);
    let (api, process) = program.set("PP_NEAR_CACHE", near).start_ready();
    Sharer { api, process }
}

impl Shared {
    /// A work of theirs.
    pub(super) async fn over(place: Place, api: &Api) -> Self {
        Self {
            store: place.store().await,
            place,
            work: api.post(r#"{"add_up_to":1}"#)["id"].as_i64().unwrap(),
            add_up_to: 1,
        }
    }

    /// Changes the work straight in the database, and tells nobody.
    pub(super) async fn change_behind(&mut self) {
        self.add_up_to += 1;
        let bound = AddUpTo::try_from(self.add_up_to).unwrap();
        let changed = self
            .store
            .update(&Principal::Open, WorkId(self.work), &bound.args(), None, Duration::ZERO)
            .await;
        assert!(matches!(changed, Ok(Changed::Applied(_))), "{changed:?}");
    }

    /// Changes it over one of them.
    pub(super) fn change_over(&mut self, api: &Api) {
        self.add_up_to += 1;
        api.patch(self.work, self.add_up_to);
    }

    /// What was changed before this was called is read when the bound is over, however slow everything is: it counts
    /// from the change to the moment the read is sent, and what comes later can only be newer.
    pub(super) async fn is_read_within_the_bound(&self, apis: &[&Api]) {
        tokio::time::sleep(BOUND + ROUNDING).await;
        for api in apis {
            self.is_read(api);
        }
    }

    /// The newest there is, now.
    pub(super) fn is_read(&self, api: &Api) -> Seen {
        let seen = api.see(self.work);
        assert_eq!(seen.work["add_up_to"], self.add_up_to, "{seen:?}");
        seen
    }

    /// A cache answers, rightly, sooner or later.
    pub(super) async fn is_hit(&self, api: &Api, source: &str) {
        until(&format!("{source} over {}", api.port), LIMIT, async || {
            self.is_read(api).source == source
        })
        .await;
    }
}
