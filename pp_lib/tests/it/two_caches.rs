//! Several serving processes over one database: one process refreshes each shared cache.

mod on_servers {
    use std::sync::Arc;
    use std::time::Duration;

    use pp_lib::cache::CacheOptions;
    use pp_lib::domain::{AddUpTo, WorkId};
    use pp_lib::feed::AnyFeed;
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::runtime::Health;
    use pp_lib::runtime::new_message_id;
    use pp_lib::serving::{Caches, CreateWork, Serving, Source};
    use pp_lib::store::AnyStore;
    use tokio::time::{Instant, sleep};

    use crate::redis::on_servers::Raw;
    use crate::redis::{DEADLINE, connect, new_prefix, server_url};
    use crate::store::embedded::fresh;

    const STALENESS: Duration = Duration::from_millis(500);

    /// A serving process with a cache of one prefix.
    struct Process {
        serving: Serving,
        works: pp_lib::serving::Works,
    }

    impl Process {
        fn start(store: &AnyStore, prefix: &str) -> Self {
            let options = CacheOptions {
                ttl: DEADLINE * 10,
                staleness: STALENESS,
            };
            let caches = Caches {
                cache: Arc::new(connect(&server_url(), prefix, options, DEADLINE)),
                near: None,
                staleness: STALENESS,
            };
            let feed: AnyFeed = Arc::new(MemoryFeed::new());
            let (serving, works) = Serving::start(store, &feed, &caches, Default::default(), &Health::new());
            Self { serving, works }
        }

        async fn is_hit(&self, work: WorkId) -> bool {
            self.works.by_id(work).await.unwrap().source == Source::Cache
        }

        async fn create(&self) -> WorkId {
            let wanted = CreateWork {
                args: Some(AddUpTo::MIN.args()),
                ..CreateWork::default()
            };
            self.works.create(wanted, new_message_id()).await.unwrap().id
        }
    }

    async fn until(what: &str, condition: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition().await {
            assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asserts that all serve from their caches for longer than one freshness mark lasts.
    async fn all_serve_from_their_caches(processes: &[&Process], work: WorkId) {
        let began = Instant::now();
        while began.elapsed() < STALENESS * 4 {
            for (number, process) in processes.iter().enumerate() {
                let what = format!("process {number} serves from its cache");
                until(&what, async || process.is_hit(work).await).await;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn processes_with_separate_caches_serve_from_them() {
        let (store, _folder) = fresh().await;
        let (one, other) = (
            Process::start(&store, &new_prefix()),
            Process::start(&store, &new_prefix()),
        );
        let work = one.create().await;
        all_serve_from_their_caches(&[&one, &other], work).await;
        assert_eq!(store.held("refresher/").await.unwrap(), 2);
        for process in [one, other] {
            process.serving.stop(DEADLINE).await;
        }
        assert_eq!(store.held("refresher/").await.unwrap(), 0, "they let go");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_process_refreshes_a_shared_cache_even_after_it_was_emptied() {
        let (store, _folder) = fresh().await;
        let prefix = new_prefix();
        let (one, other) = (Process::start(&store, &prefix), Process::start(&store, &prefix));
        let work = one.create().await;
        all_serve_from_their_caches(&[&one, &other], work).await;
        assert_eq!(store.held("refresher/").await.unwrap(), 1);
        let mut raw = Raw::new(&prefix).await;
        for key in ["cache:v1:name", "feed:v2:position", "feed:v1:fresh"] {
            raw.forget(key).await;
        }
        all_serve_from_their_caches(&[&one, &other], work).await;
        until("one keeps it", async || store.held("refresher/").await.unwrap() == 1).await;
        for process in [one, other] {
            process.serving.stop(DEADLINE).await;
        }
    }
}
