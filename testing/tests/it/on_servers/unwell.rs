//! A database that answers and refuses everything for a while: renamed, read-only, full, or with other permissions. The
//! API says 503 and still reads, the worker waits, and no demand is lost, failed or buried. Its words are German, and PP
//! is an ordinary user of it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pp_chaos::demands::Demands;
use pp_chaos::disk::{self, Disk};
use pp_testkit::servers::{Kind, PrivateServers};
use tokio::time::sleep;

use super::place::{Place, server, until};
use crate::program::Process;
use pp_testkit::client::{Answer, Api};

const LIMIT: Duration = Duration::from_secs(90);
const DEMANDS: usize = 1500;
const JUNK: usize = 10;

/// API and worker as an ordinary user of a database that they did not make.
struct Rig {
    place: Place,
    role: String,
    api: Api,
    health: Api,
    processes: Vec<Process>,
}

impl Rig {
    async fn start(place: Place) -> Self {
        let role = format!("role_{:08x}", rand::random::<u32>());
        let grants = format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'ordinary';
            GRANT USAGE, CREATE ON SCHEMA public TO {role};
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
            GRANT USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {role};
            GRANT EXECUTE ON FUNCTION pg_control_system() TO {role};
            DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lc_messages = ''C.UTF-8''', current_database()); END $$"
        );
        place.client().await.batch_execute(&grants).await.unwrap();
        let mut url = url::Url::parse(place.database()).unwrap();
        url.set_username(&role).unwrap();
        url.set_password(Some("ordinary")).unwrap();
        let start = |name| {
            let program = place.service(name).set("PP_DATABASE_URL", url.as_str());
            program.start_ready()
        };
        let ((api, service), (health, worker)) = (start("pp_backend_api"), start("task_consumer"));
        Self {
            place,
            role,
            api,
            health,
            processes: vec![service, worker],
        }
    }

    /// Works come in by all ways while `change` holds, for so long at least.
    async fn survives(mut self, change: &str, undo: &str, lasts: Duration) {
        self.struck(
            async |place| place.client().await.batch_execute(change).await.unwrap(),
            async |place| {
                place.client().await.batch_execute(undo).await.unwrap();
            },
            lasts,
        )
        .await;
        self.ends().await;
    }

    async fn struck(&mut self, strike: impl AsyncFnOnce(&Place), mend: impl AsyncFnOnce(&Place), lasts: Duration) {
        let queue = Demands::connect(&self.place.rabbitmq, &self.place.prefix)
            .await
            .unwrap();
        let readable = self.api.post(r#"{"add_up_to":4}"#)["id"].as_i64().unwrap();
        let mut ids = queue.publish(DEMANDS).await.unwrap();
        let (stop, api) = (Arc::new(AtomicBool::new(false)), self.api.clone());
        let stopped = Arc::clone(&stop);
        let posting = tokio::task::spawn_blocking(move || {
            let mut answers: Vec<Answer> = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                answers.push(api.try_post("/work", r#"{"add_up_to":9}"#).unwrap());
                std::thread::sleep(Duration::from_millis(5));
            }
            answers
        });
        until("it works", LIMIT, async || {
            self.place.ledger.done().await.unwrap() > 100
        })
        .await;

        strike(&self.place).await;
        ids.extend(queue.publish(DEMANDS).await.unwrap());
        self.place.publish_as_a_stranger(&vec![b"junk".to_vec(); JUNK]).await;
        let begun = tokio::time::Instant::now();
        let (api, health) = (&self.api, &self.health);
        until("the health pages say so", LIMIT, async || {
            let page = api.try_get("/health/ready").unwrap().body;
            page.contains("the database refuses what it should take") && !health.is_ready()
        })
        .await;
        assert_eq!(api.get("/health/ready")["status"], "degraded");
        sleep(lasts.saturating_sub(begun.elapsed())).await;
        mend(&self.place).await;

        until("the health pages see that it is over", LIMIT, async || {
            health.is_ready() && api.get("/health/ready")["status"] == "ready"
        })
        .await;
        stop.store(true, Ordering::Relaxed);
        let answers = posting.await.unwrap();
        let odd: Vec<_> = answers
            .iter()
            .filter(|answer| ![200, 503].contains(&answer.status))
            .collect();
        assert!(odd.is_empty(), "{odd:?}");
        let taken = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(taken < answers.len(), "nothing was refused: {taken}");
        let total = i64::try_from(ids.len() + taken + 1).unwrap();
        until("all is done that was taken in", LIMIT, async || {
            self.place.ledger.done().await.unwrap() >= total
        })
        .await;
        until("every unreadable message is a dead letter", LIMIT, async || {
            self.place.ledger.dead_letters().await.unwrap() >= i64::try_from(JUNK).unwrap()
        })
        .await;
        assert_eq!(self.place.ledger.lost(&ids).await.unwrap(), Vec::<String>::new());
        assert_eq!(
            self.place.ledger.dead_letters().await.unwrap(),
            i64::try_from(JUNK).unwrap()
        );
        assert_eq!(queue.dead().await.unwrap(), 0);
        let account = self.place.ledger.account().await.unwrap();
        assert_eq!(
            (
                account.unfinished,
                account.wrong_history,
                account.orphans,
                account.failed_attempts
            ),
            (0, 0, 0, 0),
            "{account:?}"
        );
        assert_eq!(self.api.get(&format!("/work/{readable}"))["result"], 10);
    }

    async fn ends(self) {
        for process in self.processes {
            assert_eq!(process.terminate().code, Some(0));
        }
        let client = self.place.client().await;
        client
            .batch_execute(&format!("DROP OWNED BY {}", self.role))
            .await
            .unwrap();
        client.batch_execute(&format!("DROP ROLE {}", self.role)).await.unwrap();
        self.place.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_seconds_with_the_works_renamed_cost_no_demand() {
    let rig = Rig::start(Place::new().await).await;
    let (change, undo) = ("ALTER TABLE works RENAME TO away", "ALTER TABLE away RENAME TO works");
    rig.survives(change, undo, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_refuses_everything_costs_no_demand() {
    let rig = Rig::start(Place::new().await).await;
    let change = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'das geht heute nicht'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse()";
    rig.survives(change, "DROP FUNCTION refuse() CASCADE", Duration::from_secs(3))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_are_lost_and_come_back_cost_no_demand() {
    let rig = Rig::start(Place::new().await).await;
    let role = rig.role.clone();
    let (change, undo) = (
        format!("REVOKE INSERT ON works, dead_letters FROM {role}"),
        format!("GRANT INSERT ON works, dead_letters TO {role}"),
    );
    rig.survives(&change, &undo, Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_for_a_while_costs_no_demand() {
    let read_only = |whether: &str| {
        format!(
            "SET transaction_read_only = off;
            DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {whether}', current_database());
            END $$;
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pp'"
        )
    };
    let rig = Rig::start(Place::new().await).await;
    // A call waits 5 s for another server to take over.
    rig.survives(&read_only("on"), &read_only("off"), Duration::from_secs(8))
        .await;
}

/// Only the files of the database are on the small disk; its log, without which PostgreSQL ends, is elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_14_seconds_costs_no_demand_in_any_language() {
    if !Disk::is_possible() {
        return;
    }
    let servers = PrivateServers::temporary(&[Kind::Postgres]).unwrap();
    let postgres = servers.url(Kind::Postgres).unwrap();
    let folder = std::env::temp_dir().join(format!("{}{}-unwell", disk::FOLDER, std::process::id()));
    let disk = Disk::mount(&folder, 48).unwrap();
    let owner = fs::metadata(servers.home().join("postgres/data")).unwrap();
    std::os::unix::fs::chown(disk.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
    let place = Place::on(postgres, server(Kind::RabbitMq))
        .await
        .moved_to(disk.path())
        .await;
    let mut rig = Rig::start(place).await;
    rig.struck(
        async |_| disk.fill().unwrap(),
        async |_| disk.free().unwrap(),
        Duration::from_secs(14),
    )
    .await;
    rig.ends().await;
    drop(servers);
    drop(disk);
    fs::remove_dir_all(folder).unwrap();
}
