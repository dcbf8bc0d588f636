//! The migration to works of applications, forth and back: every work stays, and works that the version before cannot
//! hold are in the way.

use diesel::connection::SimpleConnection;
use diesel::migration::MigrationVersion;
use diesel::{Connection, RunQueryDsl, sql_query};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

const THIS: &str = "0014";

/// A work of each origin and status that the version before has.
const WORKS: &str = r#"
    INSERT INTO works (id, kind, work_code, origin, message_id, args, status, result, due_at, lease_until, attempt, error)
    VALUES (3, 'add_up_to', 'api-0123456789', 'api', 'a', '{"add_up_to": 4}', 'pending', NULL, DUE, NULL, 1, NULL),
        (5, 'mail', 'consumer-0123456789', 'consumer', 'b', '{"b":1.10}', 'running', NULL, NULL, DUE, 2, 'no'),
        (7, 'add_up_to', 'api-9876543210', 'api', 'c', '{"add_up_to":4}', 'done', '10', NULL, NULL, 1, NULL);
    DELETE FROM works WHERE id = 7;
    INSERT INTO works (id, kind, work_code, origin, message_id, args, status, result)
    VALUES (6, 'add_up_to', 'api-9876543210', 'api', 'c', '{"add_up_to":4}', 'done', '10');
"#;

/// A work of an application.
const APP: &str = "INSERT INTO works (kind, work_code, origin, message_id, args, due_at, unique_key)
    VALUES ('mail', 'app-0123456789', 'app', 'd', '{}', DUE, 'u');";

/// The works, one line each.
const SHOWN: &str =
    "SELECT id || ' ' || kind || ' ' || work_code || ' ' || CAST(args AS text) || ' ' || CAST(status AS text)
    || ' ' || coalesce(CAST(result AS text), '-') || ' ' || attempt || ' ' || coalesce(error, '-') AS line
    FROM works ORDER BY id";

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

/// Takes back the migrations from this one on.
fn go_back<C, B>(connection: &mut C, folder: &str) -> Result<(), String>
where
    C: MigrationHarness<B>,
    B: diesel::backend::Backend,
{
    let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
    let migrations = FileBasedMigrations::from_path(path).unwrap();
    let this = MigrationVersion::from(THIS);
    while connection
        .applied_migrations()
        .unwrap()
        .iter()
        .any(|applied| *applied >= this)
    {
        let reverted = connection.revert_last_migration(migrations.clone());
        reverted.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The next number of a work stays as well.
fn forth_and_back<C, B>(
    connection: &mut C,
    folder: &str,
    due: &str,
    migrate: impl Fn(&mut C),
    lines: impl Fn(&mut C) -> Vec<String>,
) where
    C: Connection<Backend = B> + MigrationHarness<B> + SimpleConnection,
    B: diesel::backend::Backend,
{
    migrate(connection);
    go_back(connection, folder).unwrap();
    connection.batch_execute(&WORKS.replace("DUE", due)).unwrap();
    let before = lines(connection);
    assert_eq!(before.len(), 3);
    migrate(connection);
    assert_eq!(lines(connection), before);
    go_back(connection, folder).unwrap();
    assert_eq!(lines(connection), before);
    migrate(connection);
    connection.batch_execute(&APP.replace("DUE", due)).unwrap();
    let with_app = lines(connection);
    assert_eq!(with_app.len(), 4);
    let refused = go_back(connection, folder).unwrap_err();
    assert!(
        refused.contains("of origin app") || refused.contains("of_origin_app"),
        "{refused}"
    );
    assert_eq!(lines(connection), with_app);
    connection
        .batch_execute("DELETE FROM works WHERE origin = 'app'")
        .unwrap();
    go_back(connection, folder).unwrap();
    migrate(connection);
    assert_eq!(lines(connection), before);
}

mod embedded {
    use diesel::sqlite::SqliteConnection;

    use super::*;

    #[test]
    fn works_stay_on_the_way_forth_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
        let migrate = |connection: &mut SqliteConnection| drop(pp_storage::migrate_sqlite(connection).unwrap());
        let lines = |connection: &mut SqliteConnection| {
            let lines: Vec<Line> = sql_query(SHOWN).load(connection).unwrap();
            lines.into_iter().map(|row| row.line).collect()
        };
        forth_and_back(&mut connection, "sqlite", "unixepoch() * 1000", migrate, lines);
        let next: Vec<Line> = sql_query("SELECT CAST(seq AS text) AS line FROM sqlite_sequence WHERE name = 'works'")
            .load(&mut connection)
            .unwrap();
        assert_eq!(next[0].line, "8", "numbers of works go on");
    }
}

mod on_servers {
    use std::time::Duration;

    use diesel::pg::PgConnection;

    use super::*;
    use crate::store_schema::on_servers::Missing;

    #[test]
    fn works_stay_on_the_way_forth_and_back() {
        let database = Missing::new("apps");
        database.create();
        let mut connection = PgConnection::establish(database.url.as_str()).unwrap();
        let migrate = |connection: &mut PgConnection| {
            pp_storage::migrate_postgres(connection, Duration::from_secs(5), &mut drop).unwrap();
        };
        let lines = |connection: &mut PgConnection| {
            let lines: Vec<Line> = sql_query(SHOWN).load(connection).unwrap();
            lines.into_iter().map(|row| row.line).collect()
        };
        forth_and_back(&mut connection, "postgres", "now()", migrate, lines);
    }
}
