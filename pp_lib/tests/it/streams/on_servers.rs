//! With PostgreSQL: transactions that stay open, and a listener that is cut off.

use super::*;

/// One transaction is open in this database, and one in another database of the server.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_delays_only_its_own_streamed_events() {
    let (store, database) = crate::store::on_servers::fresh().await;
    let (_, other) = crate::store::on_servers::fresh().await;
    let place = Place::new(store, StreamsOptions::default());
    let first = place.create(1).await.remove(0);
    let (mut live, beginning) = place.started(Filter::default()).await;
    let clients = [database.client().await, other.client().await];
    for client in &clients {
        client
            .batch_execute("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
    }
    let event = "INSERT INTO events (work_id, generation, variable) VALUES ($1, 1, 'compute/start')";
    clients[0].execute(event, &[&first.id.0]).await.unwrap();
    let mut works = Vec::new();
    for _ in 0..5 {
        works.push(place.create(1).await.remove(0).id);
        let heard = change(&mut live).await.1;
        assert_eq!(Some(&heard.work_id), works.last());
    }
    for client in &clients {
        client.batch_execute("COMMIT").await.unwrap();
    }
    let (position, heard) = change(&mut live).await;
    assert_eq!((heard.work_id, heard.variable.as_str()), (first.id, "compute/start"));
    // Reconnected clients get it as well, and nothing twice.
    let mut late = place.subscribe(Some(beginning));
    next(&mut late).await;
    let mut seen: Vec<_> = changes(&mut late, 6)
        .await
        .iter()
        .map(|(_, change)| change.work_id)
        .collect();
    seen.sort_unstable();
    works.insert(0, first.id);
    assert_eq!(seen, works);
    let mut up_to_date = place.subscribe(Some(position));
    next(&mut up_to_date).await;
    let work = place.create(1).await.remove(0);
    assert_eq!(change(&mut up_to_date).await.1.work_id, work.id);
}

/// Transactions overlap, and a client is cut again and again at random.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_client_beside_open_transactions_gets_everything_once_and_in_the_order_of_its_work() {
    const EVENTS: i64 = 40;
    let (store, database) = crate::store::on_servers::fresh().await;
    let options = StreamsOptions {
        page: 5,
        ..StreamsOptions::default()
    };
    let place = Place::new(store, options);
    let works = place.create(4).await;
    let (_, beginning) = place.started(Filter::default()).await;
    let mut writing = Vec::new();
    for work in works.iter().chain(&works) {
        let (client, work, feed) = (database.client().await, work.id.0, place.feed.clone());
        writing.push(tokio::spawn(async move {
            for _ in 0..EVENTS {
                client
                    .batch_execute("BEGIN; SELECT pg_current_xact_id()")
                    .await
                    .unwrap();
                let pause = rand::rng().random_range(0..4);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let row = "UPDATE works SET version = version + 1 WHERE id = $1";
                client.execute(row, &[&work]).await.unwrap();
                let event = "INSERT INTO events (work_id, generation, variable) VALUES ($1, 1, 'compute/start')";
                client.execute(event, &[&work]).await.unwrap();
                client.batch_execute("COMMIT").await.unwrap();
                feed.poke();
            }
        }));
    }
    let (mut seen, mut after) = (Vec::new(), beginning);
    let expected = usize::try_from(EVENTS).unwrap() * writing.len();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < expected {
        assert!(Instant::now() < deadline, "{} of {expected} events", seen.len());
        let mut subscription = place.subscribe(Some(after.clone()));
        assert_eq!(next(&mut subscription).await, Some(Message::Started(after.clone())));
        for _ in 0..rand::rng().random_range(0..30) {
            let Ok(message) = timeout(Duration::from_millis(20), subscription.next()).await else {
                break;
            };
            let Some(Message::Change(bytes)) = message else { break };
            let (position, change) = read(&bytes);
            seen.push((change.work_id, change.id));
            after = position;
        }
    }
    for writer in writing {
        writer.await.unwrap();
    }
    for work in works {
        let told: Vec<i64> = seen
            .iter()
            .filter(|(of, _)| *of == work.id)
            .map(|(_, id)| *id)
            .collect();
        let history = place.store.events(work.id).await.unwrap().unwrap();
        let started = history.iter().skip(1).map(|event| event.id);
        assert_eq!(told, started.collect::<Vec<_>>());
    }
}

/// The listening connection is terminated repeatedly, and changes still arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_listener_costs_no_change() {
    let (store, database) = crate::store::on_servers::fresh().await;
    let feed: AnyFeed = Arc::new(PostgresFeed::connect(&database.url, &pp_lib::tls::Trust::default()).unwrap());
    let shutdown = CancellationToken::new();
    let streams = Streams::start(store.clone(), feed, StreamsOptions::default(), shutdown);
    let mut live = streams.subscribe(Filter::default(), None).unwrap();
    assert!(matches!(next(&mut live).await, Some(Message::Started(_))));
    let client = database.client().await;
    for _ in 0..5 {
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pp feed'";
        client.query(terminate, &[]).await.unwrap();
        let work = create(&store, 1).await.remove(0);
        assert_eq!(change(&mut live).await.1.work_id, work.id);
    }
}
