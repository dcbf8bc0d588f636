//! Cases that need a Redis server: foreign values, and servers that are unavailable, silent, full or not Redis at all.

use std::time::Duration;

use pp_lib::cache::redis::RedisCache;
use pp_lib::cache::{ByCode, Cache, CacheError, CacheOptions, Entry, EntryOrLease, Lease, Marked, Moment, Provisional};
use pp_lib::domain::{AddUpTo, KindName, Position, Status, Work, WorkCode, WorkId};
use pp_testkit::proxy::{Flow, Proxy};
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A generous time limit for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
const OPTIONS: CacheOptions = CacheOptions {
    ttl: Duration::from_secs(600),
    staleness: Duration::from_secs(120),
};
fn at() -> Position {
    Position::beginning(1)
}

pub(crate) fn server_url() -> String {
    std::env::var("PP_TEST_REDIS_URL")
        .expect("PP_TEST_REDIS_URL names no Redis server: run these tests with `make test`, which starts one")
}

pub(crate) fn new_prefix() -> String {
    format!("pp-test-{}", uuid::Uuid::new_v4().simple())
}

pub(crate) fn connect(url: &str, prefix: &str, options: CacheOptions, timeout: Duration) -> RedisCache {
    RedisCache::connect(url, &pp_lib::tls::Trust::default(), prefix, options, timeout).unwrap()
}

fn code() -> WorkCode {
    "api-bjq8euwsEA".parse().unwrap()
}

fn work(version: i64) -> Entry {
    Entry::Work(Work {
        id: WorkId(1),
        work_code: code(),
        kind: KindName::default(),
        args: AddUpTo::MAX.args(),
        created_on: 1_634_115_736,
        updated_on: 1_634_115_736,
        status: Status::Pending,
        result: None,
        version,
        run_at: None,
        unique: None,
        error: None,
        attempt: 1,
        progress: None,
    })
}

/// The errors of all methods.
async fn all_errors(cache: &RedisCache) -> Vec<CacheError> {
    let (id, since) = (WorkId(1), Moment(0));
    let provisional = ByCode::Provisional(Provisional {
        message_id: "demand".to_owned().try_into().unwrap(),
        work_code: code(),
        kind: KindName::default(),
        args: AddUpTo::MIN.args(),
        unique: None,
        created_on: 0,
    });
    vec![
        cache.look_up(&[id]).await.unwrap_err(),
        cache.fill(&[(id, Lease(1), work(1))]).await.unwrap_err(),
        cache.put(&[(id, work(1))], since).await.unwrap_err(),
        cache.present(&[id]).await.unwrap_err(),
        cache.refresh(&[(id, work(1))]).await.unwrap_err(),
        cache.mark(&at(), &at(), since).await.unwrap_err(),
        cache.position().await.unwrap_err(),
        cache.clear(&at()).await.unwrap_err(),
        cache.now().await.unwrap_err(),
        cache.by_codes(&[code()]).await.unwrap_err(),
        cache.put_codes(&[(code(), provisional)]).await.unwrap_err(),
    ]
}

async fn until_it_answers(cache: &RedisCache) {
    let answered = async {
        while cache.now().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, answered)
        .await
        .expect("it answers again");
}

/// The behaviour of a port.
#[derive(Clone)]
enum Door {
    /// Closes each connection.
    Closed,
    /// Accepts connections and never answers.
    Silent,
    /// Answers every command with these bytes.
    Says(&'static [u8]),
    /// Forwards to the server with this address.
    Open(String),
}

/// Opens a port and returns its URL with the password, and a switch for the behaviour of new connections.
async fn door(password: &str, behind: Door) -> (String, watch::Sender<Door>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://default:{password}@{}/0", listener.local_addr().unwrap());
    let (sender, behind) = watch::channel(behind);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let behind = behind.borrow().clone();
            tokio::spawn(receive(client, behind));
        }
    });
    (url, sender)
}

async fn receive(mut client: TcpStream, behind: Door) {
    match behind {
        Door::Closed => {}
        Door::Silent => std::future::pending().await,
        Door::Says(words) => {
            let mut question = [0; 4096];
            while client.read(&mut question).await.is_ok_and(|count| count > 0) {
                if client.write_all(&words.repeat(8)).await.is_err() {
                    return;
                }
            }
        }
        Door::Open(address) => {
            let mut server = TcpStream::connect(address).await.unwrap();
            // Errors end the connection as well.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
    }
}

mod embedded {
    use super::*;

    #[tokio::test]
    async fn a_bad_url_is_refused_without_repeating_it() {
        for url in [
            "",
            "hunter2",
            "http://u:hunter2@localhost/",
            "rediss://u:hunter2@localhost/#insecure",
            "redis://u:hunter2@localhost:99999/",
            "redis://u:hunter2@localhost/hunter2",
            "redis://u:hunter2@localhost/0?protocol=hunter2",
        ] {
            let error = RedisCache::connect(url, &pp_lib::tls::Trust::default(), "pp", OPTIONS, DEADLINE).unwrap_err();
            assert!(matches!(error, CacheError::Rejected(_)), "{url}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
    }

    #[tokio::test]
    async fn a_silent_server_is_unavailable_in_time() {
        let (url, _door) = door("hunter2", Door::Silent).await;
        let cache = connect(&url, "pp", OPTIONS, RedisCache::TIMEOUT);
        let errors = tokio::time::timeout(DEADLINE, all_errors(&cache)).await.unwrap();
        for error in errors {
            assert!(matches!(error, CacheError::Unavailable(_)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn errors_do_not_contain_the_password() {
        let repeats = b"-ERR unknown command 'AUTH', with args beginning with: 'default' 'hunter2'\r\n";
        for behind in [
            Door::Closed,
            Door::Says(repeats),
            Door::Says(b"-hunter2 hunter2\r\n"),
            Door::Says(b"hunter2\r\n"),
        ] {
            let (url, _door) = door("hunter2", behind).await;
            let cache = connect(&url, "pp", OPTIONS, Duration::from_secs(1));
            for error in all_errors(&cache).await {
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            }
            assert!(!format!("{cache:?}").contains("hunter2"), "{cache:?}");
        }
    }
}

pub(crate) mod on_servers {
    use super::*;

    /// A door to the server, and the server's address.
    async fn door_to_server(behind: Door) -> (String, watch::Sender<Door>, String) {
        let server = url::Url::parse(&server_url()).unwrap();
        let address = format!("{}:{}", server.host_str().unwrap(), server.port().unwrap_or(6379));
        let (url, door) = door(server.password().unwrap_or_default(), behind).await;
        (url, door, address)
    }

    /// Direct access to a prefix's keys in Redis.
    pub(crate) struct Raw(MultiplexedConnection, String);

    impl Raw {
        pub(crate) async fn new(prefix: &str) -> Self {
            let client = redis::Client::open(server_url()).unwrap();
            let connection = client.get_multiplexed_async_connection().await.unwrap();
            Self(connection, prefix.to_owned())
        }

        async fn set(&mut self, key: &str, value: &[u8]) {
            let mut set = redis::cmd("SET");
            set.arg(format!("{}:{key}", self.1)).arg(value);
            set.exec_async(&mut self.0).await.unwrap();
        }

        pub(crate) async fn forget(&mut self, key: &str) {
            let mut forget = redis::cmd("DEL");
            forget.arg(format!("{}:{key}", self.1));
            forget.exec_async(&mut self.0).await.unwrap();
        }

        async fn lifetime(&mut self, key: &str) -> i64 {
            let mut ask = redis::cmd("PTTL");
            ask.arg(format!("{}:{key}", self.1));
            ask.query_async(&mut self.0).await.unwrap()
        }
    }

    const WORK: &str = "work:v2:1";

    #[tokio::test(flavor = "multi_thread")]
    async fn foreign_values_count_as_absent() {
        let prefix = new_prefix();
        let cache = connect(&server_url(), &prefix, OPTIONS, DEADLINE);
        let mut raw = Raw::new(&prefix).await;
        for damaged in [&b""[..], b"\xff\xfe", b"{}", b"3", b"~", b"?x", b"y {}"] {
            cache.clear(&at()).await.unwrap();
            raw.set(WORK, damaged).await;
            assert_eq!(
                cache.look_up(&[WorkId(1)]).await.unwrap().found,
                [EntryOrLease::Nothing]
            );
            cache.refresh(&[(WorkId(1), work(9))]).await.unwrap();
            assert_eq!(
                cache.look_up(&[WorkId(1)]).await.unwrap().found,
                [EntryOrLease::Nothing]
            );
            cache.mark(&at(), &at(), cache.now().await.unwrap()).await.unwrap();
            let found = cache.look_up(&[WorkId(1)]).await.unwrap().found;
            assert!(
                matches!(found[..], [EntryOrLease::Missing(_)]),
                "{damaged:?}: {found:?}"
            );
            raw.set(WORK, damaged).await;
            cache
                .put(&[(WorkId(1), work(1))], cache.now().await.unwrap())
                .await
                .unwrap();
            assert_eq!(
                cache.look_up(&[WorkId(1)]).await.unwrap().found,
                [EntryOrLease::Entry(work(1))]
            );
        }
        raw.set(WORK, b"3 {\"id\":1}").await;
        assert_eq!(
            cache.look_up(&[WorkId(1)]).await.unwrap().found,
            [EntryOrLease::Nothing]
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_in_place_of_a_work_counts_as_absent() {
        let prefix = new_prefix();
        let cache = connect(&server_url(), &prefix, OPTIONS, DEADLINE);
        let mut raw = Raw::new(&prefix).await;
        let mut push = redis::cmd("RPUSH");
        push.arg(format!("{prefix}:{WORK}")).arg("a").arg("b");
        push.exec_async(&mut raw.0).await.unwrap();
        assert_eq!(
            cache.look_up(&[WorkId(1)]).await.unwrap().found,
            [EntryOrLease::Nothing]
        );
        cache.refresh(&[(WorkId(1), work(1))]).await.unwrap();
        cache.fill(&[(WorkId(1), Lease(1), work(1))]).await.unwrap();
        cache
            .put(&[(WorkId(1), work(2))], cache.now().await.unwrap())
            .await
            .unwrap();
        assert_eq!(
            cache.look_up(&[WorkId(1)]).await.unwrap().found,
            [EntryOrLease::Entry(work(2))]
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn foreign_positions_and_codes_count_as_absent() {
        let prefix = new_prefix();
        let cache = connect(&server_url(), &prefix, OPTIONS, DEADLINE);
        let mut raw = Raw::new(&prefix).await;
        raw.set("feed:v2:position", b"\xff").await;
        raw.set("feed:v1:fresh", b"soon").await;
        raw.set("code:v3:api-bjq8euwsEA", b"\xff").await;
        assert_eq!(cache.position().await.unwrap(), None);
        assert!(!cache.look_up(&[]).await.unwrap().fresh);
        let now = cache.now().await.unwrap();
        assert_eq!(cache.mark(&at(), &at(), now).await.unwrap(), Marked::Nowhere);
        assert_eq!(cache.by_codes(&[code()]).await.unwrap(), [None]);
        let provisional = ByCode::Provisional(Provisional {
            message_id: "demand".to_owned().try_into().unwrap(),
            work_code: code(),
            kind: KindName::default(),
            args: AddUpTo::MIN.args(),
            unique: None,
            created_on: 5,
        });
        cache.put_codes(&[(code(), provisional.clone())]).await.unwrap();
        assert_eq!(cache.by_codes(&[code()]).await.unwrap(), [Some(provisional)]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_entry_has_its_lifetime() {
        let prefix = new_prefix();
        let cache = connect(&server_url(), &prefix, OPTIONS, DEADLINE);
        let mut raw = Raw::new(&prefix).await;
        cache.clear(&at()).await.unwrap();
        assert_eq!(raw.lifetime("feed:v2:position").await, -1, "the place stays");
        cache.mark(&at(), &at(), cache.now().await.unwrap()).await.unwrap();
        // The remaining lifetime may be shorter by the time this machine was busy.
        let about = |lifetime: i64, from: i64, to: i64| (from - 20_000..=to).contains(&lifetime);
        assert!(about(raw.lifetime("feed:v1:fresh").await, 120_000, 120_000));
        cache
            .put(&[(WorkId(1), work(1))], cache.now().await.unwrap())
            .await
            .unwrap();
        assert!(about(raw.lifetime(WORK).await, 60_000, 60_000), "not confirmed");
        cache.refresh(&[(WorkId(1), work(1))]).await.unwrap();
        assert!(about(raw.lifetime(WORK).await, 540_000, 660_000), "confirmed");
        cache
            .put(&[(WorkId(1), work(2))], cache.now().await.unwrap())
            .await
            .unwrap();
        assert!(
            about(raw.lifetime(WORK).await, 540_000, 660_000),
            "put over the confirmed"
        );
        cache.look_up(&[WorkId(2)]).await.unwrap();
        let lease = raw.lifetime("work:v2:2").await;
        assert!(lease <= 2_000 && lease != -1, "a lease ends: {lease}");
        let known = ByCode::Id(WorkId(1));
        cache.put_codes(&[(code(), known)]).await.unwrap();
        assert!(about(raw.lifetime("code:v3:api-bjq8euwsEA").await, 540_000, 660_000));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clearing_takes_the_prefix_literally() {
        let prefix = new_prefix();
        let wild = connect(&server_url(), &format!("{prefix}*[a-z]?"), OPTIONS, DEADLINE);
        let plain = connect(&server_url(), &format!("{prefix}-ax"), OPTIONS, DEADLINE);
        for cache in [&wild, &plain] {
            cache.put(&[(WorkId(1), Entry::Deleted)], Moment(0)).await.unwrap();
        }
        wild.clear(&at()).await.unwrap();
        assert_eq!(wild.present(&[WorkId(1)]).await.unwrap(), [false]);
        assert_eq!(plain.present(&[WorkId(1)]).await.unwrap(), [true]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_wrong_password_is_reported_without_repeating_it() {
        let mut url = url::Url::parse(&server_url()).unwrap();
        assert!(url.password().is_some(), "the test needs a server with a password");
        url.set_password(Some("hunter2")).unwrap();
        let cache = connect(url.as_str(), &new_prefix(), OPTIONS, DEADLINE);
        for error in all_errors(&cache).await {
            assert!(matches!(error, CacheError::Rejected(_)), "{error:?}");
            assert!(error.to_string().contains("authentication failed"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_starts_late_is_found() {
        for before in [
            Door::Closed,
            Door::Silent,
            Door::Says(b"-ERR max number of clients reached\r\n"),
        ] {
            let (url, door, server) = door_to_server(before).await;
            let cache = connect(&url, &new_prefix(), OPTIONS, Duration::from_millis(500));
            all_errors(&cache).await;
            door.send_replace(Door::Open(server));
            until_it_answers(&cache).await;
            cache.clear(&at()).await.unwrap();
            assert_eq!(cache.position().await.unwrap(), Some(at()));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cut_connection_is_reopened_unnoticed() {
        let (proxy, url) = Proxy::to_url(&Handle::current(), &server_url()).unwrap();
        let cache = connect(&url, &new_prefix(), OPTIONS, DEADLINE);
        cache.clear(&at()).await.unwrap();
        for _ in 0..3 {
            proxy.cut();
            assert_eq!(cache.position().await.unwrap(), Some(at()));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_frozen_server_is_unavailable_until_it_thaws() {
        let (proxy, url) = Proxy::to_url(&Handle::current(), &server_url()).unwrap();
        let cache = connect(&url, &new_prefix(), OPTIONS, Duration::from_millis(500));
        until_it_answers(&cache).await;
        proxy.set(Flow::Frozen);
        for error in all_errors(&cache).await {
            assert!(matches!(error, CacheError::Unavailable(_)), "{error:?}");
        }
        proxy.set(Flow::Open);
        until_it_answers(&cache).await;
    }

    #[tokio::test]
    async fn a_server_tells_its_name_and_version() {
        let cache = connect(&server_url(), &new_prefix(), OPTIONS, Duration::from_secs(5));
        let server = cache.server().await.unwrap().unwrap();
        let version = server.strip_prefix("Redis ").or_else(|| server.strip_prefix("Valkey "));
        let major: u32 = version.unwrap().split('.').next().unwrap().parse().unwrap();
        assert!(major >= 7, "{server}");
    }
}
