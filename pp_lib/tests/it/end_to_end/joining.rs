//! Demands that ask to be the only unfinished work of their kind, or to run later: they become rows first.

use pp_lib::broker::{Properties, Resent};

use super::*;

const BODY: &[u8] = br#"{"add_up_to":4}"#;

/// Sends a message with these headers, as any client may.
async fn sent(system: &System, properties: Properties) {
    let message = Resent {
        message_id: new_message_id(),
        properties: Some(serde_json::to_vec(&properties).unwrap().into()),
        body: Bytes::from_static(BODY),
    };
    system.broker.resend(KindName::add_up_to(), &[message]).await.unwrap();
}

fn unique(text: &str) -> Properties {
    Properties {
        unique: Some(text.to_owned()),
        ..Properties::default()
    }
}

fn run_at(moment: i64) -> Properties {
    Properties {
        run_at: Some(moment),
        ..Properties::default()
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs().try_into().unwrap()
}

/// The demands that come while a work is unfinished are joined to it. They leave no row and no letter.
#[tokio::test(flavor = "multi_thread")]
async fn demands_with_one_unique_are_one_work_at_a_time() {
    let mut system = System::idle().await;
    system.consume(Sums, Duration::from_secs(10));
    system.drain();
    for _ in 0..3 {
        sent(&system, unique("u")).await;
    }
    sent(&system, unique("v")).await;
    let pending = |works: &HashMap<WorkId, Work>| works.len() == 2;
    let rows = system.until(pending).await;
    assert!(
        rows.values()
            .all(|work| work.status == Status::Pending && work.work_code.origin() == Origin::Consumer)
    );
    system.dispatch();
    let ids: Vec<WorkId> = rows.keys().copied().collect();
    let done = system.finished(&ids).await;
    assert!(
        done.values()
            .all(|work| work.result == Some(Json::from(10)) && work.unique.is_some())
    );

    sent(&system, unique("u")).await;
    system
        .until(|works| works.len() == 3 && works.values().all(Work::done))
        .await;
    assert_eq!(
        system.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap(),
        []
    );
    assert_eq!(
        system.history(ids[0]).await,
        ["compute/start", "compute/stop", "compute/result"]
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_with_a_run_at_waits_in_its_row() {
    let mut system = System::idle().await;
    system.consume(Sums, Duration::from_secs(10));
    system.dispatch();
    let (soon, far) = (now() + 2, now() + 3600);
    for moment in [soon, far, 5] {
        sent(&system, run_at(moment)).await;
    }
    let works = system
        .until(|works| works.values().filter(|work| work.done()).count() == 2)
        .await;
    assert!(now() >= soon, "not before its time");
    let mut moments: Vec<_> = works.values().map(|work| (work.run_at.unwrap(), work.status)).collect();
    moments.sort_unstable_by_key(|(run_at, _)| *run_at);
    assert_eq!(
        moments,
        [(5, Status::Done), (soon, Status::Done), (far, Status::Pending)]
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_unique_or_run_at_is_a_dead_letter() {
    let mut system = System::computing(Sums).await;
    system.drain();
    for properties in [unique(""), unique(&"u".repeat(256)), run_at(-1)] {
        sent(&system, properties).await;
    }
    let letters = system.letters(|letters| letters.len() == 3).await;
    let mut reasons: Vec<&str> = letters.iter().map(|letter| letter.reason.as_str()).collect();
    reasons.sort_unstable();
    let reason = |name| format!("malformed message property {name}");
    assert_eq!(reasons, [reason("run_at"), reason("unique"), reason("unique")]);
    assert!(system.works().await.is_empty());
    system.stop().await;
}
