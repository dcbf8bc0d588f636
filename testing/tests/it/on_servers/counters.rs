//! The counters of a database that somebody damaged, repaired with the operator's tool.

use pp_chaos::ledger::Ledger;
use pp_lib::domain::{ByStatus, Stats};
use pp_testkit::servers::Kind;

use super::chaos::database;
use super::place::server;
use crate::program::Program;

/// Two works that are done and one that is not, in tables that an older program might have written: without a word for
/// the counters.
const WORKS: &str = "
    INSERT INTO works (kind, work_code, origin, message_id, args, status, result) VALUES
        ('add_up_to', 'api-aaaaaaaaaa', 'api', 'a', '1', 'done', '1'),
        ('add_up_to', 'api-bbbbbbbbbb', 'api', 'b', '1', 'done', '1'),
        ('add_up_to', 'api-cccccccccc', 'api', 'c', '1', 'pending', NULL)";
const DAMAGE: &str = "
    INSERT INTO stat_totals (kind, origin, status, works)
    VALUES ('add_up_to', 'api', 'done', 40), ('add_up_to', 'consumer', 'running', -1)
    ON CONFLICT (kind, origin, status) DO UPDATE SET works = excluded.works";

#[tokio::test(flavor = "multi_thread")]
async fn the_tool_counts_anew_what_was_damaged() {
    let name = format!("counters_{:016x}", rand::random::<u64>());
    let (url, client) = database(&name).await;
    client.batch_execute(WORKS).await.unwrap();
    client.batch_execute(DAMAGE).await.unwrap();
    let stats = |arguments: &str| {
        let arguments = format!("stats --call-type db --output json --timeout 30s {arguments}");
        let tool = Program::new("cli_01").set("PP_DATABASE_URL", &url);
        let shown = tool.args(&arguments).run();
        assert_eq!(shown.code, Some(0), "{shown:?}");
        serde_json::from_str::<Stats>(&shown.stdout).unwrap()
    };
    let (damaged, rebuilt, afterwards) = (stats(""), stats("--rebuild"), stats(""));
    assert_eq!((damaged.works.api.done, damaged.backlog), (40, -1));
    for right in [rebuilt, afterwards] {
        let (pending, done) = (1, 2);
        let api = ByStatus {
            pending,
            done,
            ..ByStatus::default()
        };
        assert_eq!((right.works.api, right.works.consumer), (api, ByStatus::default()));
        assert_eq!((right.backlog, right.newest.len()), (1, 3));
    }
    Ledger::drop_database(&server(Kind::Postgres), &name).await.unwrap();
}
