//! A newer program has changed the schema while older ones still run: each of them ends with one line, having buried
//! nothing, and what it had taken is done by the next one.

use std::time::Duration;

use pp_chaos::demands::Demands;
use pp_testkit::ports;

use super::place::{Place, until};
use crate::program::{Process, Program};
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(60);
const DEMANDS: usize = 5000;

const NEWER: &str = "INSERT INTO __diesel_schema_migrations VALUES ('9999');
    ALTER TABLE works RENAME COLUMN result TO outcome";
const AS_BEFORE: &str = "ALTER TABLE works RENAME COLUMN outcome TO result;
    DELETE FROM __diesel_schema_migrations WHERE version = '9999'";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_older_than_the_schema_ends_with_one_line_and_buries_nothing() {
    let place = Place::new().await;
    let [api_port, dispatcher_port, worker_port, standalone_port] = ports::free().unwrap();
    let start = |name: &str, port: u16, more: &dyn Fn(Program) -> Program| {
        let program = place.service(name).answers_at(port);
        let mut process: Process = more(program).start();
        process.gets_ready(&Api::at(port));
        process
    };
    let folder = tempfile::tempdir().unwrap();
    let all = || {
        vec![
            start("pp_backend_api", api_port, &|program| program),
            start("task_consumer", dispatcher_port, &|program| {
                program.set("PP_DISPATCH", "only")
            }),
            start("task_consumer", worker_port, &|program| {
                program
                    .set("PP_DISPATCH", "off")
                    .set("PP_PREFETCH", "50")
                    .set("PP_BATCH", "50")
            }),
            start("pp_standalone", standalone_port, &|program| {
                program.set("PP_DATA_DIR", folder.path())
            }),
        ]
    };
    let processes = all();
    let api = Api::at(api_port);
    let posted: Vec<i64> = (1..=50)
        .map(|_| api.post(r#"{"add_up_to":9}"#)["id"].as_i64().unwrap())
        .collect();
    let queue = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    let ids = queue.publish(DEMANDS).await.unwrap();
    until("they are in the middle of it", LIMIT, async || {
        place.ledger.done().await.unwrap() > 100
    })
    .await;
    place.client().await.batch_execute(NEWER).await.unwrap();
    for process in processes {
        let ended = process.ends();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let errors: Vec<&str> = ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{}", ended.stderr);
        assert!(
            errors[0].contains("a newer version of PP has changed the database"),
            "{errors:?}"
        );
        assert!(errors[0].contains("9999"), "{errors:?}");
    }
    assert_eq!(queue.dead().await.unwrap(), 0);
    let started = place.service("task_consumer").run();
    assert_eq!(started.code, Some(1));
    assert!(started.stderr.contains("a newer version of PP"), "{}", started.stderr);

    place.client().await.batch_execute(AS_BEFORE).await.unwrap();
    let processes = all();
    let total = i64::try_from(ids.len() + posted.len()).unwrap();
    until("all is done", LIMIT, async || {
        place.ledger.done().await.unwrap() >= total
    })
    .await;
    for process in processes {
        assert_eq!(process.terminate().code, Some(0));
    }
    place.all_done(total).await;
    assert_eq!(place.ledger.lost(&ids).await.unwrap(), Vec::<String>::new());
    assert_eq!(place.ledger.dead_letters().await.unwrap(), 0);
    place.leave().await;
}
