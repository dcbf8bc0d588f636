//! Slow works keep their lease, and a stop finishes them or hands them back.

use super::*;
use pp_lib::domain::AddUpTo;

/// A computation that takes its bound in milliseconds.
struct Slow;

impl Handler for Slow {
    fn handle(&self, args: Json, _: Context) -> Handling {
        let add_up_to = AddUpTo::of_args(&args).unwrap();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(add_up_to.get().unsigned_abs()))).await;
            Ok(add_up_to.sum().into())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_work_is_running_and_keeps_its_lease() {
    let system = System::computing(Slow).await;
    let long = i64::try_from(LEASE.as_millis()).unwrap() * 3;
    let ids = system.create([1, 2, 3, long]).await;
    let works = system.until(|works| works[&ids[3]].status == Status::Running).await;
    assert_eq!(works[&ids[3]].version, 2);
    for (id, work) in system.finished(&ids).await {
        assert_eq!((work.status, &work.result), (Status::Done, &sum(&work)));
        assert_eq!(system.history(id).await, DONE, "its lease was never lost");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_works_under_way() {
    let system = System::computing(Slow).await;
    let ids = system.create([1000]).await;
    system.until(|works| works[&ids[0]].status == Status::Running).await;
    let (store, folder) = (system.store.clone(), system.stop().await);
    assert!(store.by_ids(&ids).await.unwrap()[0].done());
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_hands_back_works_that_take_too_long() {
    let mut system = System::idle().await;
    system.consume(Slow, Duration::from_millis(50));
    system.dispatch();
    let ids = system.create([50_000]).await;
    system.until(|works| works[&ids[0]].status == Status::Running).await;
    let begun = Instant::now();
    system.halt().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    system.shutdown = CancellationToken::new();
    system.dispatch();
    system.consume(Sums, Duration::from_secs(10));
    let works = system.finished(&ids).await;
    assert_eq!(works[&ids[0]].status, Status::Done);
    let expected = [
        "work/created",
        "compute/start",
        "compute/error",
        "compute/start",
        "compute/stop",
        "compute/result",
    ];
    assert_eq!(system.history(ids[0]).await, expected);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_survives_any_number_of_stops_under_it() {
    const STOPS: usize = 25;
    let mut system = System::idle().await;
    let ids = system.create([50_000]).await;
    for _ in 0..STOPS {
        system.consume(Slow, Duration::from_millis(1));
        system.dispatch();
        system.until(|works| works[&ids[0]].status == Status::Running).await;
        system.halt().await;
        system.shutdown = CancellationToken::new();
        let work = system.store.by_ids(&ids).await.unwrap().remove(0);
        assert_eq!(work.status, Status::Pending, "handed back");
    }
    let claim = system.store.claim(&[], None, Duration::from_millis(1), 1).await;
    let claim = claim.unwrap().remove(0);
    let stops = i32::try_from(STOPS).unwrap();
    assert_eq!(
        (claim.run.attempt, claim.failures, claim.lost_leases),
        (stops + 1, 0, 0)
    );
    system.dispatch();
    system.consume(Sums, Duration::from_secs(10));
    assert_eq!(system.finished(&ids).await[&ids[0]].status, Status::Done);
    let told = system.history(ids[0]).await;
    let stopped = ["compute/start", "compute/error"].repeat(STOPS);
    assert_eq!(told, [&DONE[..1], &stopped, &DONE[1..]].concat());
    assert_eq!(
        system.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap(),
        []
    );
    system.stop().await;
}

/// Works recorded as running at the moment of the stop are handed back as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_no_running_row() {
    let mut system = System::idle().await;
    system.dispatch();
    for _ in 0..10 {
        let stop = CancellationToken::new();
        let consumer = system.consumer(Slow, Duration::ZERO);
        let part = Health::new().part("consumer", true);
        let consuming = tokio::spawn(consumer.run(part, stop.clone()));
        system.create(vec![50_000; 20]).await;
        system
            .until(|works| works.values().any(|work| work.status == Status::Running))
            .await;
        stop.cancel();
        consuming.await.unwrap();
        let works = system.works().await;
        assert!(works.iter().all(|work| work.status == Status::Pending), "{works:?}");
    }
    system.stop().await;
}
