//! Databases of the version before, which knew sums only: they get kinds, keep everything, and find the way back.
//!
//! The programs of that version do not run here. A checkout may be shallow, so their source need not be there, and they
//! would take minutes to build. Two tests stand in for them. Here, statements as they send them run before and during the
//! migration, which must not let them change anything halfway. In `testing/tests`, `newer.rs` runs today's programs under
//! load while the schema gets a migration that they do not know: each ends with one line and has buried nothing. That
//! look at the applied migrations is older than the last migration here that the version before has.

mod database;

use self::database::Database;

/// The last migration of the version before.
const BEFORE: &str = "0008";

/// Works of the largest database here.
const MANY: u32 = 100_000;

/// Works in every status and of both origins: due, claimed and sent, scheduled, with leases, deleted. With their events,
/// letters and counters. The last five works are purged.
fn filled(works: u32) -> String {
    let series = |last: u32| {
        format!(
            "(WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {last})
            SELECT n FROM counted) AS numbers"
        )
    };
    let (all, letters) = (series(works + 5), series(1000));
    format!(
        "INSERT INTO works (work_code, origin, message_id, add_up_to, status, result,
            version, generation, attempt, failures, lost_leases, run_at, due_at, due_set_on, sent_at,
            created_on, updated_on, deleted_on)
        SELECT origin || '-' || substr(CAST(10000000000 + n AS text), 2), CAST(origin AS ORIGIN),
            'm-' || n || CASE n % 1000 WHEN 0 THEN ' 🧾''\"' ELSE '' END, bound, CAST(status AS STATUS),
            CASE status WHEN 'done' THEN CAST(bound AS bigint) * (CAST(bound AS bigint) + 1) / 2 END,
            1 + n % 4, 1 + n % 3, 1 + n % 5, n % 3, n % 2,
            CASE n % 7 WHEN 0 THEN EPOCH + (n + 1000000) * STEP END,
            CASE WHEN status = 'running' THEN EPOCH + (n + 500000) * STEP
                WHEN status = 'pending' AND n % 7 = 0 THEN EPOCH + (n + 1000000) * STEP
                WHEN status = 'pending' AND n % 3 < 2 THEN EPOCH + n * STEP END,
            CASE WHEN status IN ('pending', 'running') AND n % 4 = 0 THEN EPOCH + (n - 1) * STEP END,
            CASE WHEN status = 'pending' AND n % 7 > 0 AND n % 3 > 0 THEN EPOCH + (n - 2) * STEP END,
            EPOCH + n * STEP, EPOCH + (n + n % 10) * STEP,
            CASE WHEN status IN ('done', 'failed', 'cancelled') AND n % 11 = 0 THEN EPOCH + (n + 20) * STEP END
        FROM (
            SELECT n, CASE n / 5 % 2 WHEN 0 THEN 'api' ELSE 'consumer' END AS origin,
                CASE n % 5 WHEN 0 THEN 'done' WHEN 1 THEN 'pending' WHEN 2 THEN 'running' WHEN 3 THEN 'failed'
                    ELSE 'cancelled' END AS status,
                CASE WHEN n % 97 = 0 THEN 2147483647 WHEN n % 89 = 0 THEN 1 ELSE n END AS bound
            FROM {all}
        ) AS wanted ORDER BY n;
        DELETE FROM works WHERE id > {works};

        INSERT INTO events (work_id, created_on, generation, variable, value, status)
        SELECT id, created_on, 1, CAST('work/created' AS VARIABLE), CAST(add_up_to AS text), CAST('pending' AS STATUS)
        FROM works WHERE origin = 'api' ORDER BY id;
        INSERT INTO events (work_id, created_on, generation, variable, value, status)
        SELECT id, updated_on, generation, CAST('compute/result' AS VARIABLE), CAST(result AS text), status
        FROM works WHERE status = 'done' ORDER BY id;
        INSERT INTO events (work_id, created_on, generation, variable, value)
        SELECT id, updated_on, generation, CAST('compute/error' AS VARIABLE), 'no \"room\" 🧾 for ' || add_up_to
        FROM works WHERE status = 'failed' ORDER BY id;

        INSERT INTO dead_letters (work_id, generation, message_id, reason, attempts, created_on)
        SELECT id, generation, message_id, 'no \"room\"', attempt, updated_on
        FROM works WHERE status = 'failed' AND deleted_on IS NULL ORDER BY id;
        INSERT INTO dead_letters (message_id, body, properties, reason, created_on, due_at)
        SELECT 'm-' || n, CAST('{{\"n\":' || n AS BYTES), CASE n % 2 WHEN 0 THEN CAST('p' || n AS BYTES) END, 'no JSON',
            EPOCH + n * STEP, CASE n % 3 WHEN 0 THEN EPOCH + (n + 1) * STEP END
        FROM {letters} ORDER BY n;

        INSERT INTO stat_totals (origin, status, works)
        SELECT origin, status, count(*) FROM works WHERE deleted_on IS NULL AND id % 2 = 0 GROUP BY origin, status;
        INSERT INTO stat_deltas (origin, status, latency, works)
        SELECT origin, status, 3, count(*) FROM works WHERE deleted_on IS NULL AND id % 2 = 1 GROUP BY origin, status;
        INSERT INTO stat_seconds (second, latency, works) VALUES (1767225600, -1, 12), (1767225601, 40, 9000);"
    )
}

/// Tables, and what a copy of each is called here.
const COPIES: [(&str, &str); 6] = [
    ("works", "kept_works"),
    ("events", "kept_events"),
    ("dead_letters", "kept_letters"),
    ("stat_totals", "kept_totals"),
    ("stat_deltas", "kept_deltas"),
    ("stat_seconds", "kept_seconds"),
];

/// The names of all migrations behind this version.
fn names_behind<C: Database>(version: &str) -> Vec<String> {
    let names = C::migrations()
        .into_iter()
        .map(|migration| migration.name().to_string());
    names.filter(|name| &name[..version.len()] > version).collect()
}

/// Makes a database of the version before, with a copy of every table.
fn of_the_version_before<C: Database>(connection: &mut C, works: u32) {
    connection.up_to(BEFORE);
    connection.run(&filled(works));
    for (table, copy) in COPIES {
        connection.run(&format!("CREATE TABLE {copy} AS SELECT * FROM {table}"));
        assert!(connection.count(copy) > 0, "{table}");
    }
    let sorts = "SELECT DISTINCT origin, status, deleted_on IS NULL, due_at IS NULL, sent_at IS NULL, run_at IS NULL
        FROM works";
    assert_eq!(
        connection.count(&format!("({sorts}) AS sorts")),
        36,
        "works of every sort"
    );
}

/// Columns that both versions have, and that mean the same in both.
const SAME: &str = "id, work_code, origin, message_id, status, version, generation, attempt, failures, lost_leases,
    run_at, due_set_on, sent_at, created_on, updated_on, deleted_on";

/// Columns of the version before.
const OLD: &str = "add_up_to, result, due_at";

fn assert_same<C: Database>(connection: &mut C, kept: &str, now: &str) {
    for (one, other) in [(kept, now), (now, kept)] {
        let difference = connection.count(&format!("({one} EXCEPT {other}) AS difference"));
        assert_eq!(difference, 0, "{one} EXCEPT {other}");
    }
    let counts = [kept, now].map(|rows| connection.count(&format!("({rows}) AS counted")));
    assert_eq!(counts[0], counts[1], "{now}");
}

/// Everything is there, and works are sums with their arguments and results as JSON.
fn assert_upgraded<C: Database>(connection: &mut C) {
    let kept = format!(
        "SELECT {SAME}, 'add_up_to' AS kind, '{{\"add_up_to\":' || add_up_to || '}}' AS args,
            CAST(result AS text) AS result, CASE WHEN status <> 'running' THEN due_at END AS due_at,
            CASE WHEN status = 'running' THEN due_at END AS lease_until
        FROM kept_works"
    );
    let now = format!(
        "SELECT {SAME}, kind, CAST(args AS text) AS args, CAST(result AS text) AS result, due_at, lease_until FROM works"
    );
    assert_same(connection, &kept, &now);
    assert_eq!(
        connection.count("works WHERE error IS NOT NULL OR claim IS NOT NULL"),
        0
    );
    for (table, copy) in &COPIES[1..] {
        let kind = match *table {
            "events" => "",
            _ => ", 'add_up_to' AS kind",
        };
        let kept = format!("SELECT *{kind} FROM {copy}");
        assert_same(connection, &kept, &format!("SELECT * FROM {table}"));
    }
}

/// Everything is as it was.
fn assert_unchanged<C: Database>(connection: &mut C) {
    let [kept, now] = ["kept_works", "works"].map(|table| format!("SELECT {SAME}, {OLD} FROM {table}"));
    assert_same(connection, &kept, &now);
    for (table, copy) in &COPIES[1..] {
        assert_same(
            connection,
            &format!("SELECT * FROM {copy}"),
            &format!("SELECT * FROM {table}"),
        );
    }
}

/// The number that the database gives to a work that this statement inserts. The work is not kept.
fn next_id<C: Database>(connection: &mut C, insert: &str) -> Result<String, diesel::result::Error> {
    let mut newest = None;
    let tried = connection.transaction::<(), diesel::result::Error, _>(|connection| {
        connection.batch_execute(insert)?;
        newest = connection
            .lines("SELECT CAST(max(id) AS text) AS line FROM works")
            .pop();
        Err(diesel::result::Error::RollbackTransaction)
    });
    match tried {
        Err(diesel::result::Error::RollbackTransaction) => Ok(newest.unwrap()),
        Err(error) => Err(error),
        Ok(()) => panic!("it was to be rolled back"),
    }
}

/// What the version before inserts.
const OLD_WORK: &str = "INSERT INTO works (work_code, origin, message_id, add_up_to, run_at, due_at)
    VALUES ('api-zzzzzzzzzz', 'api', 'another', 5, NULL, NULL)";

/// What this version inserts.
const NEW_WORK: &str = "INSERT INTO works (kind, work_code, origin, message_id, args)
    VALUES ('mail', 'api-zzzzzzzzzz', 'api', 'm-1', '{}')";

fn everything_is_kept_on_the_way_there_and_back<C: Database>(connection: &mut C) {
    of_the_version_before(connection, MANY);
    let schema = connection.schema();
    next_id(connection, OLD_WORK).unwrap();
    assert_eq!(connection.migrate().unwrap(), names_behind::<C>(BEFORE));
    assert_upgraded(connection);
    next_id(connection, OLD_WORK).expect_err("programs of the version before go on");
    next_id(connection, NEW_WORK).unwrap();
    connection.down_to(BEFORE).unwrap();
    assert_unchanged(connection);
    assert_eq!(connection.schema(), schema);
    next_id(connection, NEW_WORK).expect_err("kinds are known to the version before");
}

fn the_way_back_is_refused_while_there_are_other_kinds<C: Database>(connection: &mut C) {
    of_the_version_before(connection, 1000);
    connection.migrate().unwrap();
    let (versions, schema) = (connection.versions(), connection.schema());
    let letter = "INSERT INTO dead_letters (kind, message_id, body, reason) VALUES ('mail', 'm-1', '{', 'no JSON')";
    // SQLite has another literal for bytes.
    let letter = match C::FOLDER.ends_with("sqlite") {
        true => letter.replace("'{'", "x'7b'"),
        false => letter.to_owned(),
    };
    let other_kinds = [
        (NEW_WORK, "DELETE FROM works WHERE kind = 'mail'"),
        (&letter, "DELETE FROM dead_letters WHERE kind = 'mail'"),
    ];
    for (insert, delete) in other_kinds {
        connection.run(insert);
        let refused = connection.down_to(BEFORE).unwrap_err().to_string();
        assert!(refused.contains("kinds") && refused.contains("add_up_to"), "{refused}");
        assert_eq!(connection.versions().last().unwrap(), "0010");
        connection.migrate().unwrap();
        assert_eq!(connection.versions(), versions);
        assert_eq!(connection.schema(), schema);
        let others =
            connection.count("works WHERE kind = 'mail'") + connection.count("dead_letters WHERE kind = 'mail'");
        assert_eq!(others, 1);
        connection.run(delete);
        assert_upgraded(connection);
    }
    connection.down_to(BEFORE).unwrap();
    assert_unchanged(connection);
    // And there once more.
    connection.migrate().unwrap();
    assert_eq!(connection.versions(), versions);
    assert_eq!(connection.schema(), schema);
    assert_upgraded(connection);
}

fn numbers_go_on_above_purged_works<C: Database>(connection: &mut C) {
    of_the_version_before(connection, 1000);
    connection.migrate().unwrap();
    assert_eq!(next_id(connection, NEW_WORK).unwrap(), "1006");
    connection.down_to(BEFORE).unwrap();
    let id: i64 = next_id(connection, OLD_WORK).unwrap().parse().unwrap();
    assert!(id >= 1006, "{id}");
    // Also where every work is gone.
    connection.run("DELETE FROM works");
    connection.migrate().unwrap();
    let id: i64 = next_id(connection, NEW_WORK).unwrap().parse().unwrap();
    assert!(id >= 1006, "{id}");
    connection.down_to(BEFORE).unwrap();
    let id: i64 = next_id(connection, OLD_WORK).unwrap().parse().unwrap();
    assert!(id >= 1006, "{id}");
}

mod embedded {
    use diesel::Connection as _;
    use diesel::sqlite::SqliteConnection;

    use super::{Database as _, assert_upgraded, names_behind, of_the_version_before};

    fn in_a_file(check: impl Fn(&mut SqliteConnection)) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite").display().to_string();
        check(&mut SqliteConnection::establish(&file).unwrap());
    }

    #[test]
    fn everything_is_kept_on_the_way_there_and_back() {
        in_a_file(super::everything_is_kept_on_the_way_there_and_back);
    }

    #[test]
    fn the_way_back_is_refused_while_there_are_other_kinds() {
        in_a_file(super::the_way_back_is_refused_while_there_are_other_kinds);
    }

    #[test]
    fn numbers_go_on_above_purged_works() {
        in_a_file(super::numbers_go_on_above_purged_works);
    }

    #[test]
    fn an_interrupted_upgrade_goes_on() {
        in_a_file(|connection| {
            of_the_version_before(connection, 1000);
            connection.up_to("0009");
            assert_eq!(connection.migrate().unwrap(), names_behind::<SqliteConnection>("0009"));
            assert_upgraded(connection);
        });
    }
}

mod on_servers {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    use diesel::pg::PgConnection;

    use super::{Database as _, OLD_WORK, assert_upgraded, names_behind, next_id, of_the_version_before};
    use crate::store_schema::on_servers::Missing;

    fn in_a_database(name: &str, check: impl Fn(&mut PgConnection)) {
        let database = Missing::new(name);
        database.create();
        check(&mut PgConnection::establish(database.url.as_str()).unwrap());
    }

    #[test]
    fn everything_is_kept_on_the_way_there_and_back() {
        in_a_database("upgrade_kept", super::everything_is_kept_on_the_way_there_and_back);
    }

    #[test]
    fn the_way_back_is_refused_while_there_are_other_kinds() {
        in_a_database(
            "upgrade_refused",
            super::the_way_back_is_refused_while_there_are_other_kinds,
        );
    }

    #[test]
    fn numbers_go_on_above_purged_works() {
        in_a_database("upgrade_numbers", super::numbers_go_on_above_purged_works);
    }

    #[test]
    fn an_interrupted_fill_goes_on() {
        in_a_database("upgrade_interrupted", |connection| {
            of_the_version_before(connection, 45_000);
            connection.up_to("0009");
            // Some were filled by another program, and this one does not get beyond the fourth part.
            connection.run(
                "UPDATE works SET args = ('{\"add_up_to\":' || old_add_up_to || '}')::json, result = to_json(old_result)
                WHERE id BETWEEN 5000 AND 15000;
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no room''; END';
                CREATE TRIGGER refuse BEFORE UPDATE ON works FOR EACH ROW WHEN (OLD.id = 41000) EXECUTE FUNCTION refuse()",
            );
            let refused = connection.migrate().unwrap_err().to_string();
            assert!(refused.contains("no room"), "{refused}");
            assert_eq!(connection.versions().last().unwrap(), "0009");
            assert_eq!(
                connection.count("works WHERE args IS NOT NULL"),
                40_000,
                "each part is kept"
            );
            connection.run("DROP TRIGGER refuse ON works; DROP FUNCTION refuse");
            assert_eq!(connection.migrate().unwrap(), names_behind::<PgConnection>("0009"));
            assert_upgraded(connection);
        });
    }

    #[test]
    fn programs_of_the_version_before_change_nothing_during_the_fill() {
        // What a worker with running works says: they go on, they are handed back, others are lost.
        let said = [
            "UPDATE works SET due_at = now() + interval '30 seconds', due_set_on = now() WHERE status = 'running' AND id = 7",
            "UPDATE works SET status = 'pending', attempt = attempt + 1, due_at = now(), due_set_on = NULL, sent_at = NULL,
                version = version + 1, updated_on = now() WHERE status = 'running' AND id = 12",
            "UPDATE works SET status = 'failed', due_at = NULL, due_set_on = NULL, lost_leases = lost_leases + 1,
                sent_at = NULL, version = version + 1, updated_on = now() WHERE status = 'running' AND id = 17",
            OLD_WORK,
        ];
        in_a_database("upgrade_old_programs", |connection| {
            of_the_version_before(connection, 1000);
            for statement in said {
                next_id(connection, statement).unwrap();
            }
            connection.up_to("0009");
            for statement in said {
                connection.batch_execute(statement).expect_err(statement);
            }
            assert_eq!(connection.migrate().unwrap(), names_behind::<PgConnection>("0009"));
            assert_upgraded(connection);
        });
    }
}
