//! With PostgreSQL and RabbitMQ: copies of demands, lost confirmations and marks, changes while a work is under way.

use super::counting_broker::CountingBroker;
use super::*;
use crate::foreign::QueuesOfOneTest;
use crate::postgres::Database;
use pp_lib::broker::Queue;
use pp_lib::domain::{Json, KindName, Principal};

const RANGE: Duration = Duration::from_secs(6 * 3600);

struct Place {
    database: Database,
    queues: QueuesOfOneTest,
    store: AnyStore,
    broker: AnyBroker,
}

impl Place {
    async fn new() -> Self {
        let (database, queues) = (Database::create().await, QueuesOfOneTest::new().await);
        let store = Arc::new(database.store(4).await);
        let broker = Arc::new(queues.broker().await);
        Self {
            database,
            queues,
            store,
            broker,
        }
    }

    async fn create(&self, bounds: impl IntoIterator<Item = i64>) -> Vec<WorkId> {
        let works = self.store.create_all(&new_works(bounds)).await.unwrap().unwrap();
        works.into_iter().map(|work| work.id).collect()
    }

    /// Demands for rows that are marked as sent.
    async fn demanded_rows(&self, count: i64) -> Vec<Outgoing> {
        self.create(1..=count).await;
        let claims = self.store.claim(&[], None, HOLD, 1000).await.unwrap();
        self.store.mark_sent(&claims).await.unwrap();
        claims.iter().map(of_row).collect()
    }

    async fn history(&self, id: WorkId) -> Vec<Variable> {
        let events = self.store.events(id).await.unwrap().unwrap();
        events.into_iter().map(|event| event.variable).collect()
    }

    async fn until_done(&self, count: i64) {
        let done = "SELECT count(*) FROM works WHERE status = 'done'";
        until("all done", async || self.database.number(done).await == count).await;
    }

    /// Asserts that all `count` works are done and have one result event each.
    async fn assert_each_took_effect_once(&self, count: i64) {
        assert_eq!(self.database.number("SELECT count(*) FROM works").await, count);
        let computed = "SELECT count(*) FROM works WHERE status = 'done' AND '111' = (
            SELECT string_agg(count::text, '') FROM (SELECT count(*) FROM events
                WHERE work_id = works.id AND variable <> 'work/created' GROUP BY variable) AS counts)";
        assert_eq!(self.database.number(computed).await, count);
        let events = "SELECT count(*) FROM events WHERE variable <> 'work/created'";
        assert_eq!(self.database.number(events).await, 3 * count);
    }

    async fn assert_queues_are_empty(&self) {
        for queue in [&Queue::sums(), &Queue::DeadLetter] {
            assert_eq!(self.broker.ready_messages(queue).await.unwrap(), 0, "{queue:?}");
        }
    }

    /// A dispatcher and a consumer of slow works. The consumer's store waits for the test.
    fn flows(&self, computation: impl Handler) -> ([Running; 2], Arc<ScriptedStore>) {
        let between = ScriptedStore::new(self.store.clone());
        let dispatcher = dispatch(self.store.clone(), self.broker.clone(), RANGE);
        let consumer = consume(between.clone(), self.broker.clone(), computation);
        ([dispatcher, consumer], between)
    }

    async fn leave(self, flows: impl IntoIterator<Item = Running>) {
        for flow in flows {
            flow.stop().await;
        }
        self.assert_queues_are_empty().await;
        self.queues.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_demands_at_two_workers_take_effect_once_and_meet_no_deadlock() {
    let place = Place::new().await;
    let (mut workers, mut brokers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let store = place.database.store_by(&place.database.url, 4, HOLD).await;
        let store = ScriptedStore::new(Arc::new(store));
        let broker = Arc::new(CountingBroker::new(Arc::new(place.queues.broker().await)));
        let worker = consume(store.clone(), broker.clone(), Sums);
        until("both of its lanes listen", async || {
            broker.traffic.subscribed.load(Ordering::SeqCst) == 2
        })
        .await;
        workers.push((worker, store));
        brokers.push(broker);
    }
    let mut count = 0;
    // The order of the two workers is random, and each must come second at times.
    let was_second = |(_, store): &(Running, Arc<ScriptedStore>)| {
        let answers = store.answered(Call::Complete);
        answers.iter().any(|answer| answer.contains("Superseded"))
    };
    while !workers.iter().all(was_second) {
        assert!(count < 20_000, "one of the two was always first");
        count += 2_000;
        let mut demands: Vec<Outgoing> = (1..=1_000).map(foreign).collect();
        for (index, demand) in place.demanded_rows(1_000).await.into_iter().enumerate() {
            demands.insert(2 * index, demand);
        }
        // An odd number per round: the broker alternates, so the second copies go to the other worker.
        for some in demands.chunks(25) {
            for _ in 0..2 {
                place.broker.publish(KindName::add_up_to(), some).await.unwrap();
            }
        }
        place.until_done(count).await;
    }
    until("all are acknowledged", async || {
        let acknowledged = brokers
            .iter()
            .map(|broker| broker.traffic.acknowledged.load(Ordering::SeqCst));
        i64::try_from(acknowledged.sum::<usize>()).unwrap() == 2 * count
    })
    .await;
    for (worker, store) in workers {
        worker.stop().await;
        let answers = store.answered(Call::Complete);
        assert!(answers.iter().all(|answer| answer.starts_with("Ok")), "{answers:?}");
    }
    place.assert_each_took_effect_once(count).await;
    place.assert_queues_are_empty().await;
    let Place {
        database,
        queues,
        store,
        ..
    } = place;
    drop(store);
    assert_eq!(database.deadlocks().await, 0);
    queues.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_but_unacknowledged_demand_is_redelivered_without_effect() {
    let place = Place::new().await;
    let mut demands: Vec<Outgoing> = (1..=50).map(foreign).collect();
    demands.extend(place.demanded_rows(50).await);
    place.broker.publish(KindName::add_up_to(), &demands).await.unwrap();
    let between = CountingBroker::new(place.broker.clone());
    let traffic = between.traffic.clone();
    traffic.losing.store(true, Ordering::SeqCst);
    let worker = consume(place.store.clone(), Arc::new(between), Sums);
    until("all come at least a second time", async || {
        traffic.delivered.load(Ordering::SeqCst) >= 3 * demands.len()
    })
    .await;
    traffic.losing.store(false, Ordering::SeqCst);
    place.until_done(100).await;
    until("all are acknowledged", async || {
        traffic.acknowledged.load(Ordering::SeqCst) == demands.len()
    })
    .await;
    worker.stop().await;
    place.assert_each_took_effect_once(100).await;
    place.leave([]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sent_but_unmarked_demand_is_sent_again_and_takes_effect_once() {
    let place = Place::new().await;
    place.create(1..=100).await;
    let brokers = [(); 2].map(|()| Arc::new(CountingBroker::new(place.broker.clone())));
    let confirmed = |number: usize| brokers[number].traffic.confirmed.load(Ordering::SeqCst);
    let without_marks = ScriptedStore::new(place.store.clone());
    let _marks = without_marks.hold(&[Call::MarkSent]);
    let dying = dispatch(without_marks, brokers[0].clone(), RANGE);
    until("all are sent", async || confirmed(0) >= 100).await;
    dying.kill().await;
    let sent = confirmed(0);
    assert_eq!(
        place
            .database
            .number("SELECT count(*) FROM works WHERE due_at IS NULL")
            .await,
        0
    );
    let claims_run_out = "UPDATE works SET due_at = now()";
    place
        .database
        .client()
        .await
        .batch_execute(claims_run_out)
        .await
        .unwrap();
    let dispatcher = dispatch(place.store.clone(), brokers[1].clone(), RANGE);
    until("all are sent again", async || confirmed(1) == 100).await;
    until("all are marked", async || {
        place
            .database
            .number("SELECT count(*) FROM works WHERE due_at IS NULL")
            .await
            == 100
    })
    .await;
    let ready = place.broker.ready_messages(&Queue::sums()).await.unwrap();
    assert_eq!(ready, u64::try_from(sent + 100).unwrap());
    let between = CountingBroker::new(place.broker.clone());
    let traffic = between.traffic.clone();
    let worker = consume(place.store.clone(), Arc::new(between), Sums);
    place.until_done(100).await;
    until("both copies are acknowledged", async || {
        traffic.acknowledged.load(Ordering::SeqCst) == 200
    })
    .await;
    worker.stop().await;
    place.assert_each_took_effect_once(100).await;
    assert_eq!(confirmed(1), 100);
    place.leave([dispatcher]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_longer_than_the_range_everything_is_dispatched() {
    let place = Place::new().await;
    let ids = place.create(1..=2_500).await;
    let long_ago = "UPDATE works SET due_at = now() - interval '7 hours'";
    place.database.client().await.batch_execute(long_ago).await.unwrap();
    assert!(place.store.claim(&[], Some(RANGE), HOLD, 10).await.unwrap().is_empty());
    let (flows, _) = place.flows(Sums);
    place.until_done(2_500).await;
    assert_eq!(place.history(ids[0]).await[1..], DONE);
    place.assert_each_took_effect_once(2_500).await;
    place.leave(flows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_changed_before_completion_is_computed_with_the_newest_bound() {
    let place = Place::new().await;
    let (flows, between) = place.flows(Sums);
    let completes = between.hold(&[Call::Complete]);
    let id = place.create([3]).await[0];
    timeout(DEADLINE, between.is_called(Call::Complete, 1)).await.unwrap();
    let updated = place
        .store
        .update(&Principal::Open, id, &bound(100).args(), None, Duration::ZERO)
        .await
        .unwrap();
    assert!(matches!(updated, Changed::Applied(_)));
    completes.end();
    until("done", async || work(&place.store, id).await.done()).await;
    let done = work(&place.store, id).await;
    assert_eq!((done.result, done.version), (Some(Json::from(5050)), 3));
    let expected = [&[Variable::WorkCreated, Variable::WorkUpdated], &DONE[..]].concat();
    assert_eq!(place.history(id).await, expected);
    place.leave(flows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_deleted_before_completion_does_not_come_back() {
    let place = Place::new().await;
    let (flows, between) = place.flows(Sums);
    let completes = between.hold(&[Call::Complete]);
    let id = place.create([3]).await[0];
    let foreign = foreign(4);
    place
        .broker
        .publish(KindName::add_up_to(), std::slice::from_ref(&foreign))
        .await
        .unwrap();
    timeout(DEADLINE, between.is_called(Call::Complete, 1)).await.unwrap();
    assert_eq!(
        place.store.delete(&Principal::Open, id, None).await.unwrap(),
        Changed::Applied(())
    );
    completes.end();
    place.until_done(1).await;
    // A redelivery and a demand without the row's state find the row deleted.
    let claim = "SELECT message_id FROM works WHERE status = 'cancelled'";
    let message_id: String = place
        .database
        .client()
        .await
        .query_one(claim, &[])
        .await
        .unwrap()
        .get(0);
    let late = Outgoing {
        message_id: MessageId::try_from(message_id).unwrap(),
        ..foreign
    };
    place.broker.publish(KindName::add_up_to(), &[late]).await.unwrap();
    let last = Outgoing {
        message_id: new_message_id(),
        ..super::foreign(5)
    };
    place.broker.publish(KindName::add_up_to(), &[last]).await.unwrap();
    place.until_done(2).await;
    assert!(place.store.by_ids(&[id]).await.unwrap().is_empty());
    let told = format!("SELECT count(*) FROM events WHERE work_id = {id}");
    assert_eq!(place.database.number(&told).await, 2, "created and cancelled");
    assert_eq!(place.database.number("SELECT count(*) FROM works").await, 3);
    place.leave(flows).await;
}

/// Far longer than a test may take.
const LONG: i64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_work_changed_while_running_is_computed_with_the_newest_bound() {
    let place = Place::new().await;
    let slow = Slow::default();
    let (flows, _) = place.flows(slow.clone());
    let id = place.create([LONG]).await[0];
    until("running", async || {
        work(&place.store, id).await.status == Status::Running
    })
    .await;
    let updated = place
        .store
        .update(&Principal::Open, id, &bound(4).args(), None, Duration::from_millis(100))
        .await
        .unwrap();
    assert!(matches!(updated, Changed::Applied(_)));
    until("done", async || work(&place.store, id).await.done()).await;
    until("the old one has ended", async || slow.0.load(Ordering::SeqCst) == 0).await;
    assert_eq!(work(&place.store, id).await.result, Some(Json::from(10)));
    let changed = [Variable::WorkCreated, Variable::ComputeStart, Variable::WorkUpdated];
    assert_eq!(place.history(id).await, [&changed[..], &DONE[..]].concat());
    place.leave(flows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_deleted_while_running_ends_and_does_not_come_back() {
    let place = Place::new().await;
    let slow = Slow::default();
    let (flows, _) = place.flows(slow.clone());
    let id = place.create([LONG]).await[0];
    until("running", async || {
        work(&place.store, id).await.status == Status::Running
    })
    .await;
    assert_eq!(
        place.store.delete(&Principal::Open, id, None).await.unwrap(),
        Changed::Applied(())
    );
    until("it has ended", async || slow.0.load(Ordering::SeqCst) == 0).await;
    // A work that takes two leases proves that it was not rescued.
    let witness = place.create([i64::try_from(LEASE.as_millis()).unwrap() * 2]).await[0];
    until("the witness is done", async || work(&place.store, witness).await.done()).await;
    assert!(place.store.by_ids(&[id]).await.unwrap().is_empty());
    let told = format!("SELECT count(*) FROM events WHERE work_id = {id}");
    assert_eq!(place.database.number(&told).await, 3, "created, started and cancelled");
    assert_eq!(
        place
            .database
            .number("SELECT count(*) FROM works WHERE status = 'cancelled'")
            .await,
        1
    );
    place.leave(flows).await;
}
