//! Dead letters that are sent again.

use super::*;
use pp_lib::broker::Queue;
use pp_lib::domain::{Json, KindName, Principal};

#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_dead_message_returns_if_it_fails_again() {
    let mut system = System::computing(Sums).await;
    system.drain();
    let id = new_message_id();
    let bad = [
        message(id.clone(), None, b"{"),
        message(new_message_id(), None, br#"{"add_up_to":0}"#),
    ];
    system.send(&bad).await;
    let first = system.letters(|letters| letters.len() == 2).await;
    assert!(first.iter().all(|letter| letter.work_id.is_none() && !letter.redriven));
    assert!(
        first
            .iter()
            .any(|letter| letter.message_id.as_deref() == Some(id.as_str()))
    );

    assert_eq!(
        system.store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(),
        2
    );
    system.feed.poke();
    let newest = first.iter().map(|letter| letter.id).max();
    let second = system
        .letters(|letters| {
            letters.len() == 2
                && letters
                    .iter()
                    .all(|letter| Some(letter.id) > newest || !letter.redriven)
        })
        .await;
    let ids = |letters: &[DeadLetter]| {
        let mut ids: Vec<_> = letters.iter().map(|letter| letter.message_id.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&first), ids(&second));
    assert_eq!(system.works().await, []);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_demand_keeps_its_promised_code() {
    let mut system = System::idle().await;
    let promised = new_work_code(Origin::Consumer);
    let demand = Outgoing {
        new_work_code: Some(promised.clone()),
        ..message(new_message_id(), None, br#"{"add_up_to":4}"#)
    };
    system.send(std::slice::from_ref(&demand)).await;
    let mut demands = system
        .broker
        .subscribe(&Queue::sums(), Prefetch::messages(1))
        .await
        .unwrap();
    let came = demands.next_batch(1, Duration::ZERO).await.unwrap().remove(0);
    let letter = broker::DeadLetter {
        kind: KindName::default(),
        message_id: demand.message_id.clone(),
        properties: came.properties,
        body: came.body,
        reason: "refused".to_owned(),
    };
    system.broker.dead_letter(&[letter]).await.unwrap();
    demands.acknowledge(&[came.tag]).await.unwrap();
    drop(demands);
    system.drain();
    system.dispatch();
    system.letters(|letters| letters.len() == 1).await;
    system.consume(Sums, Duration::from_secs(10));
    assert_eq!(
        system.store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(),
        1
    );
    system.feed.poke();
    let works = system.until(|works| works.values().any(Work::done)).await;
    let work = works.into_values().next().unwrap();
    assert_eq!((work.work_code, work.result), (promised, Some(Json::from(10))));
    system.letters(<[DeadLetter]>::is_empty).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_work_that_is_redriven_runs_again() {
    let mut system = System::computing(FailingSums).await;
    let ids = system.create([13]).await;
    system.finished(&ids).await;
    assert_eq!(
        system.store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(),
        1
    );
    system.feed.poke();
    let again = system.letters(|letters| letters.len() == 1).await;
    assert_eq!(again[0].work_id, Some(ids[0]));
    let attempt = ["compute/start", "compute/error"];
    let told = [&["work/created"][..], &attempt, &["work/redriven"], &attempt].concat();
    assert_eq!(system.history(ids[0]).await, told);

    // A fixed computation succeeds where the old one failed.
    system.halt().await;
    system.shutdown = CancellationToken::new();
    system.dispatch();
    system.consume(Sums, Duration::from_secs(10));
    assert_eq!(
        system
            .store
            .redrive(&Principal::Open, &Selection::Ids(vec![again[0].id]))
            .await
            .unwrap(),
        1
    );
    system.feed.poke();
    let works = system.until(|works| works[&ids[0]].done()).await;
    assert_eq!(works[&ids[0]].result, Some(Json::from(91)));
    assert_eq!(
        system.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap(),
        []
    );
    system.stop().await;
}
