//! `pp_chaos faults` as people run it, and proof that what it checks in PostgreSQL's tables can fail.

use pp_chaos::asks::{Ask, FAILS};
use pp_chaos::calls::Call;
use pp_chaos::check::{Findings, examine};
use pp_chaos::evidence::Evidence;
use pp_chaos::ledger::Ledger;
use pp_chaos::tables::Tables;
use pp_chaos::told::{Acknowledged, Changes, Identity, Told};
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use pp_testkit::servers::Kind;
use tokio_postgres::{Client, NoTls};

use super::place::server;
use crate::chaos::{cells, is_clean};

#[test]
fn four_faults_lose_nothing_and_repeat_nothing() {
    let ended = is_clean("--rounds 4 --seed 5");
    assert!(ended.stdout.contains("make chaos ROUNDS=4 SEED=5"), "{}", ended.stdout);
    let total = cells(&ended.stdout, "total");
    let acknowledged: usize = total[1].parse().unwrap();
    assert!(total[0] == "4" && acknowledged > 500, "{}", ended.stdout);
    assert_eq!(total[2..4], ["0", "0"], "{}", ended.stdout);
}

#[test]
fn faults_of_a_system_without_a_broker_lose_nothing_and_repeat_nothing() {
    let ended = is_clean("--without-broker --rounds 3 --seed 3");
    assert!(
        ended.stdout.contains("make chaos-without-broker ROUNDS=3 SEED=3"),
        "{}",
        ended.stdout
    );
    assert_eq!(cells(&ended.stdout, "total")[2..4], ["0", "0"], "{}", ended.stdout);
}

/// Work 1 came over the API, work 2 as a message, work 3 failed, work 4 was given the bound 3, work 5 was deleted, work 6
/// was demanded, work 11 is of another kind and came as the same message as work 2, and a message could not be read.
const RIGHT: &str = "
    TRUNCATE works, events, dead_letters;
    INSERT INTO works (id, kind, work_code, origin, message_id, args, status, result, generation, deleted_on)
    SELECT id, 'add_up_to', work_code, origin::work_origin, message_id, json_build_object('add_up_to', bound),
        status::work_status, to_json(result), generation, deleted_on::timestamptz
    FROM (VALUES
        (1, 'api-0000000001', 'api', 'a', 4, 'done', 10, 1, NULL),
        (2, 'consumer-0000000002', 'consumer', 'm', 100, 'done', 5050, 1, NULL),
        (3, 'api-0000000003', 'api', 'f', 2147483647, 'failed', NULL, 1, NULL),
        (4, 'api-0000000004', 'api', 'p', 3, 'done', 6, 2, NULL),
        (5, 'api-0000000005', 'api', 'd', 9, 'cancelled', NULL, 1, now()),
        (6, 'consumer-0000000006', 'consumer', 'c', 4, 'done', 10, 1, NULL)
    ) AS works (id, work_code, origin, message_id, bound, status, result, generation, deleted_on);
    INSERT INTO works (id, kind, work_code, origin, message_id, args, status, result)
        VALUES (11, 'chaos.slow', 'consumer-0000000011', 'consumer', 'm', '{\"millis\":70}', 'done', '70');
    INSERT INTO events (work_id, generation, variable, value) VALUES
        (11, 1, 'compute/start', ''), (11, 1, 'compute/stop', ''), (11, 1, 'compute/result', '70'),
        (1, 1, 'work/created', ''), (1, 1, 'compute/start', ''), (1, 1, 'compute/stop', ''), (1, 1, 'compute/result', '10'),
        (2, 1, 'compute/start', ''), (2, 1, 'compute/stop', ''), (2, 1, 'compute/result', '5050'),
        (3, 1, 'work/created', ''), (3, 1, 'compute/start', ''), (3, 1, 'compute/error', 'too long'),
        (4, 1, 'work/created', ''), (4, 1, 'compute/start', ''), (4, 2, 'work/updated', '3'), (4, 2, 'compute/start', ''),
        (4, 2, 'compute/stop', ''), (4, 2, 'compute/result', '6'),
        (5, 1, 'work/created', ''), (5, 1, 'work/cancelled', ''),
        (6, 1, 'compute/start', ''), (6, 1, 'compute/stop', ''), (6, 1, 'compute/result', '10');
    INSERT INTO dead_letters (kind, work_id, generation, message_id, reason)
        VALUES ('add_up_to', 3, 1, 'f', 'too long');
    INSERT INTO dead_letters (kind, message_id, body, reason) VALUES ('add_up_to', 'u', '{', 'not JSON')";

/// What may have happened to them, and whether that is a loss; else it is a duplicate.
const DAMAGES: [(&str, bool); 29] = [
    (
        "UPDATE works SET args = json_build_object('add_up_to', 9), result = '45' WHERE id = 4",
        true,
    ),
    (
        "DELETE FROM events WHERE work_id = 4 AND variable = 'work/updated'",
        true,
    ),
    ("UPDATE works SET deleted_on = NULL WHERE id = 5", true),
    (
        "UPDATE works SET deleted_on = NULL, status = 'done', result = '45' WHERE id = 5",
        true,
    ),
    (
        "INSERT INTO events (work_id, generation, variable) VALUES (5, 1, 'compute/start')",
        false,
    ),
    ("UPDATE works SET deleted_on = now() WHERE id = 6", true),
    ("UPDATE works SET work_code = 'consumer-000000000X' WHERE id = 6", true),
    (
        "INSERT INTO events (work_id, generation, variable, value) VALUES (4, 2, 'work/updated', '3')",
        false,
    ),
    (
        "DELETE FROM works WHERE id = 1; DELETE FROM events WHERE work_id = 1",
        true,
    ),
    (
        "DELETE FROM works WHERE id = 2; DELETE FROM events WHERE work_id = 2",
        true,
    ),
    ("UPDATE works SET result = '11' WHERE id = 1", true),
    (
        "UPDATE works SET status = 'pending', result = NULL, due_at = now() WHERE id = 2",
        true,
    ),
    (
        "UPDATE works SET args = json_build_object('add_up_to', 5) WHERE id = 1",
        true,
    ),
    (
        "DELETE FROM events WHERE work_id = 1 AND variable = 'work/created'",
        true,
    ),
    (
        "DELETE FROM events WHERE work_id = 2 AND variable = 'compute/result'",
        true,
    ),
    (
        "UPDATE events SET value = '11' WHERE work_id = 1 AND variable = 'compute/result'",
        true,
    ),
    ("DELETE FROM dead_letters WHERE work_id = 3", true),
    ("DELETE FROM dead_letters WHERE message_id = 'u'", true),
    ("UPDATE works SET generation = 2 WHERE id = 3", true),
    ("DELETE FROM works WHERE id = 2", false),
    (
        "INSERT INTO events (work_id, generation, variable) VALUES (1, 1, 'compute/stop')",
        false,
    ),
    (
        "INSERT INTO events (work_id, generation, variable) VALUES (2, 1, 'compute/start')",
        false,
    ),
    (
        "INSERT INTO events (work_id, generation, variable, value) VALUES (2, 1, 'compute/result', '5050')",
        false,
    ),
    (
        "INSERT INTO works (id, kind, work_code, origin, message_id, args, status, result)
         VALUES (7, 'add_up_to', 'api-0000000007', 'api', 'b', json_build_object('add_up_to', 4), 'done', '10')",
        false,
    ),
    (
        "INSERT INTO dead_letters (kind, work_id, generation, message_id, reason)
         VALUES ('add_up_to', 3, 2, 'f', 'too long')",
        false,
    ),
    (
        "DELETE FROM works WHERE id = 11; DELETE FROM events WHERE work_id = 11",
        true,
    ),
    (r#"UPDATE works SET args = '{"millis":71}' WHERE id = 11"#, true),
    ("UPDATE dead_letters SET kind = 'chaos.slow' WHERE work_id = 3", false),
    (
        "DELETE FROM events WHERE work_id = 11 AND variable = 'compute/start'",
        false,
    ),
];

/// What the tables say, and that a handler was called for work 11.
async fn evidence(tables: &Tables) -> Evidence {
    let call = Call {
        kind: "chaos.slow".into(),
        work_code: "consumer-0000000011".into(),
        generation: 1,
        attempt: 1,
        message_id: "m".into(),
    };
    Evidence {
        calls: vec![call],
        ..tables.evidence(0).await.unwrap()
    }
}

fn told() -> Told {
    let asked = |identity, ask| Acknowledged {
        identity,
        ask: Some(ask),
        at: 0.0,
    };
    let acknowledged = |identity, bound| asked(identity, Ask::Sum(bound));
    let updated = Changes {
        given: vec![Ask::Sum(3)],
        ..Changes::default()
    };
    let deleted = Changes {
        deleted: true,
        ..Changes::default()
    };
    Told {
        acknowledged: vec![
            acknowledged(Identity::Work(1), 4),
            acknowledged(Identity::Message("m".into()), 100),
            acknowledged(Identity::Work(3), FAILS),
            acknowledged(Identity::Work(4), 9),
            acknowledged(Identity::Work(5), 9),
            acknowledged(Identity::Code("consumer-0000000006".into()), 4),
            asked(Identity::Message("m".into()), Ask::Slow(70)),
        ],
        unreadable: vec!["u".into()],
        changes: [(4, updated), (5, deleted)].into(),
        ..Told::default()
    }
}

pub(super) async fn database(name: &str) -> (String, Client) {
    let url = Ledger::create_database(&server(Kind::Postgres), name).await.unwrap();
    let config = PostgresConfig {
        trust: pp_lib::tls::Trust::default(),
        url: url.clone(),
        pool: 1,
        timeout: super::LIMIT,
    };
    PostgresStore::open(config)
        .await
        .unwrap()
        .migrate(super::LIMIT)
        .await
        .unwrap();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    (url, client)
}

#[tokio::test]
async fn each_check_of_the_tables_finds_what_it_is_for() {
    let name = format!("chaos_{:016x}", rand::random::<u64>());
    let (url, client) = database(&name).await;
    let tables = Tables::connect(&url).await.unwrap();
    for (damage, is_loss) in DAMAGES {
        client.batch_execute(RIGHT).await.unwrap();
        let right = examine(&told(), &evidence(&tables).await);
        assert_eq!(right, Findings::default());
        client.batch_execute(damage).await.unwrap();
        let found = examine(&told(), &evidence(&tables).await);
        let of_the_kind = if is_loss { &found.lost } else { &found.duplicated };
        assert!(!of_the_kind.is_empty(), "{damage}: {found:?}");
    }
    Ledger::drop_database(&server(Kind::Postgres), &name).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_waited_for() {
    let name = format!("chaos_{:016x}", rand::random::<u64>());
    let (url, client) = database(&name).await;
    let tables = Tables::connect(&url).await.unwrap();
    let missing = async || tables.missing(&told()).await.unwrap();
    for (damage, figures) in [
        ("", [0, 0, 0, 0]),
        (
            "UPDATE works SET status = 'pending', result = NULL WHERE id = 1",
            [1, 0, 0, 0],
        ),
        ("DELETE FROM works WHERE id = 2", [0, 1, 0, 0]),
        ("DELETE FROM works WHERE id = 6", [0, 1, 0, 0]),
        ("DELETE FROM works WHERE id = 11", [0, 1, 0, 0]),
        ("DELETE FROM dead_letters WHERE message_id = 'u'", [0, 0, 1, 0]),
        (
            "UPDATE dead_letters SET due_at = now() WHERE message_id = 'u'",
            [0, 0, 0, 1],
        ),
    ] {
        client.batch_execute(RIGHT).await.unwrap();
        client.batch_execute(damage).await.unwrap();
        let found = missing().await;
        let counted = [found.unfinished, found.demands, found.letters, found.redriven];
        assert_eq!(counted, figures, "{damage}");
        assert_eq!(found.nothing(), damage.is_empty());
    }
    Ledger::drop_database(&server(Kind::Postgres), &name).await.unwrap();
}
