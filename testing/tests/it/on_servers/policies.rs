//! Policies of RabbitMQ that drop messages which were confirmed: what is lost by one is sent again, the one in the manual
//! loses nothing, and PP says so where it can see them.

use std::time::Duration;

use pp_testkit::ports;
use pp_testkit::servers::{Kind, PrivateServers};

use super::place::{Place, server, until};
use crate::program::Process;
use pp_testkit::client::Api;

const MANUAL: &str = include_str!("../../../../docs/operating.md");
/// Demands that vanished are looked for a minute after they were accepted, and after each time they were sent again.
const LIMIT: Duration = Duration::from_secs(300);

/// Sets a policy for all queues.
fn set_policy(servers: &PrivateServers, definition: &str) {
    let words = ["set_policy", "--apply-to", "queues", "test", ".*", definition];
    servers.rabbitmqctl(&words).unwrap();
}

/// A place on a RabbitMQ of its own with such a policy, the management API there, and an API that may ask it.
pub(super) async fn with_policy(definition: &str) -> (Place, PrivateServers, String, Api, Process) {
    let servers = PrivateServers::temporary(&[Kind::RabbitMq]).unwrap();
    let url = servers.url(Kind::RabbitMq).unwrap();
    set_policy(&servers, definition);
    let [management, port] = ports::free().unwrap();
    let listening = format!(
        "application:load(rabbitmq_management), \
         application:set_env(rabbitmq_management, tcp_config, [{{port, {management}}}, {{ip, \"127.0.0.1\"}}]), \
         ok = rabbit:start_apps([rabbitmq_management], #{{rabbitmq_management => permanent}})."
    );
    servers.rabbitmqctl(&["eval", &listening]).unwrap();
    let (_, login) = url.split_once("//").unwrap();
    let (login, _) = login.split_once('@').unwrap();
    let management = format!("http://{login}@127.0.0.1:{management}");

    let place = Place::with_broker(url.clone()).await;
    let api = Api::at(port);
    let mut process = place
        .service("pp_backend_api")
        .set("PP_API_BIND", format!("127.0.0.1:{port}"))
        .set("PP_CACHE_URL", server(Kind::Redis))
        .set("PP_CACHE_PREFIX", &place.prefix)
        .set("PP_BROKER_MANAGEMENT_URL", &management)
        .start();
    process.gets_ready(&api);
    (place, servers, management, api, process)
}

/// Waits until the health page shows the policies like this.
fn policies_are(api: &Api, service: &mut Process, state: &str) {
    service.is_seen_to(&format!("find the policies {state}"), |_| {
        let page = api.try_get("/health/ready").unwrap().body;
        page.contains(&format!(r#"{{"name":"queue policies","state":"{state}""#))
    });
}

/// Starts a worker and waits until all of these demands are done, and nothing else.
async fn all_are_done(place: &Place, accepted: usize) {
    let worker = place.service("task_consumer").start();
    let accepted = i64::try_from(accepted).unwrap();
    until("everything that was accepted is done", LIMIT, async || {
        place.ledger.done().await.unwrap() >= accepted && place.waiting().await == 0
    })
    .await;
    assert_eq!(worker.terminate().code, Some(0));
    place.all_done(accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_demands_that_a_policy_dropped_are_done_in_the_end() {
    let (place, servers, _, api, mut service) = with_policy(r#"{"max-length":5}"#).await;
    for bound in 1..=12 {
        api.demand(&format!(r#"{{"add_up_to":{bound}}}"#), None);
    }
    until("the oldest are dropped", LIMIT, async || place.waiting().await == 5).await;
    policies_are(&api, &mut service, "degraded");
    all_are_done(&place, 12).await;
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0));
    for said in [
        "by policy: ",
        "max-length 5 without overflow reject-publish",
        "are sent again",
    ] {
        assert!(ended.stderr.contains(said), "{said:?} is missing: {}", ended.stderr);
    }
    let url = servers.url(Kind::RabbitMq).unwrap();
    let password = url.split(['@', ':']).nth(2).unwrap();
    assert!(!ended.stderr.contains(password), "{}", ended.stderr);
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_bound_in_the_manual_what_does_not_fit_is_refused_and_the_rest_is_done() {
    let bounded = MANUAL.lines().find(|line| line.contains(r#""max-length":1000000"#));
    let definition = bounded.and_then(|line| line.split('\'').rev().nth(1)).unwrap();
    let (place, _servers, _, api, mut service) = with_policy(&definition.replace("1000000,", "5,")).await;
    policies_are(&api, &mut service, "up");
    let mut accepted = 0;
    until("a demand is refused", LIMIT, async || {
        let answer = api.try_demand("{}", None).unwrap();
        match answer.status {
            202 => {
                accepted += 1;
                false
            }
            503 => true,
            _ => panic!("{answer:?}"),
        }
    })
    .await;
    assert!(accepted >= 5, "{accepted} were accepted");
    all_are_done(&place, accepted).await;
    assert_eq!(service.terminate().code, Some(0));
    place.leave().await;
}
