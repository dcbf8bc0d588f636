//! RabbitMQ: its version and certificate, and the queues with their policies.

use pp_cli::config::{BrokerArgs, BrokerUrl};
use pp_cli::connect;
use pp_lib::broker::queues::NamesOfKind;
use pp_lib::broker::{AnyBroker, BrokerError, FoundQueue, Queue};
use pp_lib::domain::KindName;
use serde_json::Value;

use super::tls::Place;
use super::{Checked, Doctor, is_at_least, tls};
use crate::failure::one_line;

/// The oldest version that PP is tested with.
const RABBITMQ: (u32, u32) = (3, 10);
const PORT: u16 = 5671;

/// What the policy of a kind says about its queues.
struct OfKind {
    name: KindName,
    demands: Option<String>,
    dead_letters: Option<String>,
}

impl Doctor {
    /// Looks at the broker, and at the queues of these kinds.
    pub(super) async fn look_at_broker(
        &self,
        checked: &mut Checked,
        address: &BrokerUrl,
        args: &BrokerArgs,
        kinds: Option<&[Value]>,
    ) {
        let url = match address {
            BrokerUrl::Database => return checked.ok("broker", "none: consumers claim works from the database"),
            BrokerUrl::Memory => return checked.ok("broker", "none: the queues are within one process"),
            BrokerUrl::RabbitMq(url) => url,
        };
        let broker = match connect::broker_when_needed(address, args, &self.trust) {
            Ok(broker) => broker,
            Err(error) => return checked.wrong("broker", error.to_string(), "correct that variable"),
        };
        let kinds: Vec<OfKind> = kinds.unwrap_or_default().iter().filter_map(of_kind).collect();
        let names = kinds.iter().map(|kind| NamesOfKind {
            kind: &kind.name,
            demands: kind.demands.as_deref(),
            dead_letters: kind.dead_letters.as_deref(),
        });
        broker.name_queues(&names.collect::<Vec<_>>());
        let others = kinds.iter().map(|kind| &kind.name).filter(|kind| !kind.is_add_up_to());
        let demands = std::iter::once(KindName::add_up_to()).chain(others);
        let demands = demands.map(|kind| Queue::Demand(kind.clone()));
        let letters = broker.dead_letter_queues().into_iter().map(|(queue, _)| queue);
        let queues: Vec<Queue> = demands.chain(letters).collect();
        if !inspect(checked, &broker, &queues).await {
            return;
        }
        if let Some(place) = Place::of(url.expose(), PORT).filter(|_| url.expose().starts_with("amqps:")) {
            tls::report(checked, "broker TLS", &place, false, &self.trust, self.timeout);
        }
        policies(checked, &broker).await;
    }
}

/// A kind whose works go through a queue.
fn of_kind(kind: &Value) -> Option<OfKind> {
    if kind["delivery"] != "queue" || kind["is_declared"] == false {
        return None;
    }
    let name = kind["name"].as_str()?.parse().ok()?;
    let queue = |field: &str| kind["policy"][field].as_str().map(str::to_owned);
    Some(OfKind {
        name,
        demands: queue("queue"),
        dead_letters: queue("dead_letter_queue"),
    })
}

/// Reports the server and each queue that has messages and nobody who takes them. False if there is no answer.
async fn inspect(checked: &mut Checked, broker: &AnyBroker, queues: &[Queue]) -> bool {
    let found = match broker.inspect(queues).await {
        Ok(Some(found)) => found,
        Ok(None) => return false,
        Err(error @ BrokerError::Rejected(_)) => {
            checked.wrong(
                "broker",
                format!("PP_BROKER_URL: {error}"),
                "correct login, virtual host or TLS",
            );
            return false;
        }
        Err(error) => {
            let advice = "start it, or name another one with PP_BROKER_URL";
            checked.unavailable("broker", format!("PP_BROKER_URL: {error}"), advice);
            return false;
        }
    };
    let server = format!("RabbitMQ {}", one_line(&found.version));
    match is_at_least(&found.version, RABBITMQ) {
        true => checked.ok("broker", server),
        false => checked.wrong(
            "broker",
            server,
            "upgrade it: PP is tested with RabbitMQ 3.10 and later",
        ),
    }
    let before = checked.0.len();
    for queue in &found.queues {
        look_at_queue(checked, queue);
    }
    if checked.0.len() == before {
        checked.ok(
            "queues",
            format!("{} looked at; no message waits without a consumer", found.queues.len()),
        );
    }
    true
}

fn look_at_queue(checked: &mut Checked, queue: &FoundQueue) {
    let check = format!("queue {}", queue.name);
    match queue.state {
        None => checked.note(
            &check,
            "not there yet",
            "none needed: the first program that uses it makes it",
        ),
        Some(state) if state.ready > 0 && state.consumers == 0 => checked.wrong(
            &check,
            match state.ready {
                1 => "one message waits, and nobody takes it".to_owned(),
                count => format!("{count} messages wait, and nobody takes them"),
            },
            "start a task_consumer, or look why it is not ready",
        ),
        Some(_) => {}
    }
}

async fn policies(checked: &mut Checked, broker: &AnyBroker) {
    match broker.dropping().await {
        Ok(Some(dropping)) if dropping.is_empty() => checked.ok("queue policies", "none drops messages"),
        Ok(Some(dropping)) => checked.wrong(
            "queue policies",
            one_line(&dropping.join("; ")),
            "change them with `rabbitmqctl set_policy`: PP loses works that they drop",
        ),
        Ok(None) => checked.note(
            "queue policies",
            "not looked at",
            "set PP_BROKER_MANAGEMENT_URL to look for policies that drop messages",
        ),
        Err(error) => checked.wrong(
            "queue policies",
            format!("PP_BROKER_MANAGEMENT_URL: {error}"),
            "correct it, or try again in some seconds if the queues are new",
        ),
    }
}
