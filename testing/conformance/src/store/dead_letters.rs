//! Dead letters: messages buried, letters listed, run again and dropped.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use bytes::Bytes;
use std::collections::HashSet;
use std::time::Duration;

use super::fixtures::{
    HOLD, LEASE, bound, claim, complete_one, completion, created, done, failed, history, letters, names, now,
    pending_guard, work_of,
};
use pp_lib::domain::{AddUpTo, DeadLetter, DeadLetterId, KindName, MessageId, Principal, Status, Work};
use pp_lib::store::{AnyStore, Completed, Completion, DeadMessage, LetterFilter, Redriven, Selection};

const NEVER: &str = "never";

fn message(id: &str, body: &'static [u8], reason: &str) -> DeadMessage {
    DeadMessage {
        kind: KindName::default(),
        message_id: MessageId::try_from(id.to_owned()).unwrap(),
        properties: None,
        body: Bytes::from_static(body),
        reason: reason.to_owned(),
    }
}

async fn bury(store: &AnyStore, id: &str) -> DeadLetterId {
    store.add_dead_letters(&[message(id, b"{", "no JSON")]).await.unwrap();
    letters(store).await[0].id
}

/// Works that failed, with their letters, newest first.
async fn failed_works(store: &AnyStore, numbers: &[i64]) -> Vec<(Work, DeadLetter)> {
    created(store, numbers).await;
    let failing: Vec<Completion> = claim(store)
        .await
        .iter()
        .map(|claim| completion(claim, failed(NEVER)))
        .collect();
    let completed = store.complete(KindName::add_up_to(), &failing).await.unwrap();
    assert!(completed.iter().all(|completed| *completed == Completed::Applied));
    let mut works = Vec::new();
    for letter in letters(store).await {
        works.push((work_of(store, letter.work_id.unwrap()).await, letter));
    }
    assert_eq!(works.len(), numbers.len());
    works
}

fn only(letter: &DeadLetter) -> Selection {
    Selection::Ids(vec![letter.id])
}

async fn claim_redriven(store: &AnyStore) -> Vec<Redriven> {
    store.claim_redriven(HOLD, 1000).await.unwrap()
}

pub async fn a_message_is_buried_once_with_the_newest_reason(store: AnyStore) {
    store.add_dead_letters(&[]).await.unwrap();
    let first = [message("one", b"{", "no JSON"), message("two", b"", "empty")];
    store.add_dead_letters(&first).await.unwrap();
    let before = letters(&store).await;
    store
        .add_dead_letters(&[message("one", b"[", "still\0 no JSON")])
        .await
        .unwrap();
    let after = letters(&store).await;
    assert_eq!((before.len(), after.len()), (2, 2));
    for letter in &after {
        let one = letter.message_id.as_deref() == Some("one");
        let expected = if one { ("[", 1) } else { ("", 0) };
        assert_eq!((letter.body.as_deref().unwrap(), letter.body_bytes.unwrap()), expected);
        assert!(
            letter.reason.contains(if one { "still" } else { "empty" }),
            "{}",
            letter.reason
        );
        assert_eq!((letter.attempts, letter.redriven, letter.demanded_on), (0, false, None));
        assert_eq!((letter.work_id, &letter.work_code), (None, &None));
        assert!((now() - 60..=now() + 60).contains(&letter.created_on));
        let was = before.iter().find(|was| was.id == letter.id);
        assert_eq!(was.unwrap().message_id, letter.message_id, "the letter that it was");
    }
}

pub async fn letters_are_listed_newest_first_in_pages(store: AnyStore) {
    for number in 0..5 {
        bury(&store, &number.to_string()).await;
    }
    let all = letters(&store).await;
    let names: Vec<&str> = all.iter().filter_map(|letter| letter.message_id.as_deref()).collect();
    assert_eq!(names, ["4", "3", "2", "1", "0"]);
    assert!(all.is_sorted_by(|one, other| one.id > other.id));
    let mut paged = Vec::new();
    loop {
        let page = store
            .dead_letters(&LetterFilter::ALL, paged.last().map(|letter: &DeadLetter| letter.id), 2)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    for nothing in [0, -1, i64::MIN] {
        assert!(
            store
                .dead_letters(&LetterFilter::ALL, Some(DeadLetterId(nothing)), 10)
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert_eq!(
        store
            .dead_letters(&LetterFilter::ALL, Some(DeadLetterId(i64::MAX)), 10)
            .await
            .unwrap(),
        all
    );
}

pub async fn a_letter_tells_of_its_work(store: AnyStore) {
    let (work, letter) = failed_works(&store, &[13]).await.remove(0);
    let expected = DeadLetter {
        id: letter.id,
        kind: KindName::default(),
        work_id: Some(work.id),
        work_code: Some(work.work_code),
        message_id: letter.message_id.clone(),
        body: None,
        body_bytes: None,
        reason: NEVER.to_owned(),
        attempts: 1,
        demanded_on: Some(work.created_on),
        created_on: letter.created_on,
        redriven: false,
    };
    assert_eq!(letter, expected);
    assert!(letter.message_id.is_some() && letter.created_on >= work.created_on);
}

pub async fn a_long_body_is_cut_in_the_list_and_whole_when_it_runs_again(store: AnyStore) {
    let long: Vec<u8> = (0..10_000)
        .map(|number| b'a' + u8::try_from(number % 26).unwrap())
        .collect();
    let letter = DeadMessage {
        body: long.clone().into(),
        ..message("long", b"", "too long")
    };
    store.add_dead_letters(&[letter]).await.unwrap();
    let letter = letters(&store).await.remove(0);
    assert_eq!(
        letter.body.as_deref().unwrap().as_bytes(),
        &long[..DeadLetter::SHOWN_BYTES]
    );
    assert_eq!(letter.body_bytes, Some(10_000));
    store.redrive(&Principal::Open, &only(&letter)).await.unwrap();
    assert_eq!(claim_redriven(&store).await[0].body, long);
}

pub async fn a_body_that_is_no_text_is_kept_byte_for_byte(store: AnyStore) {
    let bodies: [&'static [u8]; 4] = [b"\xff\xfe{", b"\0", b"a\0b", b""];
    for (number, body) in bodies.into_iter().enumerate() {
        store
            .add_dead_letters(&[message(&number.to_string(), body, "no text")])
            .await
            .unwrap();
    }
    for (letter, body) in letters(&store).await.iter().rev().zip(bodies) {
        assert_eq!(letter.body.as_deref().unwrap(), String::from_utf8_lossy(body));
        assert_eq!(letter.body_bytes, i64::try_from(body.len()).ok());
    }
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 4);
    let mut redriven = claim_redriven(&store).await;
    redriven.sort_by_key(|redriven| redriven.id);
    for (redriven, body) in redriven.iter().zip(bodies) {
        assert_eq!(redriven.body, body);
    }
}

pub async fn a_letter_keeps_the_properties_of_its_message(store: AnyStore) {
    let with = |id: &str, properties: Option<&'static [u8]>| DeadMessage {
        properties: properties.map(Bytes::from_static),
        ..message(id, b"{", "no JSON")
    };
    let kept = [with("1", Some(b"\x00\xff{")), with("2", None), with("3", Some(b"old"))];
    store.add_dead_letters(&kept).await.unwrap();
    // The message came again, and said something else of itself.
    let newer = with("3", Some(b"new"));
    store.add_dead_letters(std::slice::from_ref(&newer)).await.unwrap();
    store.redrive(&Principal::Open, &Selection::ALL).await.unwrap();
    let mut redriven = claim_redriven(&store).await;
    redriven.sort_by_key(|redriven| redriven.id);
    let properties: Vec<_> = redriven.into_iter().map(|redriven| redriven.properties).collect();
    let [one, two, _] = kept;
    assert_eq!(properties, [one.properties, two.properties, newer.properties]);
}

pub async fn a_redriven_work_runs_as_its_next_generation(store: AnyStore) {
    let mut works = failed_works(&store, &[13, 14]).await;
    let (kept, kept_letter) = works.remove(0);
    let (work, letter) = works.remove(0);
    assert_eq!(store.redrive(&Principal::Open, &only(&letter)).await.unwrap(), 1);
    assert_eq!(letters(&store).await, [kept_letter]);
    let after = work_of(&store, work.id).await;
    let expected = Work {
        status: Status::Pending,
        version: work.version + 1,
        updated_on: after.updated_on,
        error: None,
        attempt: 1,
        progress: None,
        ..work
    };
    assert_eq!(after, expected);
    assert_eq!(work_of(&store, kept.id).await, kept);
    let events = history(&store, after.id).await;
    assert_eq!(
        names(&events),
        ["work/created", "compute/start", "compute/error", "work/redriven"]
    );
    assert_eq!(events[3].1, "");
    let claims = claim(&store).await;
    let state = (
        claims[0].id,
        claims[0].run.generation,
        claims[0].run.attempt,
        claims[0].failures,
    );
    assert_eq!((claims.len(), state), (1, (after.id, 2, 1, 0)));
    for late in [done(13), failed("late")] {
        let late = Completion {
            guard: pending_guard(1, 1),
            ..completion(&claims[0], late)
        };
        assert_eq!(complete_one(&store, late).await, Completed::Superseded);
    }
    let sum = done(i64::from(AddUpTo::of_args(&after.args).unwrap().get()));
    assert_eq!(
        complete_one(&store, completion(&claims[0], sum)).await,
        Completed::Applied
    );
    assert_eq!(
        store.redrive(&Principal::Open, &only(&letter)).await.unwrap(),
        0,
        "the letter is gone"
    );
}

pub async fn all_letters_run_again_at_once(store: AnyStore) {
    let works = failed_works(&store, &(1..=60).collect::<Vec<i64>>()).await;
    bury(&store, "message").await;
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 61);
    assert_eq!(
        store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(),
        0,
        "a message is on its way already"
    );
    let left = letters(&store).await;
    assert_eq!((left.len(), left[0].redriven), (1, true));
    assert_eq!((claim(&store).await.len(), claim_redriven(&store).await.len()), (60, 1));
    for (work, _) in works {
        assert_eq!(names(&history(&store, work.id).await).last(), Some(&"work/redriven"));
    }
}

pub async fn unknown_letters_are_nobodys(store: AnyStore) {
    let (work, letter) = failed_works(&store, &[13]).await.remove(0);
    let unknown = [0, -1, i64::MAX, i64::MIN, letter.id.0 + 1].map(DeadLetterId).to_vec();
    for nothing in [Selection::Ids(unknown.clone()), Selection::Ids(Vec::new())] {
        assert_eq!(store.redrive(&Principal::Open, &nothing).await.unwrap(), 0);
        assert_eq!(store.drop_letters(&Principal::Open, &nothing).await.unwrap(), 0);
    }
    assert_eq!(letters(&store).await, std::slice::from_ref(&letter));
    let twice_and_more = [unknown, vec![letter.id, letter.id]].concat();
    assert_eq!(
        store
            .redrive(&Principal::Open, &Selection::Ids(twice_and_more))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        work_of(&store, work.id).await.version,
        work.version + 1,
        "and that once"
    );
}

pub async fn a_redriven_work_that_fails_again_has_one_letter(store: AnyStore) {
    let (work, first) = failed_works(&store, &[13]).await.remove(0);
    for generation in 2..5 {
        assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 1);
        let again = claim(&store).await.remove(0);
        assert_eq!((again.id, again.run.generation), (work.id, generation));
        let reason = format!("for the {generation}th time");
        assert_eq!(
            complete_one(&store, completion(&again, failed(&reason))).await,
            Completed::Applied
        );
        let letters = letters(&store).await;
        assert_eq!((letters.len(), &letters[0].reason), (1, &reason));
        assert!(letters[0].id > first.id);
    }
    assert_eq!(work_of(&store, work.id).await.status, Status::Failed);
}

pub async fn letters_of_works_that_moved_on_are_gone_and_not_counted(store: AnyStore) {
    let works = failed_works(&store, &[13, 14, 15]).await;
    let all = Selection::Ids(works.iter().map(|(_, letter)| letter.id).collect());
    let [updated, deleted, failed] = [&works[0].0, &works[1].0, &works[2].0];
    store
        .update(&Principal::Open, updated.id, &bound(5).args(), None, LEASE)
        .await
        .unwrap();
    store.delete(&Principal::Open, deleted.id, None).await.unwrap();
    assert_eq!(letters(&store).await, [works[2].1.clone()]);
    let after = work_of(&store, updated.id).await;
    assert_eq!(store.redrive(&Principal::Open, &all).await.unwrap(), 1);
    assert!(letters(&store).await.is_empty());
    assert_eq!(work_of(&store, updated.id).await, after);
    assert!(store.by_ids(&[deleted.id]).await.unwrap().is_empty());
    let claims = claim(&store).await;
    assert_eq!((claims.len(), claims[0].id), (1, failed.id));
}

pub async fn large_redriven_messages_are_claimed_in_parts(store: AnyStore) {
    let large = |id: &str| DeadMessage {
        kind: KindName::default(),
        message_id: MessageId::try_from(id.to_owned()).unwrap(),
        properties: None,
        body: vec![b'x'; 5 << 20].into(),
        reason: "large".to_owned(),
    };
    for id in ["one", "two", "three"] {
        store.add_dead_letters(&[large(id)]).await.unwrap();
    }
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 3);
    let mut parts = Vec::new();
    loop {
        let claimed = claim_redriven(&store).await;
        if claimed.is_empty() {
            break;
        }
        parts.push(claimed.len());
        store.end_redriven(&claimed).await.unwrap();
    }
    assert_eq!(parts, [2, 1]);
    assert!(letters(&store).await.is_empty());
}

pub async fn a_redriven_message_is_claimed_once_and_ends(store: AnyStore) {
    let id = bury(&store, "one").await;
    bury(&store, "two").await;
    assert!(claim_redriven(&store).await.is_empty(), "nobody asked for it");
    assert_eq!(
        store
            .redrive(&Principal::Open, &Selection::Ids(vec![id]))
            .await
            .unwrap(),
        1
    );
    let listed: Vec<bool> = letters(&store).await.iter().map(|letter| letter.redriven).collect();
    assert_eq!(listed, [false, true]);
    let claimed = claim_redriven(&store).await;
    assert_eq!((claimed.len(), claimed[0].id, &claimed[0].body[..]), (1, id, &b"{"[..]));
    assert_eq!(claimed[0].message_id.as_str(), "one");
    assert!(claim_redriven(&store).await.is_empty(), "held by the first claim");
    assert_eq!(
        store
            .redrive(&Principal::Open, &Selection::Ids(vec![id]))
            .await
            .unwrap(),
        0,
        "on its way already"
    );
    store.end_redriven(&[]).await.unwrap();
    store.end_redriven(&claimed).await.unwrap();
    store.end_redriven(&claimed).await.unwrap();
    let left = letters(&store).await;
    assert_eq!((left.len(), left[0].message_id.as_deref()), (1, Some("two")));
    assert!(claim(&store).await.is_empty(), "a message is no work");
}

pub async fn a_claimed_message_that_is_not_ended_comes_again(store: AnyStore) {
    bury(&store, "one").await;
    store.redrive(&Principal::Open, &Selection::ALL).await.unwrap();
    let lost = store.claim_redriven(Duration::from_millis(20), 10).await.unwrap();
    assert_eq!(lost.len(), 1);
    let mut again = Vec::new();
    eventually!({
        again.extend(claim_redriven(&store).await);
        !again.is_empty()
    });
    store.end_redriven(&lost).await.unwrap();
    assert_eq!(letters(&store).await.len(), 1, "held by the second claim");
    store.end_redriven(&again).await.unwrap();
    assert!(letters(&store).await.is_empty());
}

pub async fn a_message_that_comes_back_keeps_its_letter(store: AnyStore) {
    let id = bury(&store, "one").await;
    store.redrive(&Principal::Open, &Selection::ALL).await.unwrap();
    let sent = claim_redriven(&store).await;
    // It is dead again before its dispatcher says that it was sent.
    store
        .add_dead_letters(&[message("one", b"{", "still no JSON")])
        .await
        .unwrap();
    store.end_redriven(&sent).await.unwrap();
    let left = letters(&store).await;
    assert_eq!((left.len(), left[0].id, left[0].redriven), (1, id, false));
    assert_eq!(left[0].reason, "still no JSON");
    assert!(claim_redriven(&store).await.is_empty());
    assert_eq!(
        store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(),
        1,
        "it may be tried again"
    );
}

pub async fn redriven_messages_are_shared_by_those_who_claim(store: AnyStore) {
    let messages: Vec<DeadMessage> = (0..100)
        .map(|number| message(&number.to_string(), b"{", "no JSON"))
        .collect();
    store.add_dead_letters(&messages).await.unwrap();
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 100);
    let claimers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claims = store.claim_redriven(HOLD, 7).await.unwrap();
                if claims.is_empty() {
                    return mine;
                }
                assert!(claims.len() <= 7);
                store.end_redriven(&claims).await.unwrap();
                mine.extend(claims.into_iter().map(|claim| claim.id));
            }
        })
    });
    let mut all = Vec::new();
    for claimer in claimers.collect::<Vec<_>>() {
        all.extend(claimer.await.unwrap());
    }
    assert_eq!(
        (all.len(), all.iter().map(|id| id.0).collect::<HashSet<_>>().len()),
        (100, 100)
    );
    assert!(letters(&store).await.is_empty());
}

pub async fn dropped_letters_are_forgotten_and_their_works_stay_failed(store: AnyStore) {
    let works = failed_works(&store, &[13, 14]).await;
    let id = bury(&store, "message").await;
    let some = Selection::Ids(vec![works[0].1.id, id]);
    assert_eq!(store.drop_letters(&Principal::Open, &some).await.unwrap(), 2);
    assert_eq!(letters(&store).await, [works[1].1.clone()]);
    assert_eq!(store.drop_letters(&Principal::Open, &Selection::ALL).await.unwrap(), 1);
    assert_eq!(store.drop_letters(&Principal::Open, &Selection::ALL).await.unwrap(), 0);
    assert_eq!(store.redrive(&Principal::Open, &some).await.unwrap(), 0);
    for (work, _) in works {
        assert_eq!(work_of(&store, work.id).await, work);
    }
    assert!(claim(&store).await.is_empty() && claim_redriven(&store).await.is_empty());
    bury(&store, "message").await;
    assert_eq!(letters(&store).await.len(), 1, "what was dropped may come again");
}

pub async fn many_redrive_the_same_letters_and_each_runs_once(store: AnyStore) {
    let works = failed_works(&store, &(1..=50).collect::<Vec<i64>>()).await;
    let redriving = (0..6).map(|number| {
        let store = store.clone();
        let mut ids: Vec<DeadLetterId> = works.iter().map(|(_, letter)| letter.id).collect();
        if number % 2 == 0 {
            ids.reverse();
        }
        let which = if number % 3 == 0 {
            Selection::ALL
        } else {
            Selection::Ids(ids)
        };
        tokio::spawn(async move { store.redrive(&Principal::Open, &which).await.unwrap() })
    });
    let mut redriven = 0;
    for count in redriving.collect::<Vec<_>>() {
        redriven += count.await.unwrap();
    }
    assert_eq!(redriven, 50);
    for claim in claim(&store).await {
        assert_eq!(claim.run.generation, 2);
    }
    assert!(letters(&store).await.is_empty());
}
