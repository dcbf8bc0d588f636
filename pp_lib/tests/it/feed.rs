//! The PostgreSQL feed between processes.

mod on_servers {
    use std::time::Duration;

    use pp_lib::feed::postgres::PostgresFeed;
    use pp_lib::feed::{Feed as _, Waiter};
    use tokio::time::{Instant, timeout};

    use crate::postgres::Database;

    const SOON: Duration = Duration::from_secs(10);

    async fn heard(waiter: &mut Waiter) -> bool {
        timeout(SOON, waiter.changed()).await.is_ok()
    }

    /// A connected feed: it wakes its waiters once it has connected.
    async fn connected(url: &str) -> (PostgresFeed, Waiter) {
        let feed = PostgresFeed::connect(url, &pp_lib::tls::Trust::default()).unwrap();
        let mut waiter = feed.listen();
        assert!(heard(&mut waiter).await);
        (feed, waiter)
    }

    async fn quiet(waiter: &mut Waiter) {
        while timeout(Duration::from_millis(50), waiter.changed()).await.is_ok() {}
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_poke_of_one_feed_reaches_both() {
        let database = Database::create().await;
        let (one, mut at_one) = connected(&database.url).await;
        let (two, mut at_two) = connected(&database.url).await;
        for feed in [&one, &two] {
            quiet(&mut at_one).await;
            quiet(&mut at_two).await;
            feed.poke();
            assert!(heard(&mut at_one).await && heard(&mut at_two).await);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_terminated_session_reconnects_and_wakes_each_waiter_once() {
        let database = Database::create().await;
        let (one, mut at_one) = connected(&database.url).await;
        let (_two, mut at_two) = connected(&database.url).await;
        quiet(&mut at_one).await;
        quiet(&mut at_two).await;
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let client = database.client().await;
        assert_eq!(client.query(terminate, &[]).await.unwrap().len(), 2);
        assert!(
            heard(&mut at_one).await && heard(&mut at_two).await,
            "for what was missed"
        );
        // The feeds reconnect at different times, so one poke may be too early for the other.
        quiet(&mut at_two).await;
        let deadline = Instant::now() + SOON;
        loop {
            one.poke();
            if timeout(Duration::from_millis(100), at_two.changed()).await.is_ok() {
                break;
            }
            assert!(Instant::now() < deadline, "nothing was heard after the reconnect");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_pokes_are_few_notifications_and_never_block() {
        let database = Database::create().await;
        let (one, _at_one) = connected(&database.url).await;
        let (_two, mut at_two) = connected(&database.url).await;
        let began = Instant::now();
        for _ in 0..100_000 {
            one.poke();
        }
        let poking = began.elapsed();
        let mut heard = 0;
        while timeout(Duration::from_millis(200), at_two.changed()).await.is_ok() {
            heard += 1;
        }
        let most = poking.as_millis() / 2 + 3;
        assert!(heard >= 1 && heard <= most, "{heard} of at most {most}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_password_may_have_any_character() {
        let database = Database::create().await;
        let role = format!("pp_feed_{}", std::process::id());
        let client = database.client().await;
        let create = format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'a/b@c:d%e?f'");
        client.batch_execute(&create).await.unwrap();
        let mut url: url::Url = database.url.parse().unwrap();
        url.set_username(&role).unwrap();
        url.set_password(Some("a%2Fb%40c%3Ad%25e%3Ff")).unwrap();
        let (feed, _waiter) = connected(url.as_str()).await;
        drop(feed);
        let config = pp_lib::store::postgres::PostgresConfig {
            trust: pp_lib::tls::Trust::default(),
            url: url.to_string(),
            pool: 1,
            timeout: SOON,
        };
        drop(pp_lib::store::postgres::PostgresStore::open(config).await.unwrap());
        client.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_connection_ends_with_the_feed() {
        let database = Database::create().await;
        let (feed, _waiter) = connected(&database.url).await;
        drop(feed);
        let client = database.client().await;
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND application_name = 'pp feed'";
        let deadline = Instant::now() + SOON;
        while client.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(Instant::now() < deadline, "still connected");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_url_of_another_scheme_is_refused() {
        for url in ["", "mysql://localhost/pp", "postgres://[localhost/pp", "host=localhost"] {
            assert!(
                PostgresFeed::connect(url, &pp_lib::tls::Trust::default()).is_err(),
                "{url}"
            );
        }
    }
}
