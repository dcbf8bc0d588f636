//! Works, changes, counters and dead letters of one kind among those of others.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::fixtures::{LEASE, claim, completion, done, everything, failed, letters, new_work, now, work_of};
use super::views::the_counters_are_the_truth;
use pp_lib::domain::{
    ByStatus, DeadLetter, DeadLetterId, Json, KindCounts, KindName, LetterGroup, MessageId, Origin, Principal, Seconds,
    Status, Work, WorkId,
};
use pp_lib::store::{AnyStore, Change, DeadMessage, LetterFilter, NewWork, Outcome, Search, Selection};

fn kind(name: &str) -> KindName {
    name.parse().unwrap()
}

fn of_kind(name: &str, origin: Origin) -> NewWork {
    let work = new_work(origin, 3);
    match kind(name) {
        sum if sum.is_add_up_to() => work,
        kind => NewWork {
            kind,
            args: Json::accepted(r#"{"to":1.10}"#),
            ..work
        },
    }
}

/// Declares these kinds, since others are not sent.
async fn declared(store: &AnyStore, names: &[&str]) {
    for name in names {
        store
            .declare(&Principal::Open, &kind(name), &Json::accepted("{}"))
            .await
            .unwrap();
    }
}

async fn created(store: &AnyStore, names: &[&str]) -> Vec<Work> {
    declared(store, names).await;
    let works: Vec<NewWork> = names.iter().map(|name| of_kind(name, Origin::Api)).collect();
    let works = store.create_all(&works).await.unwrap().unwrap();
    works.into_iter().map(|created| created.work).collect()
}

/// Completes all that is pending. What becomes of a work depends on its kind and its place among those of its kind.
async fn completed(store: &AnyStore, outcome: impl Fn(&KindName, usize) -> Option<Outcome>) {
    let mut claims = claim(store).await;
    claims.sort_by_key(|claim| claim.id);
    let mut kinds: Vec<KindName> = claims.iter().map(|claim| claim.kind.clone()).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let of_kind = claims.iter().filter(|claim| claim.kind == kind).enumerate();
        let completions: Vec<_> = of_kind
            .filter_map(|(place, claim)| Some(completion(claim, outcome(&kind, place)?)))
            .collect();
        store.complete(&kind, &completions).await.unwrap();
    }
}

fn ids(works: &[Work]) -> Vec<WorkId> {
    works.iter().map(|work| work.id).collect()
}

pub async fn a_search_for_a_kind_finds_its_works_alone(store: AnyStore) {
    let names = ["mail", "add_up_to", "mail.bulk", "mail"];
    declared(&store, &names).await;
    for name in names.iter().cycle().take(40) {
        let origin = Origin::ALL[usize::from(rand::random::<bool>())];
        store.create(&[of_kind(name, origin)]).await.unwrap();
    }
    completed(&store, |_, place| match place % 5 {
        0 => Some(done(3)),
        1 => Some(failed("never")),
        2 => Some(Outcome::running(LEASE)),
        _ => None,
    })
    .await;
    let all = store.search(&everything()).await.unwrap();
    store.cancel(&Principal::Open, all[0].id, None).await.unwrap();
    store.delete(&Principal::Open, all[9].id, None).await.unwrap();
    let all = store.search(&everything()).await.unwrap();
    assert_eq!(all.len(), 39);
    let statuses = Status::ALL.map(|status| Some((status, true)));
    for status in [&statuses[..], &[None, Some((Status::Done, false))]].concat() {
        for name in ["mail", "mail.bulk", "add_up_to", "mai", "other"] {
            for (code, since, before) in [
                ("", None, None),
                ("consumer-", Some(0), None),
                ("api-", None, Some(all[20].id)),
            ] {
                let search = Search {
                    work_code: pp_lib::domain::WorkCodePrefix::parse(code),
                    kind: Some(kind(name)),
                    status,
                    since,
                    before,
                    limit: 1000,
                };
                let matches = |work: &&Work| {
                    work.kind.as_str() == name
                        && work.work_code.as_str().starts_with(code)
                        && status.is_none_or(|(status, within)| (work.status == status) == within)
                        && before.is_none_or(|before| work.id < before)
                };
                let expected: Vec<WorkId> = all.iter().filter(matches).map(|work| work.id).collect();
                let found = store.search(&search).await.unwrap();
                assert_eq!(ids(&found), expected, "{search:?}");
                let counted = store.count(&search, 1000).await.unwrap();
                assert_eq!(counted as usize, expected.len(), "{search:?}");
                let some = Search { limit: 2, ..search };
                let found = store.search(&some).await.unwrap();
                assert_eq!(ids(&found), expected[..expected.len().min(2)], "{some:?}");
            }
        }
    }
}

pub async fn a_change_tells_the_kind_of_its_work(store: AnyStore) {
    let beginning = store.head().await.unwrap();
    let works = created(&store, &["mail", "add_up_to", "mail.bulk"]).await;
    store.cancel(&Principal::Open, works[2].id, None).await.unwrap();
    let mut told: Vec<Change>;
    eventually!({
        let page = store.changes(&beginning, 100).await.unwrap().unwrap();
        told = page.items;
        told.len() == 4
    });
    for change in told {
        assert_eq!(change.kind, work_of(&store, change.work_id).await.kind, "{change:?}");
    }
}

/// Two failed works of each of these kinds, and messages of the first one.
async fn with_letters(store: &AnyStore) -> Vec<DeadLetter> {
    created(
        store,
        &["mail", "mail", "add_up_to", "add_up_to", "mail.bulk", "mail.bulk"],
    )
    .await;
    completed(store, |_, place| {
        Some(failed(["no address", "50%_é: no \"server\""][place % 2]))
    })
    .await;
    let message = |id: &str, name: &str, reason: &str| DeadMessage {
        kind: kind(name),
        message_id: MessageId::try_from(id.to_owned()).unwrap(),
        properties: None,
        body: Bytes::from_static(b"{"),
        reason: reason.to_owned(),
    };
    let messages = [
        message("one", "mail", "no JSON"),
        message("one", "add_up_to", "no JSON"),
        message("two", "mail", "no address\0 at all"),
    ];
    store.add_dead_letters(&messages).await.unwrap();
    letters(store).await
}

fn filter(name: Option<&str>, error: Option<&str>) -> LetterFilter {
    LetterFilter {
        kind: name.map(kind),
        error: error.map(str::to_owned),
    }
}

/// Filters, and the number of letters of [`with_letters`] that each has.
fn filters() -> Vec<(LetterFilter, usize)> {
    let (mail, bulk) = (Some("mail"), Some("mail.bulk"));
    vec![
        (LetterFilter::ALL, 9),
        (filter(mail, None), 4),
        (filter(bulk, None), 2),
        (filter(Some("add_up_to"), None), 3),
        (filter(Some("mai"), None), 0),
        (filter(None, Some("no address")), 4),
        (filter(None, Some("no ")), 6),
        (filter(None, Some("50%_é: no \"server\"")), 3),
        (filter(None, Some("50%_é: no \"server\".")), 0),
        (filter(None, Some("50__")), 0),
        (filter(None, Some("%")), 0),
        (filter(None, Some("No")), 0),
        (filter(mail, Some("no address")), 2),
        (filter(mail, Some("no address ")), 0),
        (filter(bulk, Some("50%")), 1),
        (filter(bulk, Some("no JSON")), 0),
    ]
}

fn chosen(all: &[DeadLetter], filter: &LetterFilter) -> Vec<DeadLetterId> {
    let matches = |letter: &&DeadLetter| {
        filter.kind.as_ref().is_none_or(|kind| *kind == letter.kind)
            && (filter.error.as_ref()).is_none_or(|error| letter.reason.starts_with(error))
    };
    all.iter().filter(matches).map(|letter| letter.id).collect()
}

fn numbers(letters: &[DeadLetter]) -> Vec<DeadLetterId> {
    letters.iter().map(|letter| letter.id).collect()
}

pub async fn letters_are_listed_by_kind_and_by_the_beginning_of_their_reason(store: AnyStore) {
    let all = with_letters(&store).await;
    for (filter, count) in filters() {
        let expected = chosen(&all, &filter);
        assert_eq!(expected.len(), count, "{filter:?}");
        let listed = store.dead_letters(&filter, None, 1000).await.unwrap();
        assert_eq!(numbers(&listed), expected, "{filter:?}");
        let page = store.dead_letters(&filter, Some(all[3].id), 2).await.unwrap();
        let rest: Vec<_> = expected.into_iter().filter(|id| *id < all[3].id).take(2).collect();
        assert_eq!(numbers(&page), rest, "{filter:?}");
    }
}

/// The groups that these letters make.
fn groups_of(letters: &[DeadLetter]) -> Vec<LetterGroup> {
    let mut groups: BTreeMap<(KindName, String), LetterGroup> = BTreeMap::new();
    for letter in letters.iter().filter(|letter| !letter.redriven) {
        // SQLite keeps zero bytes, where its texts end for the functions that it has.
        let reason = letter.reason.split('\0').next().unwrap();
        let error: String = reason.chars().take(LetterGroup::ERROR_CHARACTERS).collect();
        let new = || LetterGroup {
            kind: letter.kind.clone(),
            error: error.clone(),
            letters: 0,
            messages: 0,
            oldest_on: letter.created_on,
            newest_on: letter.created_on,
        };
        let group = groups.entry((letter.kind.clone(), error.clone())).or_insert_with(new);
        group.letters += 1;
        group.messages += i64::from(letter.work_id.is_none());
        group.oldest_on = group.oldest_on.min(letter.created_on);
        group.newest_on = group.newest_on.max(letter.created_on);
    }
    groups.into_values().collect()
}

pub async fn letters_are_grouped_by_kind_and_by_the_beginning_of_their_reason(store: AnyStore) {
    assert_eq!(store.letter_groups(None, 10).await.unwrap(), []);
    let all = with_letters(&store).await;
    let dead = |reason: String, id: &str| DeadMessage {
        kind: kind("mail"),
        message_id: MessageId::try_from(id.to_owned()).unwrap(),
        properties: None,
        body: Bytes::new(),
        reason,
    };
    let long = "\u{fc}\u{4e16}".repeat(LetterGroup::ERROR_CHARACTERS / 2);
    let messages = [dead(format!("{long}1"), "long 1"), dead(format!("{long}2"), "long 2")];
    store.add_dead_letters(&messages).await.unwrap();
    let mail = Selection::Matching(filter(Some("mail"), Some("no address")));
    for redriven in [0, 2] {
        let expected = groups_of(&letters(&store).await);
        let mut groups = store.letter_groups(None, 1000).await.unwrap();
        assert!(
            groups.is_sorted_by_key(|group| std::cmp::Reverse(group.letters)),
            "{groups:?}"
        );
        let most = store.letter_groups(None, 2).await.unwrap();
        assert_eq!(most, groups[..2]);
        groups.sort_by(|one, other| (&one.kind, &one.error).cmp(&(&other.kind, &other.error)));
        assert_eq!(groups, expected);
        assert!(groups.iter().any(|group| group.error == long && group.messages == 2));
        for name in ["mail", "add_up_to", "other"] {
            let of_kind = store.letter_groups(Some(&kind(name)), 1000).await.unwrap();
            let letters: i64 = of_kind.iter().map(|group| group.letters).sum();
            let expected = expected.iter().filter(|group| group.kind.as_str() == name);
            assert_eq!(letters, expected.map(|group| group.letters).sum::<i64>(), "{name}");
            assert!(of_kind.iter().all(|group| group.kind.as_str() == name));
        }
        if redriven == 0 {
            assert!(all.len() > 4);
            assert_eq!(store.redrive(&Principal::Open, &mail).await.unwrap(), 2);
        }
    }
}

pub async fn the_last_seconds_tell_the_busiest_kinds_apart(store: AnyStore) {
    let empty = store.seconds().await.unwrap();
    let length = Seconds::COUNT as usize;
    assert_eq!((empty.done.len(), empty.p50_ms), (0, vec![None; length]));
    let names: Vec<String> = (0..Seconds::MOST_KINDS + 2)
        .map(|number| format!("kind{number:02}"))
        .collect();
    // The first kind has most works.
    let works: Vec<&str> = (0..names.len())
        .flat_map(|place| &names[..=place])
        .map(String::as_str)
        .collect();
    created(&store, &works).await;
    completed(&store, |_, _| Some(done(3))).await;
    let total = |seconds: &Seconds| -> i64 { seconds.done.iter().flat_map(|done| &done.per_second).sum() };
    for is_rolled_up in [false, true] {
        if is_rolled_up {
            store.roll_up().await.unwrap();
        }
        eventually!(total(&store.seconds().await.unwrap()) == works.len() as i64);
        let seconds = store.seconds().await.unwrap();
        let told: Vec<(Option<&str>, i64)> = (seconds.done.iter())
            .map(|done| (done.kind.as_ref().map(KindName::as_str), done.per_second.iter().sum()))
            .collect();
        let apart = names.iter().take(Seconds::MOST_KINDS).enumerate();
        let mut expected: Vec<(Option<&str>, i64)> = apart
            .map(|(place, name)| (Some(name.as_str()), (names.len() - place) as i64))
            .collect();
        expected.push((None, 2 + 1));
        assert_eq!(told, expected);
        assert!(seconds.done.iter().all(|done| done.per_second.len() == length));
        for second in 0..length {
            let any = seconds.done.iter().any(|done| done.per_second[second] > 0);
            assert_eq!(
                (seconds.p50_ms[second].is_some(), seconds.p99_ms[second].is_some()),
                (any, any)
            );
        }
        assert!((now() - Seconds::COUNT - 2..=now() - Seconds::COUNT).contains(&seconds.from));
    }
}

pub async fn letters_are_counted_and_nothing_changes(store: AnyStore) {
    let all = with_letters(&store).await;
    for (filter, count) in filters() {
        let which = Selection::Matching(filter);
        assert_eq!(store.count_letters(&which).await.unwrap(), count as u64, "{which:?}");
        assert_eq!(store.count_redrivable(&which).await.unwrap(), count as u64, "{which:?}");
    }
    let twice = Selection::Ids(vec![all[0].id, all[0].id, all[1].id, DeadLetterId(i64::MAX)]);
    assert_eq!(store.count_letters(&twice).await.unwrap(), 2);
    assert_eq!(store.count_redrivable(&twice).await.unwrap(), 2);
    assert_eq!(letters(&store).await, all);
    for letter in &all {
        if let Some(id) = letter.work_id {
            assert_eq!(work_of(&store, id).await.status, Status::Failed);
        }
    }
}

pub async fn letters_are_redriven_by_kind_and_by_the_beginning_of_their_reason(store: AnyStore) {
    let all = with_letters(&store).await;
    let which = Selection::Matching(filter(Some("mail"), Some("no address")));
    assert_eq!(store.redrive(&Principal::Open, &which).await.unwrap(), 2);
    // The work has no letter any more, and the message is on its way.
    let message = all.iter().find(|letter| letter.message_id.as_deref() == Some("two"));
    let left = letters(&store).await;
    assert_eq!(left.len(), 8);
    let on_the_way: Vec<_> = left.iter().filter(|letter| letter.redriven).collect();
    assert_eq!(on_the_way.len(), 1);
    assert_eq!(on_the_way[0].id, message.unwrap().id);
    assert_eq!(store.count_letters(&which).await.unwrap(), 1);
    assert_eq!(store.count_redrivable(&which).await.unwrap(), 0);
    assert_eq!(store.redrive(&Principal::Open, &which).await.unwrap(), 0);
    let pending = Search {
        status: Some((Status::Pending, true)),
        ..everything()
    };
    let pending = store.search(&pending).await.unwrap();
    assert_eq!((pending.len(), pending[0].kind.as_str()), (1, "mail"));

    let rest = store.count_redrivable(&Selection::ALL).await.unwrap();
    assert_eq!(
        (rest, store.redrive(&Principal::Open, &Selection::ALL).await.unwrap()),
        (7, 7)
    );
}

pub async fn letters_are_dropped_by_kind_and_by_the_beginning_of_their_reason(store: AnyStore) {
    let all = with_letters(&store).await;
    let mut left = numbers(&all);
    for (filter, _) in filters().into_iter().skip(1).rev() {
        let chosen = chosen(&letters(&store).await, &filter);
        left.retain(|id| !chosen.contains(id));
        let which = Selection::Matching(filter);
        assert_eq!(
            store.drop_letters(&Principal::Open, &which).await.unwrap(),
            chosen.len() as u64,
            "{which:?}"
        );
        assert_eq!(numbers(&letters(&store).await), left, "{which:?}");
    }
    for letter in all {
        if let Some(id) = letter.work_id {
            assert_eq!(work_of(&store, id).await.status, Status::Failed);
        }
    }
}

pub async fn thousands_of_letters_of_a_kind_are_chosen_at_once(store: AnyStore) {
    let message = |number: usize| DeadMessage {
        kind: kind(["mail", "add_up_to"][number % 2]),
        message_id: MessageId::try_from(number.to_string()).unwrap(),
        properties: None,
        body: Bytes::from_static(b"{"),
        reason: "no JSON".to_owned(),
    };
    let messages: Vec<DeadMessage> = (0..9000).map(message).collect();
    store.add_dead_letters(&messages).await.unwrap();
    let which = Selection::Matching(filter(Some("mail"), None));
    assert_eq!(store.count_redrivable(&which).await.unwrap(), 4500);
    assert_eq!(store.redrive(&Principal::Open, &which).await.unwrap(), 4500);
    assert_eq!(store.count_redrivable(&which).await.unwrap(), 0);
    assert_eq!(store.drop_letters(&Principal::Open, &which).await.unwrap(), 4500);
    assert_eq!(store.count_letters(&Selection::ALL).await.unwrap(), 4500);
}

pub async fn a_letter_whose_work_moved_on_is_not_counted_for_a_redrive(store: AnyStore) {
    created(&store, &["mail"; 3]).await;
    completed(&store, |_, _| Some(failed("never"))).await;
    let letters = letters(&store).await;
    let ids = letters.iter().map(|letter| letter.work_id.unwrap());
    let works: Vec<WorkId> = ids.collect();
    store.retry(&Principal::Open, works[0], None).await.unwrap();
    store.delete(&Principal::Open, works[1], None).await.unwrap();
    let which = Selection::Ids(numbers(&letters));
    assert_eq!(store.count_redrivable(&which).await.unwrap(), 1);
    assert_eq!(store.redrive(&Principal::Open, &which).await.unwrap(), 1);
}

pub async fn counters_tell_kinds_apart(store: AnyStore) {
    assert_eq!(store.kind_counts().await.unwrap(), []);
    let works = created(&store, &["mail", "add_up_to", "mail", "add_up_to", "mail", "mail.bulk"]).await;
    let later = NewWork {
        run_at: Some(now() + 3600),
        ..of_kind("mail", Origin::Consumer)
    };
    store.create(&[later]).await.unwrap();
    completed(&store, |kind, place| match (kind.as_str(), place) {
        ("mail", 0) | ("add_up_to", 0) => Some(done(3)),
        ("mail", 1) => Some(failed("never")),
        ("mail", 2) => Some(Outcome::running(LEASE)),
        _ => None,
    })
    .await;
    store.cancel(&Principal::Open, works[5].id, None).await.unwrap();

    let none = ByStatus::default();
    let counts = |name: &str, works: ByStatus| KindCounts {
        kind: kind(name),
        works,
    };
    let mail = ByStatus {
        pending: 1,
        running: 1,
        done: 1,
        failed: 1,
        cancelled: 0,
    };
    let sums = ByStatus {
        pending: 1,
        done: 1,
        ..none
    };
    let bulk = ByStatus { cancelled: 1, ..none };
    let expected = [
        counts("add_up_to", sums),
        counts("mail", mail),
        counts("mail.bulk", bulk),
    ];
    assert_eq!(store.kind_counts().await.unwrap(), expected);
    let (mail, unknown) = (kind("mail"), kind("mai"));
    assert_eq!(store.stats(Some(&unknown)).await.unwrap(), Default::default());
    let of_mail = async || store.stats(Some(&mail)).await.unwrap();
    let stats = of_mail().await;
    assert_eq!((stats.backlog, stats.scheduled, stats.newest.len()), (1, 1, 4));
    assert!(stats.newest.iter().all(|work| work.kind == mail));
    assert_eq!((stats.works.consumer.pending, stats.works.api.pending), (1, 0));
    let sums = store.stats(Some(KindName::add_up_to())).await.unwrap();
    assert_eq!((sums.backlog, sums.scheduled, sums.newest.len()), (1, 0, 2));

    // Rates and latencies, rolled up or not.
    let begun = std::time::Instant::now();
    for _ in 0..2 {
        let rate = async || (of_mail().await.works_per_second.over_60s * 60.0).round();
        if begun.elapsed() < Duration::from_secs(40) {
            eventually!(rate().await == 1.0);
            assert!(of_mail().await.latency_ms.p50.is_some());
        }
        let bulk = store.stats(Some(&kind("mail.bulk"))).await.unwrap();
        assert_eq!((bulk.works_per_second.over_60s, bulk.latency_ms.p50), (0.0, None));
        store.roll_up().await.unwrap();
    }
    assert_eq!(store.kind_counts().await.unwrap(), expected);
    store.rebuild().await.unwrap();
    assert_eq!(store.kind_counts().await.unwrap(), expected);
    the_counters_are_the_truth(&store).await;

    for work in store.search(&everything()).await.unwrap() {
        store.delete(&Principal::Open, work.id, None).await.unwrap();
    }
    assert_eq!(store.kind_counts().await.unwrap(), [], "kinds without works");
}
