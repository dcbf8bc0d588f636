//! How long one sum takes, one after the other at a low rate: nothing waits, and nothing is shared.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pp_lib::domain::KindName;
use pp_lib::runtime::new_message_id;
use serde_json::Value;

use super::finishes::{self, Key};
use super::http::Connection;
use super::queue::Queues;
use super::stand::Stand;
use super::watcher::Watcher;
use super::{Line, Plan, Samples, load};
use pp_testkit::servers::Kind;

const PER_SECOND: u32 = 100;
const LIMIT: Duration = Duration::from_secs(20);
/// Connections open and statements planned before the clock of the embedded program starts.
const WARMING: Duration = Duration::from_secs(1);
const ARGS: &str = r#"{"add_up_to":42,"done":false}"#;

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let (mut published, mut posted, mut embedded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        published.push(message(stand, plan.time)?);
        posted.push(post(stand, plan.time)?);
        embedded.push(standalone(stand, plan.time)?);
    }
    let seen = "until a look at the database, one in each millisecond, sees the work done";
    let mut lines = Vec::from(finishes::lines(
        "one sum at 100/s, message to events",
        &published,
        format!("from when the message was due {seen}; RabbitMQ, one consumer, PostgreSQL"),
    ));
    lines.extend(finishes::lines(
        "one sum at 100/s, POST to done; API and consumer",
        &posted,
        format!("from when the request was due {seen}, and not before its answer"),
    ));
    lines.extend(finishes::lines(
        "one sum at 100/s, POST to done; standalone",
        &embedded,
        "from when the request was due until /stream tells the result, and not before its answer: its database is its own",
    ));
    Ok(lines)
}

fn message(stand: &Stand, time: Duration) -> Result<Samples> {
    let place = stand.place("single")?;
    let url = stand.servers.url(Kind::RabbitMq)?;
    let times = stand.runtime.block_on(async {
        let queues = Arc::new(Queues::declare(&url, &place.queues, &[KindName::default()]).await?);
        let _consumer = stand.service("single-consumer", "task_consumer", stand.variables(&place)?)?;
        finishes::times(&place.database, PER_SECOND, time, Key::MessageId, |begun, due| {
            let queues = Arc::clone(&queues);
            async move {
                let message_id = new_message_id();
                let _ = begun.send((message_id.as_str().to_owned(), due));
                queues.put(KindName::add_up_to(), message_id, ARGS.to_owned()).await
            }
        })
        .await
    })?;
    stand.leave(place)?;
    Ok(times)
}

fn post(stand: &Stand, time: Duration) -> Result<Samples> {
    let place = stand.place("single_post")?;
    let variables = stand.variables(&place)?;
    let consumer = stand.service("single-post-consumer", "task_consumer", variables.clone())?;
    let api = stand.api("single-api", "pp_backend_api", variables)?;
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let times = stand.runtime.block_on(finishes::times(
        &place.database,
        PER_SECOND,
        time,
        Key::WorkCode,
        |begun, due| {
            let (idle, port) = (Arc::clone(&idle), api.port);
            async move {
                let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut connection = match free {
                    Some(connection) => connection,
                    None => Connection::open(port).await?,
                };
                let reply = connection.post("/work", "{}").await?;
                ensure!(reply.status == 200, "a work is answered with {}", reply.status);
                let work: Value = serde_json::from_slice(&reply.body)?;
                let code = work["work_code"].as_str().context("a work without a code")?;
                let _ = begun.send((code.to_owned(), due));
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                Ok(())
            }
        },
    ))?;
    drop((consumer, api));
    stand.leave(place)?;
    Ok(times)
}

fn standalone(stand: &Stand, time: Duration) -> Result<Samples> {
    let api = stand.api("single-standalone", "pp_standalone", stand.embedded("single"))?;
    stand.runtime.block_on(async {
        let watcher = Watcher::of_results(api.port).await?;
        load::post(api.port, 1, PER_SECOND, WARMING).await?;
        let posted = load::post(api.port, 1, PER_SECOND, time).await?;
        let done = watcher.times(&posted, LIMIT).await?;
        let times = posted.iter().zip(done).map(|(one, done)| one.answered - one.due + done);
        Ok(times.collect())
    })
}
