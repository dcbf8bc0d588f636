//! PP behind PgBouncer, with the settings of docs/operating.md: it works, or says at the start why it does not.

use std::thread;
use std::time::Duration;

use pp_testkit::pooler::Pooler;
use pp_testkit::ports;
use pp_testkit::servers::Kind;

use super::place::{Place, server, until};
use crate::page;
use crate::program::{Ended, Program};
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(60);

/// The pooler of the page before a place's database, in the mode of the page or another, with so many sessions.
pub(super) fn pooler(place: &Place, mode: &str, sessions: u32) -> (Pooler, String) {
    let database: url::Url = place.database().parse().unwrap();
    let (host, port) = (database.host_str().unwrap(), database.port().unwrap());
    let name = database.path().trim_matches('/');
    let mut settings = page::block("docs/operating.md", "Connection poolers", "ini");
    for (part, by) in [
        (
            "pp = host=10.0.0.5 port=5432",
            format!("{name} = host={host} port={port}"),
        ),
        ("dbname=pp", format!("dbname={name}")),
        ("pool_mode = transaction", format!("pool_mode = {mode}")),
        ("default_pool_size = 20", format!("default_pool_size = {sessions}")),
    ] {
        settings = page::replaced(&settings, part, &by);
    }
    let pooler = Pooler::start(&settings, place.database()).unwrap();
    let url = pooler.url(place.database()).unwrap();
    (pooler, url)
}

/// Eight clients post works over an API, and everything comes to its end.
async fn works_are_done(place: &Place, set: impl Fn(Program) -> Program) {
    const CLIENTS: i64 = 8;
    const POSTS: i64 = 60;
    let [api_port, worker_port] = ports::free().unwrap();
    let (api, health) = (Api::at(api_port), Api::at(worker_port));
    let start = |name: &str, port: u16| {
        let program = place.service(name).answers_at(port);
        set(program
            .set("PP_CACHE_URL", server(Kind::Redis))
            .set("PP_CACHE_PREFIX", &place.prefix))
        .start()
    };
    let (mut service, mut worker) = (start("pp_backend_api", api_port), start("task_consumer", worker_port));
    service.gets_ready(&api);
    worker.gets_ready(&health);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let api = api.clone();
            scope.spawn(move || {
                for number in 1..=POSTS {
                    let work = api.post(&format!(r#"{{"add_up_to":{}}}"#, client * POSTS + number));
                    api.patch(work["id"].as_i64().unwrap(), number);
                    api.get("/stats");
                    api.get("/work?limit=5");
                }
            });
        }
    });
    until("everything is done", LIMIT, async || {
        place.ledger.done().await.unwrap() == CLIENTS * POSTS
    })
    .await;
    let account = place.ledger.account().await.unwrap();
    assert_eq!(
        (
            account.unfinished,
            account.orphans,
            place.ledger.dead_letters().await.unwrap()
        ),
        (0, 0, 0),
        "{account:?}"
    );
    let parts = api.get("/health/ready").to_string();
    assert!(!parts.contains(r#""state":"down""#), "{parts}");
    for process in [service, worker] {
        let ended = process.terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let mut troubles = (ended.stderr.lines()).filter(|line| line.contains("WARN") || line.contains("ERROR"));
        let of_the_database = troubles.find(|line| line.contains("database") || line.contains("feed"));
        assert_eq!(of_the_database, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_transaction_mode_no_request_fails_and_all_works_are_done() {
    let place = Place::new().await;
    let (_pooler, url) = pooler(&place, "transaction", 4);
    let pooled = |program: Program| {
        program
            .set("PP_DATABASE_URL", &url)
            .set("PP_DATABASE_DIRECT_URL", place.database())
    };
    works_are_done(&place, pooled).await;
    let shown = pooled(Program::new("cli_01"))
        .args("--id 1 --call-type db --output json")
        .run();
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains(r#""status":"done""#), "{}", shown.stdout);
    let migrated = pooled(Program::new("pp_storage")).args("migrate").run();
    assert_eq!(migrated.stdout, "the schema was up to date\n");
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_session_mode_nothing_has_to_be_set() {
    let place = Place::new().await;
    let (_pooler, url) = pooler(&place, "session", 40);
    works_are_done(&place, |program| program.set("PP_DATABASE_URL", &url)).await;
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_shares_sessions_ends_every_program_at_its_start_with_one_line() {
    let place = Place::new().await;
    let (_pooler, url) = pooler(&place, "transaction", 20);
    let folder = tempfile::tempdir().unwrap();
    let programs = |set: &dyn Fn(Program) -> Program| -> Vec<Ended> {
        let programs = [
            place.service("pp_backend_api").set("PP_API_BIND", "127.0.0.1:0"),
            place.service("task_consumer"),
            place
                .service("pp_standalone")
                .set("PP_API_BIND", "127.0.0.1:0")
                .set("PP_DATA_DIR", folder.path()),
            Program::new("cli_01").args("--id 1 --call-type db"),
            Program::new("pp_storage").args("migrate"),
        ];
        programs.into_iter().map(|program| set(program).run()).collect()
    };
    let is_refused = |ended: Vec<Ended>, variable: &str| {
        for ended in ended {
            assert!(!matches!(ended.code, Some(0) | None), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
            let begins = format!("error: {variable}: ");
            assert!(
                ended.stderr.starts_with(&begins) && ended.stderr.contains("a connection pooler in transaction"),
                "{ended:?}"
            );
        }
    };
    is_refused(
        programs(&|program| program.set("PP_DATABASE_URL", &url)),
        "PP_DATABASE_URL",
    );
    // The other way round.
    is_refused(
        programs(&|program| {
            program
                .set("PP_DATABASE_URL", place.database())
                .set("PP_DATABASE_DIRECT_URL", &url)
        }),
        "PP_DATABASE_DIRECT_URL",
    );
    place.leave().await;
}
