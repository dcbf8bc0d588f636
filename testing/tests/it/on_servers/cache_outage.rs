//! Redis killed, frozen, emptied, late, or back with old data: reads are answered from the store, whoever changed a work
//! never reads an older one, and the cache is used again by itself.

use std::thread;
use std::time::{Duration, Instant};

use pp_testkit::servers::{Kind, PrivateServers, redis_command};
use pp_testkit::{ports, wait};
use serde_json::Value;

use super::place::Place;
use crate::owners::Owners;
use crate::program::Process;
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(30);
/// `PP_STALENESS` of the services: its default.
const BOUND: Duration = Duration::from_secs(1);
/// Longer than a lease to fill in, and than the bound.
const FROZEN: Duration = Duration::from_secs(3);

/// An API and a worker on a Redis of their own.
struct Outage {
    place: Place,
    servers: PrivateServers,
    api: Api,
    service: Process,
    worker: Process,
    /// Nobody changes it once it is done.
    quiet: i64,
}

impl Outage {
    async fn new(is_late: bool) -> Self {
        let (servers, place) = (PrivateServers::temporary(&[Kind::Redis]).unwrap(), Place::new().await);
        if is_late {
            servers.kill(Kind::Redis).unwrap();
        }
        let url = servers.url(Kind::Redis).unwrap();
        let start = |program: &str, variable: &str, bind: &str| {
            let program = place.service(program).set("PP_CACHE_URL", &url);
            program.set(variable, bind).start()
        };
        let [port] = ports::free().unwrap();
        let mut service = start("pp_backend_api", "PP_API_BIND", &format!("127.0.0.1:{port}"));
        let worker = start("task_consumer", "PP_PROBE_BIND", "off");
        let api = Api::at(port);
        service.gets_ready(&api);
        let quiet = api.post(r#"{"add_up_to":4}"#)["id"].as_i64().unwrap();
        Self {
            place,
            servers,
            api,
            service,
            worker,
            quiet,
        }
    }

    /// What the health page says about the cache, and about the whole.
    fn health(&self) -> (Value, Value) {
        let page = self.api.get("/health/ready");
        let parts = page["parts"].as_array().unwrap();
        let cache = parts.iter().find(|part| part["name"] == "cache").unwrap();
        (cache["state"].clone(), page["status"].clone())
    }

    /// It is known to be away, and the store answers.
    fn is_left_out(&self) {
        let left_out = || self.health() == ("down".into(), "degraded".into());
        assert!(wait::holds_within(LIMIT, left_out), "{:?}", self.health());
        let seen = self.api.see(self.quiet);
        assert_eq!(seen.source, "pp; fwd=bypass", "{seen:?}");
    }

    /// It answers again, by itself.
    fn is_used(&self) {
        let used = || {
            let seen = self.api.see(self.quiet);
            seen.source == "pp; hit" && seen.work["status"] == "done"
        };
        assert!(wait::holds_within(LIMIT, used), "{:?}", self.api.see(self.quiet));
        let ready = || self.health() == ("up".into(), "ready".into());
        assert!(wait::holds_within(LIMIT, ready), "{:?}", self.api.get("/health/ready"));
    }

    /// It answers again, and everybody answers rightly until it does.
    fn is_used_and_never_older_than(&self, changed: &Value) {
        let used = || {
            let seen = self.api.see(self.quiet);
            assert!(
                seen.work["version"].as_i64() >= changed["version"].as_i64(),
                "{changed}, then {seen:?}"
            );
            seen.source == "pp; hit"
        };
        assert!(wait::holds_within(LIMIT, used), "{:?}", self.api.see(self.quiet));
    }

    fn freeze_for(&self, time: Duration, during: impl FnOnce()) {
        let begun = Instant::now();
        self.servers.freeze(Kind::Redis).unwrap();
        during();
        thread::sleep(time.saturating_sub(begun.elapsed()));
        self.servers.thaw(Kind::Redis).unwrap();
    }

    fn command(&self, command: &str) {
        redis_command(&self.servers.url(Kind::Redis).unwrap(), command).unwrap();
    }

    fn kill(&self) {
        self.servers.kill(Kind::Redis).unwrap();
    }

    fn start_again(&self) {
        assert_eq!(self.servers.start(&[Kind::Redis]).unwrap(), [Kind::Redis]);
    }

    async fn end(self) {
        for process in [self.service, self.worker] {
            let ended = process.terminate();
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
        self.place.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_cache_is_left_out_and_used_again() {
    let outage = Outage::new(false).await;
    outage.is_used();
    Owners::work_during(&outage.api, |owners| {
        for _ in 0..3 {
            owners.await_rounds(5);
            outage.kill();
            outage.is_left_out();
            owners.await_rounds(10);
            outage.start_again();
            outage.is_used();
        }
        owners.await_rounds(10);
    });
    outage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_cache_is_left_out_and_used_again() {
    let outage = Outage::new(false).await;
    outage.is_used();
    Owners::work_during(&outage.api, |owners| {
        outage.freeze_for(FROZEN, || {
            outage.is_left_out();
            owners.await_rounds(10);
        });
        outage.is_used();
        owners.await_rounds(10);
    });
    outage.end().await;
}

/// For less than the bound: what it had is still fresh when it goes on, but it was not told what was changed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_stumbles_never_answers_with_what_was_changed_meanwhile() {
    let outage = Outage::new(false).await;
    Owners::work_during(&outage.api, |owners| {
        for add_up_to in 5..20 {
            outage.is_used();
            outage.servers.freeze(Kind::Redis).unwrap();
            outage.is_left_out();
            let changed = outage.api.patch(outage.quiet, add_up_to);
            outage.servers.thaw(Kind::Redis).unwrap();
            outage.is_used_and_never_older_than(&changed);
            owners.await_rounds(2);
        }
    });
    outage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_emptied_again_and_again_is_filled_again_and_again() {
    let outage = Outage::new(false).await;
    outage.is_used();
    Owners::work_during(&outage.api, |owners| {
        for _ in 0..50 {
            outage.command("FLUSHALL");
            owners.await_rounds(1);
        }
        outage.is_used();
        owners.await_rounds(10);
    });
    outage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_comes_back_with_old_data_is_brought_up_to_date_first() {
    let outage = Outage::new(false).await;
    outage.is_used();
    Owners::work_during(&outage.api, |owners| {
        owners.await_rounds(5);
        outage.command("SAVE");
        let saved = Instant::now();
        let changed = outage.api.patch(outage.quiet, 5);
        owners.await_rounds(10);
        // What was fresh when it was saved is not any more.
        thread::sleep(BOUND.saturating_sub(saved.elapsed()));
        outage.kill();
        outage.start_again();
        outage.is_used_and_never_older_than(&changed);
        outage.is_used();
        owners.await_rounds(10);
    });
    let seen = outage.api.see(outage.quiet);
    assert_eq!(seen.work["add_up_to"], 5, "{seen:?}");
    outage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_comes_later_than_the_api_is_used_from_then_on() {
    let outage = Outage::new(true).await;
    outage.is_left_out();
    Owners::work_during(&outage.api, |owners| {
        owners.await_rounds(10);
        outage.start_again();
        outage.is_used();
        owners.await_rounds(10);
    });
    outage.end().await;
}
