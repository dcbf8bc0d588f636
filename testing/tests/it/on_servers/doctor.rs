//! `cli_01 doctor` on servers: versions, queues and their policies, the pooler and certificates.

use std::time::Duration;

use pp_testkit::certificates::Authority;
use pp_testkit::client::Api;
use pp_testkit::ports;
use pp_testkit::servers::{Kind, PrivateServers};

use super::place::{Place, server, until};
use super::policies::with_policy;
use super::pooler::pooler;
use crate::doctor::Found;
use crate::program::Program;

/// The doctor of a place.
fn doctor(place: &Place) -> Program {
    Program::new("cli_01")
        .set("PP_DATABASE_URL", place.database())
        .set("PP_BROKER_URL", &place.rabbitmq)
        .set("PP_QUEUE_PREFIX", &place.prefix)
        .set("PP_CACHE_URL", server(Kind::Redis))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_is_well_until_messages_wait_without_a_consumer() {
    let place = Place::new().await;
    let [port] = ports::free().unwrap();
    let api = Api::at(port);
    let mut service = place
        .service("pp_backend_api")
        .set("PP_API_BIND", format!("127.0.0.1:{port}"))
        .set("PP_CACHE_URL", server(Kind::Redis))
        .set("PP_CACHE_PREFIX", &place.prefix)
        .start();
    service.gets_ready(&api);
    let (health, worker) = place.service("task_consumer").start_ready();
    assert!(health.is_ready());
    let look = || Found::by(doctor(&place).set("PP_API_URL", format!("http://127.0.0.1:{port}")));
    let well = look();
    assert_eq!(well.code(), 0, "{well:?}");
    for (check, words) in [
        ("API", "is ready"),
        ("database", "PostgreSQL 1"),
        ("database clock", "the same as here"),
        ("database writes", "takes changes"),
        ("broker", "RabbitMQ "),
        ("queues", "no message waits without a consumer"),
        ("cache", " "),
        ("kinds", "none waits for a worker"),
    ] {
        well.has(check, "ok", words);
    }
    well.has("queue policies", "note", "PP_BROKER_MANAGEMENT_URL");

    assert_eq!(worker.terminate().code, Some(0));
    place
        .publish_as_a_stranger(&[br#"{"add_up_to":5}"#.to_vec(), br#"{"add_up_to":6}"#.to_vec()])
        .await;
    until("the messages wait", Duration::from_secs(20), async || {
        place.waiting().await == 2
    })
    .await;
    let waiting = look();
    assert_eq!(waiting.code(), 1, "{waiting:?}");
    let queue = format!("queue {}.demand", place.prefix);
    waiting.has(&queue, "wrong", "2 messages wait, and nobody takes them");
    assert_eq!(place.waiting().await, 2, "the look took messages");
    service.terminate();
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_are_not_there_are_not_made_by_a_look() {
    let place = Place::new().await;
    for _ in 0..2 {
        let found = Found::by(doctor(&place).args("--call-type db"));
        assert_eq!(found.code(), 0, "{found:?}");
        found.has(&format!("queue {}.demand", place.prefix), "note", "not there yet");
    }
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_drops_messages_is_wrong() {
    let (place, _servers, management, _api, _process) = with_policy(r#"{"max-length":5}"#).await;
    let look = || {
        let doctor = doctor(&place).set("PP_BROKER_MANAGEMENT_URL", &management);
        Found::by(doctor.args("--call-type db"))
    };
    // The management API does not know the policy of a queue in its first seconds.
    until("the policy is seen", Duration::from_secs(30), async || {
        look().document.to_string().contains("max-length")
    })
    .await;
    let found = look();
    assert_eq!(found.code(), 1, "{found:?}");
    found.has("queue policies", "wrong", "max-length");
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_shares_sessions_is_wrong_without_the_server_itself() {
    let place = Place::new().await;
    let (_pooler, url) = pooler(&place, "transaction", 4);
    let doctor = || doctor(&place).args("--call-type db").set("PP_DATABASE_URL", &url);
    let alone = Found::by(doctor());
    assert_eq!(alone.code(), 1, "{alone:?}");
    alone.has("database", "wrong", "PP_DATABASE_DIRECT_URL");
    let both = Found::by(doctor().set("PP_DATABASE_DIRECT_URL", place.database()));
    assert_eq!(both.code(), 0, "{both:?}");
    both.has("pooler", "ok", "lead to one database");
    place.leave().await;
}

#[test]
fn certificates_of_servers_that_end_soon_are_wrong() {
    let authority = Authority::new().unwrap();
    let days = Duration::from_secs(24 * 3600);
    let certificate = authority.certify_for(3 * days + days / 2, &["localhost"]).unwrap();
    let servers = PrivateServers::temporary_with_tls(&Kind::ALL, certificate).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let [database, broker, cache] =
        [Kind::Postgres, Kind::RabbitMq, Kind::Redis].map(|kind| servers.url(kind).unwrap());
    let program = |name: &str| {
        Program::new(name)
            .set("PP_DATABASE_URL", &database)
            .set("PP_BROKER_URL", &broker)
            .set("PP_CACHE_URL", &cache)
            .set("PP_TLS_CA", &file)
    };
    assert_eq!(program("pp_storage").args("migrate").run().code, Some(0));
    let found = Found::by(program("cli_01").args("--call-type db"));
    assert_eq!(found.code(), 1, "{found:?}");
    for check in ["database TLS", "broker TLS", "cache TLS"] {
        found.has(check, "wrong", "ends in 3 days");
    }
}
