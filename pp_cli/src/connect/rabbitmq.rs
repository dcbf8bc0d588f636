//! RabbitMQ, and its management API.

use std::sync::Arc;
use std::time::Duration;

use pp_lib::broker::rabbitmq::{Management, RabbitMq, RabbitMqConfig};
use pp_lib::broker::{AnyBroker, BrokerError};
use pp_lib::tls::Trust;

use super::wait::wait_for;
use super::{StartError, wrong};
use crate::config::{BrokerArgs, Secret};

pub(super) async fn broker(
    url: &Secret,
    args: &BrokerArgs,
    trust: &Trust,
    max_wait: Duration,
) -> Result<AnyBroker, StartError> {
    check_management(args, url, trust)?;
    let connect = || RabbitMq::connect(url.expose(), args.queue_names(), config(args, trust));
    let broker = wait_for("RabbitMQ", max_wait, connect, |error| {
        matches!(error, BrokerError::Unavailable(_))
    })
    .await;
    broker
        .map(|broker| Arc::new(broker) as AnyBroker)
        .map_err(|missed| missed.of("PP_BROKER_URL"))
}

pub(super) fn broker_when_needed(url: &Secret, args: &BrokerArgs, trust: &Trust) -> Result<AnyBroker, StartError> {
    check_management(args, url, trust)?;
    match RabbitMq::without_connection(url.expose(), args.queue_names(), config(args, trust)) {
        Ok(broker) => Ok(Arc::new(broker)),
        Err(error) => Err(wrong("PP_BROKER_URL", error.to_string())),
    }
}

fn config(args: &BrokerArgs, trust: &Trust) -> RabbitMqConfig {
    RabbitMqConfig {
        management: args.management_url().map(|url| url.expose().to_owned()),
        trust: trust.clone(),
        ..RabbitMqConfig::default()
    }
}

/// Reports an invalid management address under its own variable.
fn check_management(args: &BrokerArgs, broker: &Secret, trust: &Trust) -> Result<(), StartError> {
    let Some(url) = args.management_url() else {
        return Ok(());
    };
    let management = Management::new(url.expose(), broker.expose(), trust);
    management
        .map(|_| ())
        .map_err(|error| wrong("PP_BROKER_MANAGEMENT_URL", error.to_string()))
}
