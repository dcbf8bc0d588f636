//! Notices of finished works, which are enqueued by the change that finishes them, and the secrets that sign for a kind.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{LEASE, applied, claim, complete_one, completion, done, failed, ids, new_work, running, work_of};
use super::kinds::{json, kind, wanted};
use pp_lib::domain::{Json, KindName, Origin, Principal, SigningSecret, WebUrl, Work, WorkId};
use pp_lib::runtime::{new_message_id, new_signing_secret, new_work_code};
use pp_lib::store::{AnyStore, Changed, Completed, Completion, Guard, NewWork, Outcome, Search};
use serde::Deserialize;
use serde_json::Value;

const URL: &str = "https://hooks.example/done?team=7";

/// The arguments of a notice.
#[derive(Deserialize)]
struct Notice {
    url: String,
    r#type: String,
    timestamp: String,
    data: Json,
}

fn url(text: &str) -> Option<WebUrl> {
    Some(text.to_owned().try_into().unwrap())
}

fn told(kind: &KindName, args: &str) -> NewWork {
    NewWork {
        notify: url(URL),
        ..wanted(kind, &json(args))
    }
}

async fn create(store: &AnyStore, new: NewWork) -> Work {
    super::kinds::create(store, &[new]).await.remove(0)
}

/// The answer to a completion of a mail.
async fn complete_mail(store: &AnyStore, completion: Completion) -> Completed {
    store.complete(&kind("mail"), &[completion]).await.unwrap().remove(0)
}

/// Lets all works of a kind tell a URL.
async fn declare(store: &AnyStore, kind: &KindName, policy: &str) {
    let declaration = Json::accepted(format!(r#"{{"policy":{policy}}}"#));
    store.declare(&Principal::Open, kind, &declaration).await.unwrap();
}

/// The notices there are, the oldest first.
async fn notices(store: &AnyStore) -> Vec<Notice> {
    let search = Search {
        kind: Some(KindName::notice().clone()),
        work_code: None,
        status: None,
        since: None,
        before: None,
        limit: 1000,
    };
    let mut all = Vec::new();
    for id in ids(store, search).await.into_iter().rev() {
        let notice = work_of(store, WorkId(id)).await;
        let events = super::fixtures::history(store, WorkId(id)).await;
        let names = super::fixtures::names(&events);
        assert_eq!(
            (names, events[0].1.as_str()),
            (vec!["work/created"], notice.args.as_str())
        );
        all.push(notice.args.read().unwrap());
    }
    all
}

/// Checks the only notice: it is about this work as it is now.
async fn is_told_once(store: &AnyStore, id: WorkId, status: &str) {
    let [notice] = notices(store)
        .await
        .try_into()
        .unwrap_or_else(|all: Vec<Notice>| panic!("{} notices", all.len()));
    let work = work_of(store, id).await;
    let shown = serde_json::to_string(&work).unwrap();
    assert_eq!(notice.data.as_str(), shown, "byte for byte as the API shows it");
    assert_eq!((notice.url.as_str(), notice.r#type), (URL, format!("work.{status}")));
    assert_eq!(work.status.as_str(), status);
    let (date, rest) = notice.timestamp.split_at(10);
    assert!(
        date.matches('-').count() == 2 && rest.starts_with('T') && rest.ends_with('Z'),
        "{date}{rest}"
    );
}

pub async fn a_done_work_is_told(store: AnyStore) {
    let args = r#"{"text":"\"é\\ 😀","n":1.10,"big":1e400}"#;
    let work = create(&store, told(&kind("mail"), args)).await;
    let claimed = claim(&store).await.remove(0);
    assert!(notices(&store).await.is_empty(), "it is not finished");
    let result = Outcome::Done {
        result: json(r#"{"sent": 1.10, "to":["a\nb"]}"#),
    };
    assert!(applied(
        &complete_mail(&store, completion(&claimed, result.clone())).await
    ));
    is_told_once(&store, work.id, "done").await;
    assert!(!applied(&complete_mail(&store, completion(&claimed, result)).await));
    is_told_once(&store, work.id, "done").await;
}

pub async fn a_failed_work_is_told_with_its_reason(store: AnyStore) {
    let new = NewWork {
        unique: Some("user \"7\"".to_owned().try_into().unwrap()),
        run_at: Some(1_700_000_000),
        ..told(&kind("mail"), "{}")
    };
    let work = create(&store, new).await;
    let first = claim(&store).await.remove(0);
    let later = super::fixtures::retry(Duration::ZERO);
    assert!(applied(&complete_mail(&store, completion(&first, later)).await));
    assert!(notices(&store).await.is_empty(), "it is tried again");
    let second = claim(&store).await.remove(0);
    let start = Outcome::running(LEASE);
    complete_mail(&store, completion(&second, start)).await;
    assert!(applied(
        &complete_mail(&store, running(&second, failed("no \"address\"\tfor é"))).await
    ));
    is_told_once(&store, work.id, "failed").await;
}

pub async fn a_cancelled_work_is_told(store: AnyStore) {
    let work = create(&store, told(&kind("mail"), "[1]")).await;
    store.cancel(&Principal::Open, work.id, None).await.unwrap();
    is_told_once(&store, work.id, "cancelled").await;
    // Run again, it finishes again.
    store.retry(&Principal::Open, work.id, None).await.unwrap();
    store.delete(&Principal::Open, work.id, None).await.unwrap();
    let all = notices(&store).await;
    let types: Vec<&str> = all.iter().map(|notice| notice.r#type.as_str()).collect();
    assert_eq!(types, ["work.cancelled", "work.cancelled"], "deleting cancels it");
}

pub async fn a_work_that_lost_its_workers_is_told(store: AnyStore) {
    let work = create(&store, told(&kind("mail"), "1")).await;
    let claimed = claim(&store).await.remove(0);
    complete_mail(&store, completion(&claimed, Outcome::running(Duration::ZERO))).await;
    eventually!(store.rescue(0, 10).await.unwrap() > 0);
    is_told_once(&store, work.id, "failed").await;
}

pub async fn a_kind_tells_of_its_works(store: AnyStore) {
    let mail = kind("mail");
    declare(&store, &mail, &format!(r#"{{"notify":"{URL}"}}"#)).await;
    let made = |text: &str| wanted(&mail, &json(text));
    let first = store.create(&[made("1")]).await.unwrap().remove(0).unwrap();
    let claimed = claim(&store).await.remove(0);
    complete_mail(&store, completion(&claimed, Outcome::Done { result: json("2") })).await;
    is_told_once(&store, first.id, "done").await;

    // A work that is recorded with its result, and the address at the time of its end.
    let other = "https://other.example/";
    let overrides = Json::accepted(format!(r#"{{"notify":"{other}"}}"#));
    store
        .set_overrides(&Principal::Open, &mail, &overrides, None)
        .await
        .unwrap();
    let at_once = Completion {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Consumer),
        args: Some(json("3")),
        guard: Guard::NoRow,
        outcome: Outcome::Done { result: json("4") },
    };
    let completed = store.complete(&mail, &[at_once]).await.unwrap();
    assert!(applied(&completed[0]));
    let all = notices(&store).await;
    let urls: Vec<&str> = all.iter().map(|notice| notice.url.as_str()).collect();
    assert_eq!(urls, [URL, other]);

    // A work has its own address, and a kind may tell nobody any more.
    store.create(&[told(&mail, "5"), made("6")]).await.unwrap();
    let nobody = Json::accepted("{}");
    store.declare(&Principal::Open, &mail, &nobody).await.unwrap();
    store
        .set_overrides(&Principal::Open, &mail, &nobody, None)
        .await
        .unwrap();
    for claimed in claim(&store).await.iter().filter(|claim| claim.kind == mail) {
        complete_mail(&store, completion(claimed, Outcome::Done { result: json("7") })).await;
    }
    let all = notices(&store).await;
    let about: Vec<Value> = all
        .iter()
        .map(|notice| notice.data.read::<Value>().unwrap()["args"].clone())
        .collect();
    assert_eq!(about, [1, 3, 5]);
}

pub async fn a_sum_is_told_in_its_own_form(store: AnyStore) {
    let new = NewWork {
        notify: url(URL),
        ..new_work(Origin::Api, 13)
    };
    let work = store.create(&[new]).await.unwrap().remove(0).unwrap();
    let claimed = claim(&store).await.remove(0);
    complete_one(&store, completion(&claimed, done(13))).await;
    is_told_once(&store, work.id, "done").await;
}

pub async fn secrets_are_rotated(store: AnyStore) {
    let mail = kind("mail");
    let set = async |secret: &SigningSecret, keep: u64| {
        let keep = Duration::from_secs(keep);
        store.set_secret(&Principal::Open, &mail, secret, keep).await.unwrap()
    };
    let [first, second, third] = [0; 3].map(|_| new_signing_secret());
    assert!(
        matches!(set(&first, 60).await, Changed::Missing),
        "there is no such kind"
    );
    declare(&store, &mail, "{}").await;
    let revision = store.kinds_revision().await.unwrap();
    assert!(matches!(set(&first, 60).await, Changed::Applied(None)));
    assert!(store.kinds_revision().await.unwrap() > revision, "others look again");
    assert_eq!(store.secrets(&mail).await.unwrap(), std::slice::from_ref(&first));
    assert!(matches!(set(&second, 60).await, Changed::Applied(Some(_))));
    assert_eq!(store.secrets(&mail).await.unwrap(), [second.clone(), first.clone()]);
    let revision = store.kinds_revision().await.unwrap();
    assert!(
        matches!(set(&second, 0).await, Changed::Applied(Some(_))),
        "a repetition"
    );
    assert_eq!(store.secrets(&mail).await.unwrap(), [second, first]);
    assert_eq!(store.kinds_revision().await.unwrap(), revision);
    set(&third, 0).await;
    assert_eq!(store.secrets(&mail).await.unwrap(), [third]);
    assert_eq!(store.secrets(&kind("other")).await.unwrap(), []);
    let kinds = store.kinds().await.unwrap();
    let has: Vec<bool> = kinds
        .iter()
        .filter(|row| row.name == mail)
        .map(|row| row.has_secret)
        .collect();
    assert_eq!(has, [true]);
}
