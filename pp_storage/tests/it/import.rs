//! `pp_storage import`: its copies of the original project's database, and its output.

use crate::store_schema::run;

mod embedded {
    use super::*;

    #[test]
    fn an_unreadable_source_is_one_line_without_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let target = format!("sqlite://{}", folder.path().join("pp.sqlite").display());
        for (from, expected) in [
            ("", 2),
            ("sqlite:///tmp/x", 2),
            ("mysql://u:s3cret@h/d", 2),
            ("postgres://u:s3cret@127.0.0.1:1/d", 1),
        ] {
            let (code, out, said) = run(&["import", "--from", from], Some(&target));
            assert_eq!((code, out.as_str()), (expected, ""), "{from}");
            assert!(
                said.starts_with("error: --from: ") && said.lines().count() == 1,
                "{said}"
            );
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

mod on_servers {
    use diesel::connection::{LoadConnection, SimpleConnection as _};
    use diesel::pg::PgConnection;
    use diesel::query_builder::SqlQuery;
    use diesel::query_dsl::LoadQuery;
    use diesel::sql_types::Text;
    use diesel::sqlite::SqliteConnection;
    use diesel::{Connection, QueryableByName, RunQueryDsl as _, sql_query};

    use super::*;
    use crate::store_schema::on_servers::Missing;

    /// The tables of the original project, with rows as its programs leave them.
    const ORIGINAL: &str = "
        CREATE TABLE works (
            id serial PRIMARY KEY, work_code varchar(50) NOT NULL, add_up_to int NOT NULL, done boolean DEFAULT false,
            updated_on timestamptz NOT NULL DEFAULT current_timestamp,
            created_on timestamptz NOT NULL DEFAULT current_timestamp
        );
        CREATE TABLE events (
            id serial PRIMARY KEY, work_code varchar(50) NOT NULL, variable varchar(100) NOT NULL,
            value varchar(100) NOT NULL, created_on timestamptz NOT NULL DEFAULT current_timestamp
        );
        INSERT INTO works (id, work_code, add_up_to, done, created_on, updated_on) VALUES
            (1, 'api-aaaaaaaaaa', 4, false, '2021-10-13 09:02:16Z', '2021-10-13 09:02:16Z'),
            (21, 'consumer-bbbbbbbbbb', 4, false, '2021-10-13 09:03:00Z', '2021-10-13 09:03:00Z'),
            (22, 'consumer-cccccccccc', 4, true, '2021-10-13 09:04:00.25Z', '2021-10-13 09:05:00Z'),
            (23, 'consumer-dddddddddd', 5, false, '2021-10-13 09:06:00Z', '2021-10-13 09:06:00Z'),
            (24, 'by hand', 5, false, now(), now()),
            (25, 'api-eeeeeeeeee', 0, false, now(), now()),
            (26, 'api-aaaaaaaaaa', 9, false, now(), now());
        INSERT INTO events (work_code, variable, value, created_on) VALUES
            ('consumer-bbbbbbbbbb', 'compute/start', '', '2021-10-13 09:03:01Z'),
            ('consumer-cccccccccc', 'compute/start', '', '2021-10-13 09:04:01Z'),
            ('consumer-bbbbbbbbbb', 'compute/stop', '', '2021-10-13 09:03:02Z'),
            ('consumer-bbbbbbbbbb', 'compute/result', '6', '2021-10-13 09:03:03Z'),
            ('consumer-cccccccccc', 'compute/stop', '', '2021-10-13 09:04:02Z'),
            ('consumer-cccccccccc', 'compute/result', '10', '2021-10-13 09:04:03Z'),
            ('consumer-dddddddddd', 'compute/start', '', '2021-10-13 09:06:01Z'),
            ('consumer-of-nobody', 'compute/start', '', now());";

    const WORKS: [&str; 4] = [
        "1 api-aaaaaaaaaa 4 pending - 1634115736 1634115736 true",
        "21 consumer-bbbbbbbbbb 4 pending - 1634115780 1634115780 true",
        "22 consumer-cccccccccc 4 done 10 1634115840 1634115900 false",
        "23 consumer-dddddddddd 5 pending - 1634115960 1634115960 true",
    ];
    const EVENTS: [&str; 8] = [
        "1 work/created 4 1634115736",
        "21 compute/start  1634115781",
        "21 compute/error imported: its result 6 is not the sum 10 1634115783",
        "22 compute/start  1634115841",
        "22 compute/stop  1634115842",
        "22 compute/result 10 1634115843",
        "23 compute/start  1634115961",
        "23 compute/error imported: the attempt did not end 1634115961",
    ];

    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }

    fn lines<C>(connection: &mut C, sql: &str) -> Vec<String>
    where
        C: Connection + LoadConnection,
        SqlQuery: for<'query> LoadQuery<'query, C, Line>,
    {
        let lines: Vec<Line> = sql_query(sql).load(connection).unwrap();
        lines.into_iter().map(|line| line.line).collect()
    }

    fn original(name: &str) -> Missing {
        let database = Missing::new(name);
        // The database is created here, because the schema of PP must not be in it.
        database.create();
        let mut connection = PgConnection::establish(database.url.as_str()).unwrap();
        connection.batch_execute(ORIGINAL).unwrap();
        database
    }

    const FIRST: &str = "imported 4 works, 1 of them done, with 8 events; 1 existed already\n\
        skipped 2 works whose code or bound is invalid in PP, with the ids 24, 25\n";
    const AGAIN: &str = "the schema was up to date\n\
        imported 0 works, 0 of them done, with 0 events; 5 existed already\n\
        skipped 2 works whose code or bound is invalid in PP, with the ids 24, 25\n";

    #[test]
    fn works_and_events_are_copied_into_postgresql_once() {
        let (from, into) = (original("import_from"), Missing::new("import_into"));
        let import = || run(&["import", "--from", from.url.as_str()], Some(into.url.as_str()));
        let (code, out, said) = import();
        assert_eq!((code, said.as_str()), (0, ""), "{out}");
        assert!(out.ends_with(FIRST), "{out}");
        assert_eq!(import(), (0, AGAIN.to_owned(), String::new()));
        let mut connection = PgConnection::establish(into.url.as_str()).unwrap();
        let works = lines(
            &mut connection,
            "SELECT concat_ws(' ', id, work_code, args ->> 'add_up_to', status, coalesce(result::text, '-'),
                floor(extract(epoch FROM created_on))::bigint, floor(extract(epoch FROM updated_on))::bigint,
                (due_at IS NOT NULL)::text) AS line FROM works ORDER BY id",
        );
        assert_eq!(works, WORKS);
        let events = lines(
            &mut connection,
            "SELECT concat_ws(' ', work_id, variable, value, floor(extract(epoch FROM created_on))::bigint) AS line
            FROM events ORDER BY work_id, id",
        );
        assert_eq!(events, EVENTS);
        // New works of services get other ids.
        connection
            .batch_execute(
                "INSERT INTO works (kind, work_code, origin, message_id, args) VALUES ('add_up_to', 'api-zzzzzzzzzz', 'api', 'z', '1')",
            )
            .unwrap();
        let newest = lines(&mut connection, "SELECT max(id)::text AS line FROM works");
        assert_eq!(newest, ["27"]);
        let counted = "SELECT concat_ws(' ', origin, status, sum(works)) AS line FROM stat_deltas GROUP BY origin, status ORDER BY 1";
        let counted = lines(&mut connection, counted);
        assert_eq!(counted, ["api pending 1", "consumer done 1", "consumer pending 2"]);
    }

    #[test]
    fn works_and_events_are_copied_into_sqlite_once() {
        let (from, folder) = (original("import_file"), tempfile::tempdir().unwrap());
        let file = folder.path().join("pp.sqlite").display().to_string();
        let url = format!("sqlite://{file}");
        let import = || run(&["import", "--from", from.url.as_str()], Some(&url));
        let (code, out, said) = import();
        assert_eq!((code, said.as_str()), (0, ""), "{out}");
        assert!(out.ends_with(FIRST), "{out}");
        assert_eq!(import(), (0, AGAIN.to_owned(), String::new()));
        let mut connection = SqliteConnection::establish(&file).unwrap();
        let works = lines(
            &mut connection,
            "SELECT id || ' ' || work_code || ' ' || (args ->> 'add_up_to') || ' ' || status || ' ' || coalesce(result, '-') || ' ' ||
                (created_on / 1000) || ' ' || (updated_on / 1000) || ' ' || iif(due_at IS NULL, 'false', 'true') AS line
             FROM works ORDER BY id",
        );
        assert_eq!(works, WORKS);
        let events = lines(
            &mut connection,
            "SELECT work_id || ' ' || variable || ' ' || value || ' ' || (created_on / 1000) AS line
             FROM events ORDER BY work_id, id",
        );
        assert_eq!(events, EVENTS);
    }

    #[test]
    fn an_id_that_another_work_has_is_replaced() {
        let (from, into) = (original("import_ids"), Missing::new("import_taken"));
        assert_eq!(run(&["migrate"], Some(into.url.as_str())).0, 0);
        let mut connection = PgConnection::establish(into.url.as_str()).unwrap();
        connection
            .batch_execute(
                "INSERT INTO works (kind, work_code, origin, message_id, args) VALUES ('add_up_to', 'api-zzzzzzzzzz', 'api', 'z', '1')",
            )
            .unwrap();
        assert_eq!(
            run(&["import", "--from", from.url.as_str()], Some(into.url.as_str())).0,
            0
        );
        let ids = lines(
            &mut connection,
            "SELECT id || ' ' || work_code AS line FROM works ORDER BY id",
        );
        let expected = [
            "1 api-zzzzzzzzzz",
            "21 consumer-bbbbbbbbbb",
            "22 consumer-cccccccccc",
            "23 consumer-dddddddddd",
            "27 api-aaaaaaaaaa",
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn a_migration_of_the_original_database_is_refused_and_changes_nothing() {
        let database = original("import_migrate");
        let (code, out, said) = run(&["migrate"], Some(database.url.as_str()));
        assert_eq!((code, out.as_str(), said.lines().count()), (1, "", 1), "{said}");
        assert!(
            said.starts_with("error: PP_DATABASE_URL: ") && said.contains("pp_storage import --from"),
            "{said}"
        );
        let mut connection = PgConnection::establish(database.url.as_str()).unwrap();
        let tables = "SELECT tablename::text AS line FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
        assert_eq!(lines(&mut connection, tables), ["events", "works"]);
    }

    #[test]
    fn a_source_of_another_project_is_an_error() {
        let (from, into) = (Missing::new("import_other"), Missing::new("import_nothing"));
        from.create();
        let (code, _, said) = run(&["import", "--from", from.url.as_str()], Some(into.url.as_str()));
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.starts_with("error: --from: "), "{said}");
    }
}
