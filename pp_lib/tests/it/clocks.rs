//! A clock set back by an hour: all stored times lie in the future. Works that may run do not wait for that hour, and
//! deliberate delays keep their length.

use std::time::Duration;

use pp_conformance::store::{completion, new_work};
use pp_lib::domain::{Json, KindName, Origin, Principal, Status, WorkId};
use pp_lib::runtime::new_message_id;
use pp_lib::store::{AnyStore, Begin, Begun, Claim, Completed, DeadMessage, NewWork, Outcome, RequestKey, Selection};

const HOUR: Duration = Duration::from_secs(3600);
const HOLD: Duration = Duration::from_secs(12);
const DELAY: Duration = Duration::from_secs(300);

/// A store whose clock can be set back.
trait Clock {
    fn store(&self) -> &AnyStore;
    /// Moves all stored times ahead by this much, which has the same effect.
    async fn set_back(&self, by: Duration);
}

async fn created(store: &AnyStore, run_at: Option<i64>) -> WorkId {
    let new = NewWork {
        run_at,
        ..new_work(Origin::Api, 1)
    };
    store.create(&[new]).await.unwrap().remove(0).unwrap().id
}

async fn claimed(store: &AnyStore) -> Vec<Claim> {
    store.claim(&[], None, HOLD, 100).await.unwrap()
}

async fn complete(store: &AnyStore, claim: &Claim, outcome: Outcome) {
    let completed = store
        .complete(KindName::add_up_to(), &[completion(claim, outcome)])
        .await;
    assert!(
        matches!(completed.as_deref(), Ok([Completed::Applied | Completed::Started(_)])),
        "{completed:?}"
    );
}

async fn waiting_work_is_due_at_once(clock: &impl Clock) {
    let store = clock.store();
    let id = created(store, None).await;
    clock.set_back(HOUR).await;
    assert_eq!(claimed(store).await, [], "this is what is wrong");
    assert_eq!(store.shorten_waits(None).await.unwrap(), 1);
    let claims = claimed(store).await;
    assert_eq!(claims[0].id, id);
    assert_eq!(store.shorten_waits(None).await.unwrap(), 0, "its claim began now");
    // The same holds for claims that were given back or released from the queue.
    store.give_back(&claims).await.unwrap();
    clock.set_back(HOUR).await;
    store.shorten_waits(None).await.unwrap();
    assert_eq!(claimed(store).await[0].id, id);
    assert_eq!(
        store.release_sent(KindName::add_up_to(), Duration::ZERO).await.unwrap(),
        1
    );
    clock.set_back(HOUR).await;
    store.shorten_waits(None).await.unwrap();
    assert_eq!(claimed(store).await[0].id, id);
}

async fn a_claim_waits_for_its_own_hold(clock: &impl Clock) {
    let store = clock.store();
    created(store, None).await;
    assert_eq!(claimed(store).await.len(), 1);
    clock.set_back(HOUR).await;
    assert_eq!(store.shorten_waits(None).await.unwrap(), 1);
    let next = store.next_due(&[]).await.unwrap().unwrap();
    assert!(next <= HOLD && next > HOLD / 2, "{next:?}");
    assert_eq!(store.shorten_waits(None).await.unwrap(), 0, "once is enough");
}

async fn a_retry_waits_for_its_own_delay(clock: &impl Clock) {
    let store = clock.store();
    created(store, None).await;
    let claim = claimed(store).await.remove(0);
    let reason = "not now".to_owned();
    complete(store, &claim, Outcome::Retry { reason, delay: DELAY }).await;
    clock.set_back(HOUR).await;
    assert_eq!(store.shorten_waits(None).await.unwrap(), 1);
    let next = store.next_due(&[]).await.unwrap().unwrap();
    assert!(next <= DELAY && next > DELAY / 2, "{next:?}");
    assert_eq!(store.shorten_waits(None).await.unwrap(), 0);
}

async fn a_lease_keeps_its_length(clock: &impl Clock) {
    let store = clock.store();
    let id = created(store, None).await;
    let claim = claimed(store).await.remove(0);
    complete(store, &claim, Outcome::running(DELAY)).await;
    clock.set_back(HOUR).await;
    assert_eq!(store.shorten_waits(None).await.unwrap(), 1);
    let next = store.next_due(&[]).await.unwrap().unwrap();
    assert!(next <= DELAY && next > DELAY / 2, "{next:?}");
    assert_eq!(store.rescue(5, 10).await.unwrap(), 0, "its worker may be alive");
    assert_eq!(store.by_ids(&[id]).await.unwrap()[0].status, Status::Running);
}

async fn a_scheduled_work_runs_at_its_time(clock: &impl Clock) {
    let store = clock.store();
    let day = 86_400;
    let now = i64::try_from(store.clock().await.unwrap().as_secs()).unwrap();
    let id = created(store, Some(now + day)).await;
    clock.set_back(HOUR).await;
    assert_eq!(store.shorten_waits(None).await.unwrap(), 0);
    let work = store.by_ids(&[id]).await.unwrap().remove(0);
    let wait = i64::try_from(store.next_due(&[]).await.unwrap().unwrap().as_secs()).unwrap();
    let expected = work.run_at.unwrap() - now;
    assert!((expected - 20..=expected).contains(&wait), "{wait} s, not {expected} s");
    assert_eq!(claimed(store).await, []);
}

async fn a_lost_demand_is_sent_again(clock: &impl Clock) {
    let store = clock.store();
    created(store, None).await;
    let claims = claimed(store).await;
    store.mark_sent(&claims).await.unwrap();
    assert_eq!(store.release_sent(KindName::add_up_to(), DELAY).await.unwrap(), 0);
    clock.set_back(HOUR).await;
    assert_eq!(store.release_sent(KindName::add_up_to(), DELAY).await.unwrap(), 1);
    assert_eq!(claimed(store).await.len(), 1);
}

async fn a_redriven_message_does_not_wait(clock: &impl Clock) {
    let store = clock.store();
    let letter = DeadMessage {
        kind: KindName::default(),
        message_id: new_message_id(),
        properties: None,
        body: "{".into(),
        reason: "no JSON".to_owned(),
    };
    store.add_dead_letters(&[letter]).await.unwrap();
    store.redrive(&Principal::Open, &Selection::ALL).await.unwrap();
    clock.set_back(HOUR).await;
    assert_eq!(store.claim_redriven(HOLD, 10).await.unwrap().len(), 1);
    assert_eq!(store.claim_redriven(HOLD, 10).await.unwrap(), [], "it is claimed");
}

async fn an_abandoned_key_is_taken_over(clock: &impl Clock) {
    let store = clock.store();
    let begin = |seed: &str| Begin {
        key: RequestKey {
            scope: "POST /work".to_owned(),
            key: "k".to_owned(),
        },
        fingerprint: vec![1],
        seed: seed.to_owned(),
    };
    store.begin(&[begin("one")], HOLD, HOUR * 24).await.unwrap();
    assert_eq!(
        store.begin(&[begin("two")], HOLD, HOUR * 24).await.unwrap(),
        [Begun::InFlight]
    );
    clock.set_back(HOUR).await;
    let begun = store.begin(&[begin("two")], HOLD, HOUR * 24).await.unwrap();
    let seed = "one".to_owned();
    assert_eq!(begun, [Begun::Mine { seed }]);
}

async fn an_abandoned_lease_ends_in_its_own_time(clock: &impl Clock) {
    let store = clock.store();
    let short = Duration::from_millis(300);
    assert!(store.hold("refresher", "one", short).await.unwrap());
    clock.set_back(HOUR).await;
    assert!(!store.hold("refresher", "two", short).await.unwrap());
    assert_eq!(store.shorten_waits(None).await.unwrap(), 1);
    let taken = async {
        while !store.hold("refresher", "two", short).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap();
}

async fn a_sweep_respects_its_limit(clock: &impl Clock) {
    let store = clock.store();
    for _ in 0..3 {
        created(store, None).await;
    }
    clock.set_back(HOUR).await;
    assert_eq!(store.shorten_waits(Some(2)).await.unwrap(), 2);
    assert_eq!(store.shorten_waits(Some(2)).await.unwrap(), 1);
}

macro_rules! on {
    ($clock:path: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(&$clock().await).await;
            }
        )*
    };
    ($clock:path) => {
        on!($clock:
            waiting_work_is_due_at_once
            a_claim_waits_for_its_own_hold
            a_retry_waits_for_its_own_delay
            a_lease_keeps_its_length
            a_scheduled_work_runs_at_its_time
            a_lost_demand_is_sent_again
            a_redriven_message_does_not_wait
            an_abandoned_key_is_taken_over
            an_abandoned_lease_ends_in_its_own_time
            a_sweep_respects_its_limit
        );
    };
}

/// All columns that hold times, by table.
const MOMENTS: [(&str, &[&str]); 4] = [
    (
        "works",
        &[
            "due_at",
            "lease_until",
            "due_set_on",
            "sent_at",
            "created_on",
            "updated_on",
            "run_at",
        ],
    ),
    ("dead_letters", &["due_at", "created_on"]),
    ("idempotency_keys", &["held_until", "expires_on"]),
    ("leases", &["held_until", "set_on"]),
];

/// The statements that add to all of these columns.
fn moved(add: &str) -> String {
    let tables = MOMENTS.iter().map(|(table, columns)| {
        let set: Vec<String> = columns
            .iter()
            .map(|column| format!("{column} = {column} + {add}"))
            .collect();
        format!("UPDATE {table} SET {};", set.join(", "))
    });
    tables.collect()
}

mod embedded {
    use std::path::PathBuf;
    use std::sync::Arc;

    use crate::handlers::Sums;
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    use diesel::sqlite::SqliteConnection;
    use pp_lib::broker::memory::Memory;
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::kinds::Policy;
    use pp_lib::maintenance::{DispatchSettings, Dispatcher};
    use pp_lib::runtime::Health;
    use pp_lib::worker::{ConsumeSettings, Consumer};
    use tokio_util::sync::CancellationToken;

    use super::*;

    struct File {
        store: AnyStore,
        file: PathBuf,
        _folder: tempfile::TempDir,
    }

    async fn file() -> File {
        let (store, folder) = crate::store::embedded::fresh().await;
        File {
            store,
            file: folder.path().join("pp.sqlite"),
            _folder: folder,
        }
    }

    impl Clock for File {
        fn store(&self) -> &AnyStore {
            &self.store
        }

        async fn set_back(&self, by: Duration) {
            let mut connection = SqliteConnection::establish(self.file.to_str().unwrap()).unwrap();
            let moved = moved(&by.as_millis().to_string());
            connection
                .batch_execute(&format!("PRAGMA busy_timeout = 5000; {moved}"))
                .unwrap();
        }
    }

    on!(file);

    /// Runs the whole flow: works due when the program stopped are computed after its next start.
    #[tokio::test(flavor = "multi_thread")]
    async fn everything_is_computed_after_a_restart_with_a_clock_set_back() {
        let place = file().await;
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(created(&place.store, None).await);
        }
        place.set_back(HOUR).await;
        let (broker, feed, shutdown) = (
            Arc::new(Memory::default()),
            Arc::new(MemoryFeed::new()),
            CancellationToken::new(),
        );
        let health = Health::new();
        let settings = DispatchSettings {
            within: HOUR,
            poll: Duration::from_millis(50),
            max_lost_leases: 3,
            retain: Duration::MAX,
        };
        let dispatcher = Dispatcher::new(place.store.clone(), broker.clone(), feed.clone(), settings);
        let dispatcher = tokio::spawn(dispatcher.run(health.part("dispatcher", true), shutdown.clone()));
        let settings = ConsumeSettings {
            prefetch: 100,
            prefetch_bytes: 64 << 20,
            batch_wait: Duration::from_millis(5),
            args_limit: Json::USUAL_LIMIT,
            policy: Policy {
                places: 100,
                max_attempts: 3,
                lease: HOLD,
                timeout: Duration::from_secs(60),
                ..Policy::DEFAULT
            },
            grace: Duration::from_secs(10),
        };
        let consumer = Consumer::new(
            place.store.clone(),
            broker,
            feed,
            KindName::default(),
            Arc::new(Sums),
            settings,
        );
        let consumer = tokio::spawn(consumer.run(health.part("consumer", true), shutdown.clone()));
        let done = async {
            while !place.store.by_ids(&ids).await.unwrap().iter().all(|work| work.done()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), done).await.unwrap();
        shutdown.cancel();
        for part in [dispatcher, consumer] {
            part.await.unwrap();
        }
    }
}

mod on_servers {
    use super::*;
    use crate::postgres::Database;

    struct Server {
        store: AnyStore,
        database: Database,
    }

    async fn server() -> Server {
        let (store, database) = crate::store::on_servers::fresh().await;
        Server { store, database }
    }

    impl Clock for Server {
        fn store(&self) -> &AnyStore {
            &self.store
        }

        async fn set_back(&self, by: Duration) {
            let moved = moved(&format!("interval '{} s'", by.as_secs()));
            self.database.client().await.batch_execute(&moved).await.unwrap();
        }
    }

    on!(server);
}
