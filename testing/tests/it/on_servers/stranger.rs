//! Messages of clients that are not PP: what can be computed is, what cannot is a dead letter with its reason, and
//! harms nobody.

use std::time::Duration;

use super::place::{Place, until};
use crate::program::Process;

const LIMIT: Duration = Duration::from_secs(30);

/// A worker that has declared the queues.
fn worker(place: &Place) -> Process {
    let (_, worker) = place.service("task_consumer").start_ready();
    worker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_properties_is_worked_off() {
    let place = Place::new().await;
    let worker = worker(&place);
    let message = br#"{"add_up_to":2,"done":false}"#.to_vec();
    place.publish_as_a_stranger(&[message.clone(), message]).await;
    until("both are done", LIMIT, async || place.ledger.done().await.unwrap() == 2).await;
    assert_eq!(worker.terminate().code, Some(0));

    // Each copy of a message without an identity is a work.
    let (api, service) = place.service("pp_backend_api").start_ready();
    let works = api.get("/work/search?work_code=consumer-");
    let works = works.as_array().unwrap();
    assert_eq!(works.len(), 2, "{works:?}");
    for work in works {
        assert_eq!(
            (&work["add_up_to"], &work["status"], &work["result"]),
            (&2.into(), &"done".into(), &3.into()),
            "{work}"
        );
        let (events, result) = api.history(work["id"].as_i64().unwrap());
        assert_eq!(events, ["compute/start", "compute/stop", "compute/result"]);
        assert_eq!(result.as_deref(), Some("3"));
    }
    drop(service);
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_dead_letter_and_its_neighbours_finish() {
    let dead: [(&str, Vec<u8>); 10] = [
        ("no JSON", b"add up to two, please".to_vec()),
        ("no UTF-8", b"{\"add_up_to\":2,\"done\":false,\"\xff\":1}".to_vec()),
        ("wrong type", br#"{"add_up_to":"2","done":false}"#.to_vec()),
        ("no whole number", br#"{"add_up_to":1.5,"done":false}"#.to_vec()),
        ("out of range", br#"{"add_up_to":2147483648,"done":false}"#.to_vec()),
        ("zero", br#"{"add_up_to":0,"done":false}"#.to_vec()),
        ("done already", br#"{"add_up_to":2,"done":true}"#.to_vec()),
        (
            "unknown field",
            br#"{"add_up_to":3,"done":false,"colour":"blue"}"#.to_vec(),
        ),
        ("nothing", Vec::new()),
        ("10 MB", vec![b'7'; 10 << 20]),
    ];
    let place = Place::new().await;
    let worker = worker(&place);
    let mut messages = Vec::new();
    for (_, body) in &dead {
        messages.push(br#"{"add_up_to":3}"#.to_vec());
        messages.push(body.clone());
    }
    place.publish_as_a_stranger(&messages).await;
    let neighbours = i64::try_from(dead.len()).unwrap();
    until("the neighbours are done", LIMIT, async || {
        place.ledger.done().await.unwrap() == neighbours
    })
    .await;

    let mut found = Vec::new();
    until("the dead letters are kept", LIMIT, async || {
        found = place.ledger.dead_messages().await.unwrap();
        found.len() == dead.len()
    })
    .await;
    for (what, body) in &dead {
        let letter = found.iter().find(|(kept, _)| kept == body);
        let (_, reason) = letter.unwrap_or_else(|| panic!("{what}: no dead letter has its body"));
        assert!(!reason.is_empty(), "{what}: no reason");
        assert!(!reason.contains("SQL"), "{reason}");
    }
    assert_eq!(worker.terminate().code, Some(0));
    place.all_done(neighbours).await;
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_id_of_any_text_makes_its_work_once_and_names_its_letter() {
    let place = Place::new().await;
    let worker = worker(&place);
    let longest = "é".repeat(127);
    let ids = [
        "Auftrag Größe 7",
        "注文-7",
        "🧾",
        " ",
        "two\nlines\tand \u{1b}[31mred",
        "\u{7f}\u{85}\u{feff}\u{202e}",
        "with a NUL \0 in it",
        "'; DROP TABLE works; --",
        &longest,
    ];
    let mut messages: Vec<(String, &[u8])> = Vec::new();
    for id in ids {
        let twice = [(); 2].map(|()| (id.to_owned(), &br#"{"add_up_to":2}"#[..]));
        messages.extend(twice);
        messages.push((format!("{}!", &id[..id.floor_char_boundary(200)]), b"junk"));
    }
    place.publish_with_ids(&messages).await;
    let works = i64::try_from(ids.len()).unwrap();
    let client = place.client().await;
    let letters = async || {
        let rows = client
            .query("SELECT message_id FROM dead_letters ORDER BY id", &[])
            .await;
        let rows = rows.unwrap().into_iter();
        rows.map(|row| row.get(0)).collect::<Vec<String>>()
    };
    until("all are worked off", LIMIT, async || {
        letters().await.len() == ids.len() && place.ledger.done().await.unwrap() >= works && place.waiting().await == 0
    })
    .await;
    let expected = ids.map(|id| format!("{}!", id[..id.floor_char_boundary(200)].replace('\0', "\u{1a}")));
    let mut kept = letters().await;
    kept.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(kept, expected);
    assert_eq!(worker.terminate().code, Some(0));
    place.all_done(works).await;
    place.leave().await;
}
