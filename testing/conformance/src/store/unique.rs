//! Works with a `unique`: one of a kind is unfinished at a time.

use bytes::Bytes;
use pp_lib::domain::{CreatedWork, Json, KindName, MessageId, Origin, Principal, Status, Unique, Work, WorkId};
use pp_lib::store::{AnyStore, Changed, DeadMessage, NewWork, Outcome, Selection};

use super::changes::AT_ONCE;
use super::fixtures::{
    LEASE, applied, bound, claim, complete_one, completion, done, everything, failed, ids, letters, new_work, work_of,
};

fn unique(text: &str) -> Unique {
    text.to_owned().try_into().unwrap()
}

fn with_unique(text: &str, number: i64) -> NewWork {
    NewWork {
        unique: Some(unique(text)),
        ..new_work(Origin::Api, number)
    }
}

async fn create(store: &AnyStore, work: NewWork) -> CreatedWork {
    store.create(&[work]).await.unwrap().remove(0).unwrap()
}

/// Claims the only due work and gives it this outcome.
async fn end(store: &AnyStore, outcome: Outcome) {
    let claims = claim(store).await;
    assert_eq!(claims.len(), 1, "{claims:?}");
    assert!(applied(&complete_one(store, completion(&claims[0], outcome)).await));
}

/// A failed work with this `unique`, and its letter.
async fn failed_work(store: &AnyStore, text: &str, number: i64) -> Work {
    let created = create(store, with_unique(text, number)).await;
    end(store, failed("no luck")).await;
    work_of(store, created.id).await
}

/// An unfinished work is the answer to all that ask for its kind and `unique`, whatever their arguments.
pub async fn an_unfinished_work_answers_for_its_unique(store: AnyStore) {
    let first = create(&store, with_unique("u", 4)).await;
    assert_eq!((first.duplicate, &first.unique), (false, &Some(unique("u"))));
    assert_eq!(work_of(&store, first.id).await, first.work);

    let again = create(&store, with_unique("u", 5)).await;
    assert_eq!((again.duplicate, &again.work), (true, &first.work));
    let other = NewWork {
        kind: "other".parse().unwrap(),
        args: Json::accepted("{}"),
        ..with_unique("u", 4)
    };
    let other = create(&store, other).await;
    assert_eq!(
        (other.duplicate, other.id == first.id),
        (false, false),
        "of another kind"
    );
    assert!(!create(&store, with_unique("U", 4)).await.duplicate);
    assert_eq!(ids(&store, everything()).await.len(), 3);

    let claims = claim(&store).await;
    let mine = claims.iter().find(|claim| claim.id == first.id).unwrap();
    assert!(applied(
        &complete_one(&store, completion(mine, Outcome::running(LEASE))).await
    ));
    let running = create(&store, with_unique("u", 6)).await;
    assert_eq!((running.duplicate, running.status), (true, Status::Running));
    store.cancel(&Principal::Open, first.id, None).await.unwrap();
    let next = create(&store, with_unique("u", 6)).await;
    assert_eq!((next.duplicate, next.id > first.id), (false, true));
}

/// Works of one call with one `unique` are one work, in a batch and in a bulk.
pub async fn works_of_one_call_with_one_unique_are_one(store: AnyStore) {
    let batch = [with_unique("u", 4), new_work(Origin::Api, 5), with_unique("u", 6)];
    let created = store.create(&batch).await.unwrap();
    let created: Vec<CreatedWork> = created.into_iter().map(Option::unwrap).collect();
    assert_eq!(created[0].id, created[2].id);
    assert_ne!(created[0].id, created[1].id);
    assert_eq!(created.iter().filter(|created| created.duplicate).count(), 1);

    let bulk = [with_unique("v", 4), with_unique("u", 5), with_unique("v", 6)];
    let created = store.create_all(&bulk).await.unwrap().unwrap();
    assert_eq!(created[0].id, created[2].id);
    let told: Vec<bool> = created.iter().map(|created| created.duplicate).collect();
    assert!(told[1] && told[0] != told[2], "{told:?}");
    assert_eq!(ids(&store, everything()).await.len(), 3);
}

/// The same call repeated finds its own work, which is no duplicate, and does so when it is finished as well.
pub async fn a_repeated_creation_with_a_unique_is_no_duplicate(store: AnyStore) {
    let wanted = with_unique("u", 4);
    let first = create(&store, wanted.clone()).await;
    assert_eq!(create(&store, wanted.clone()).await, first);
    end(&store, done(4)).await;
    let again = create(&store, wanted.clone()).await;
    assert_eq!(
        (again.duplicate, again.status, again.id),
        (false, Status::Done, first.id)
    );
    let next = create(&store, with_unique("u", 5)).await;
    assert!(!next.duplicate);
    assert_eq!(create(&store, wanted).await.id, first.id, "its identity counts more");
    assert_eq!(
        store.create_all(&[with_unique("u", 6)]).await.unwrap().unwrap()[0].id,
        next.id
    );
}

/// However many create at once, each `unique` has one unfinished work.
pub async fn of_many_that_create_with_one_unique_at_once_one_does(store: AnyStore) {
    const TEXTS: usize = 5;
    let creators = (0..16).map(|turn| {
        let store = store.clone();
        tokio::spawn(async move {
            let text = |place: usize| format!("u{}", (turn * 7 + place * 3) % TEXTS);
            let works: Vec<NewWork> = (0..TEXTS).map(|place| with_unique(&text(place), 4)).collect();
            match turn % 2 {
                0 => store
                    .create(&works)
                    .await
                    .unwrap()
                    .into_iter()
                    .map(Option::unwrap)
                    .collect(),
                _ => store.create_all(&works).await.unwrap().unwrap(),
            }
        })
    });
    let creators: Vec<_> = creators.collect();
    let mut all: Vec<CreatedWork> = Vec::new();
    for creator in creators {
        all.extend(creator.await.unwrap());
    }
    assert_eq!(all.iter().filter(|created| !created.duplicate).count(), TEXTS);
    let mut answered: Vec<WorkId> = all.iter().map(|created| created.id).collect();
    answered.sort_unstable();
    answered.dedup();
    assert_eq!(answered.len(), TEXTS);
    assert_eq!(ids(&store, everything()).await.len(), TEXTS);
}

/// A finished work does not begin again while another one has its `unique`. Nothing changes, until that one is finished.
pub async fn a_work_does_not_begin_again_while_its_unique_is_held(store: AnyStore) {
    let first = failed_work(&store, "u", 4).await;
    let holder = create(&store, with_unique("u", 5)).await;
    let letter = letters(&store).await;
    let other_args = bound(9).args();
    let update = || store.update(&Principal::Open, first.id, &other_args, None, AT_ONCE);
    assert_eq!(update().await.unwrap(), Changed::UniqueHeld);
    assert_eq!(
        store.retry(&Principal::Open, first.id, None).await.unwrap(),
        Changed::UniqueHeld
    );
    assert_eq!(
        store
            .retry(&Principal::Open, first.id, Some(first.version + 1))
            .await
            .unwrap(),
        Changed::OtherVersion
    );
    assert_eq!(work_of(&store, first.id).await, first);
    assert_eq!(letters(&store).await, letter);

    let own = store
        .update(&Principal::Open, holder.id, &bound(7).args(), None, AT_ONCE)
        .await
        .unwrap();
    assert!(
        matches!(own, Changed::Applied(work) if work.unique == holder.unique),
        "its own"
    );
    store.cancel(&Principal::Open, holder.id, None).await.unwrap();
    assert!(matches!(update().await.unwrap(), Changed::Applied(work) if work.status == Status::Pending));
    assert_eq!(
        store.retry(&Principal::Open, holder.id, None).await.unwrap(),
        Changed::UniqueHeld
    );
}

/// A redrive leaves the letter of a work whose `unique` is held, and does not count it. Of several failed works with one
/// `unique` one is redriven.
pub async fn a_redrive_leaves_the_letters_of_works_whose_unique_is_held(store: AnyStore) {
    let [first, second] = [failed_work(&store, "u", 4).await, failed_work(&store, "u", 5).await];
    let other = failed_work(&store, "v", 6).await;
    let holder = create(&store, with_unique("v", 7)).await;
    let statuses = async || {
        let mut statuses = Vec::new();
        for work in [&first, &second, &other, &holder.work] {
            statuses.push(work_of(&store, work.id).await.status);
        }
        statuses
    };
    let redriven = async |which: Selection| {
        let counted = store.count_redrivable(&which).await.unwrap();
        let redriven = store.redrive(&Principal::Open, &which).await.unwrap();
        assert_eq!(counted, redriven, "{which:?}");
        redriven
    };
    assert_eq!(redriven(Selection::ALL).await, 1);
    let (pending, failed) = (Status::Pending, Status::Failed);
    assert_eq!(statuses().await, [pending, failed, failed, pending]);
    let left: Vec<Option<WorkId>> = letters(&store).await.iter().map(|letter| letter.work_id).collect();
    assert_eq!(left, [Some(other.id), Some(second.id)]);

    let ids = letters(&store).await.iter().map(|letter| letter.id).collect();
    assert_eq!(redriven(Selection::Ids(ids)).await, 0);
    store.cancel(&Principal::Open, holder.id, None).await.unwrap();
    assert_eq!(redriven(Selection::ALL).await, 1);
    assert_eq!(statuses().await, [pending, failed, pending, Status::Cancelled]);
    assert_eq!(letters(&store).await.len(), 1);
}

/// Two works with one `unique` count as one, however many letters are between theirs.
pub async fn a_dry_run_counts_works_with_one_unique_once(store: AnyStore) {
    failed_work(&store, "u", 4).await;
    let message = |number: u32| DeadMessage {
        kind: KindName::default(),
        message_id: MessageId::try_from(number.to_string()).unwrap(),
        properties: None,
        body: Bytes::from_static(b"{"),
        reason: "no JSON".to_owned(),
    };
    store
        .add_dead_letters(&(0..2500).map(message).collect::<Vec<_>>())
        .await
        .unwrap();
    failed_work(&store, "u", 5).await;
    assert_eq!(store.count_redrivable(&Selection::ALL).await.unwrap(), 2501);
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 2501);
    assert_eq!(store.count_redrivable(&Selection::ALL).await.unwrap(), 0);
}

/// Creators, retries and redrives of one `unique` at once leave one unfinished work, and none of them fails.
pub async fn whoever_begins_a_unique_first_wins(store: AnyStore) {
    for round in 0..10 {
        let first = failed_work(&store, "u", 4).await;
        let (creating, retrying, redriving) = tokio::join!(
            create(&store, with_unique("u", 5)),
            store.retry(&Principal::Open, first.id, None),
            store.redrive(&Principal::Open, &Selection::ALL),
        );
        let (retrying, redriven) = (retrying.unwrap(), redriving.unwrap());
        let mut begun = u64::from(!creating.duplicate) + redriven;
        match retrying {
            Changed::Applied(_) => begun += 1,
            Changed::UniqueHeld => {}
            other => assert!(matches!(other, Changed::WrongStatus(Status::Pending)), "{other:?}"),
        }
        assert_eq!(begun, 1, "round {round}");
        end(&store, done(1)).await;
        store.drop_letters(&Principal::Open, &Selection::ALL).await.unwrap();
    }
}

/// The newest work with a `unique` is found while it is unfinished, and by the time of its end.
pub async fn the_holder_of_a_unique_is_found(store: AnyStore) {
    let (kind, text) = (KindName::default(), unique("u"));
    let holder = async |since| store.by_unique(&kind, &text, since).await.unwrap().map(|work| work.id);
    assert_eq!(holder(0).await, None);
    let work = create(&store, with_unique("u", 4)).await;
    let other = "other".parse().unwrap();
    assert_eq!(store.by_unique(&other, &text, 0).await.unwrap(), None);
    assert_eq!(holder(i64::from(u32::MAX)).await, Some(work.id), "unfinished");
    end(&store, done(4)).await;
    let ended = work_of(&store, work.id).await.updated_on;
    assert_eq!((holder(ended).await, holder(ended + 1).await), (Some(work.id), None));
    let next = create(&store, with_unique("u", 5)).await;
    assert_eq!(holder(ended).await, Some(next.id));
    store.delete(&Principal::Open, next.id, None).await.unwrap();
    assert_eq!(holder(ended).await, Some(work.id));
}
