//! The number of rows that PostgreSQL reads for a search page, in a million works with a worst-case distribution.

mod on_servers {
    use pp_lib::domain::{Status, WorkCodePrefix, WorkId};
    use pp_lib::store::{Search, WorkRows as _};
    use tokio_postgres::Client;

    use crate::postgres::{Database, TIMEOUT};

    /// A thousand of every status and origin, then long runs of one each, the newest of them deleted. One work a second. A
    /// few among them are no sums.
    const FILL: &str = "
        SET synchronous_commit = off;
        ALTER TABLE works SET (autovacuum_enabled = off);
        INSERT INTO works (kind, work_code, origin, message_id, args, status, result, lease_until, created_on, deleted_on)
        SELECT CASE WHEN n % 50000 = 1 THEN 'other' ELSE 'add_up_to' END, origin || '-' || letter(n::bigint * 7919) || letter(n::bigint * 7919 / 62) || letter(n * 31) || lpad(n::text, 7, '0'),
            origin::work_origin, 'm' || n, json_build_object('add_up_to', 1), status::work_status,
            CASE status WHEN 'done' THEN '1'::json END,
            CASE status WHEN 'running' THEN now() + interval '1 hour' END,
            to_timestamp(1700000000 + n), CASE WHEN n > 800000 THEN now() END
        FROM generate_series(1, 1000000) AS n, LATERAL (SELECT
            CASE WHEN n <= 1000 THEN ('{pending,running,done,failed,cancelled}'::text[])[1 + n % 5]
                WHEN n <= 300000 THEN 'failed' WHEN n <= 600000 THEN 'pending' ELSE 'done' END AS status,
            CASE WHEN n <= 1000 THEN ('{api,consumer}'::text[])[1 + n / 5 % 2]
                WHEN n <= 600000 THEN 'api' ELSE 'consumer' END AS origin
        ) AS kind";
    const LETTER: &str = "
        CREATE FUNCTION letter(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
        $$ SELECT substr('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789', (n % 62 + 1)::int, 1) $$";
    const LIMIT: u16 = 50;
    /// One index entry and its row for each work of the page, and one more of each.
    const PAGE: i64 = 2 * (LIMIT as i64 + 10);
    /// The same for works around `since`, which the walk may read twice.
    const AROUND: i64 = 2 * 2 * 2001;

    fn everything() -> Search {
        Search {
            limit: LIMIT,
            ..pp_conformance::store::everything()
        }
    }

    /// Every documented filter alone and with every `status` and `done`, each with the maximum cost of a page.
    fn searches() -> Vec<(Search, i64)> {
        let code = |code, most| {
            let work_code = WorkCodePrefix::parse(code);
            (
                Search {
                    work_code,
                    ..everything()
                },
                most,
            )
        };
        let since = |n: i64| {
            let since = Some(1_700_000_000 + n);
            (Search { since, ..everything() }, PAGE + AROUND)
        };
        let before = |n| {
            let before = Some(WorkId(n));
            (Search { before, ..everything() }, PAGE)
        };
        let of_kind = |name: &str| {
            let kind = Some(name.parse().unwrap());
            (Search { kind, ..everything() }, PAGE)
        };
        let alone = [
            (everything(), PAGE),
            of_kind("other"),
            of_kind("none"),
            code("api-", PAGE),
            code("consumer-", PAGE),
            // One work in 62 matches a single letter; for two letters all are read.
            code("api-a", 100 * PAGE),
            code("consumer-7", 100 * PAGE),
            code("api-ab", 2 * 1_000_000 / 62 / 62 * 2),
            code("api-abc", PAGE),
            code("consumer-zzz0000001", PAGE),
            since(2_000_000),
            since(999_500),
            since(999_000),
            since(700_000),
            since(450_000),
            since(150_000),
            since(0),
            before(1),
            before(700),
            before(450_000),
            before(700_000),
            before(i64::MAX),
        ];
        let statuses = Status::ALL.map(|status| Some((status, true)));
        let statuses = [&statuses[..], &[None, Some((Status::Done, false))]].concat();
        let beside = |status: Option<(Status, bool)>| {
            let alone = alone.clone();
            alone
                .into_iter()
                .map(move |(search, most)| (Search { status, ..search }, most))
        };
        statuses.into_iter().flat_map(beside).collect()
    }

    /// The number of rows and index entries read by ended sessions.
    async fn read(client: &Client) -> i64 {
        let sql = "SELECT (SELECT (seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables
                WHERE relname = 'works')
            + (SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname = 'works')";
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn each_reads_no_more_than_it_may(database: &Database, client: &Client, when: &str) {
        let mut too_much = Vec::new();
        for (search, most) in searches() {
            let before = read(client).await;
            let store = database.store_by(&database.url, 1, TIMEOUT).await;
            let found = store.search(&search).await.unwrap();
            assert!(found.is_sorted_by(|one, next| one.id > next.id));
            drop(store);
            database.until_sessions_ended().await;
            let read = read(client).await - before;
            if read > most {
                too_much.push(format!("{read} > {most} for {} of {search:?}", found.len()));
            }
        }
        assert!(too_much.is_empty(), "{when}: {too_much:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_search_page_reads_about_as_many_rows_as_it_shows() {
        let database = Database::create().await;
        drop(database.store(1).await);
        let client = database.client().await;
        client.batch_execute(LETTER).await.unwrap();
        client.batch_execute(FILL).await.unwrap();
        each_reads_no_more_than_it_may(&database, &client, "without statistics").await;
        client.batch_execute("ANALYZE works").await.unwrap();
        each_reads_no_more_than_it_may(&database, &client, "with statistics").await;
    }
}
