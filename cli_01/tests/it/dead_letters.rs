//! `deadletter list`, `redrive` and `drop`, with a database and over HTTP.

use std::path::Path;

use pp_lib::domain::{DeadLetter, KindName, MessageId, Run, Work};
use pp_lib::store::{Completion, Completions as _, DeadLetters as _, DeadMessage, Guard, Outcome};
use tempfile::TempDir;

use crate::embedded::{db, json, new_work, prepared, with_store};
use crate::http::Server;

const LETTERS: &str = r#"[{"id":3,"work_id":21,"work_code":"api-bjq8euwsEA","message_id":"m","body":null,"body_bytes":null,"reason":"no\nluck","attempts":5,"demanded_on":1634115736,"created_on":1634115737,"redriven":false,"kind":"add_up_to"},{"id":2,"work_id":null,"work_code":null,"message_id":"m2","body":"0123456789012345678901234567890123456789x","body_bytes":41,"reason":"malformed","attempts":0,"demanded_on":null,"created_on":1634115736,"redriven":false,"kind":"add_up_to"}]"#;

/// The database of the other tests, with work 2 failed as letter 1, and a message as letter 2.
fn with_letters() -> TempDir {
    let folder = prepared();
    with_store(&folder, async |store| {
        let work = new_work("m2", "consumer-aaaaaaaaa2", "100");
        let failed = Completion {
            message_id: work.message_id,
            work_code: work.work_code,
            args: Some(work.args.clone()),
            guard: Guard::Pending(Run::FIRST),
            outcome: Outcome::Failed {
                reason: "no luck".to_owned(),
            },
        };
        store.complete(KindName::add_up_to(), &[failed]).await.unwrap();
        let message = DeadMessage {
            kind: KindName::default(),
            message_id: MessageId::try_from("m3".to_owned()).unwrap(),
            properties: None,
            body: "no {JSON".into(),
            reason: "malformed".to_owned(),
        };
        store.add_dead_letters(&[message]).await.unwrap();
    });
    folder
}

fn listed(folder: &Path, args: &[&str]) -> Vec<DeadLetter> {
    json(db(
        folder,
        &[&["deadletter", "list", "--output", "json"], args].concat(),
    ))
}

#[test]
fn letters_are_listed_newest_first_in_pages() {
    let folder = with_letters();
    let ids = |args: &[&str]| {
        listed(folder.path(), args)
            .iter()
            .map(|letter| letter.id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), [2, 1]);
    assert_eq!(ids(&["--limit", "1"]), [2]);
    assert_eq!(ids(&["--before", "2"]), [1]);
    let table = db(folder.path(), &["deadletter", "list"]).done();
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[1].contains("malformed") && lines[1].ends_with("no {JSON"),
        "{table}"
    );
    assert!(
        lines[2].contains("consumer-aaaaaaaaa2") && lines[2].contains("no luck"),
        "{table}"
    );
    assert_eq!(lines.len(), 3, "{table}");
}

#[test]
fn a_redriven_work_is_pending_and_its_letter_gone() {
    let folder = with_letters();
    let redrive = |args: &[&str]| db(folder.path(), &[&["deadletter", "redrive"], args].concat());
    assert_eq!(redrive(&["--id", "1", "77"]).done(), "redriven: 1\n");
    let work: Work = json(db(folder.path(), &["--id", "2", "--output", "json"]));
    assert_eq!(work.status, pp_lib::domain::Status::Pending);
    redrive(&["--id", "1"]).failed(1, "there is no such dead letter");
    assert_eq!(redrive(&["--all", "--output", "json"]).done(), "{\"redriven\":1}\n");
    assert!(listed(folder.path(), &[])[0].redriven);
}

#[test]
fn dropped_letters_are_gone_and_their_works_stay_failed() {
    let folder = with_letters();
    let drop = |args: &[&str]| db(folder.path(), &[&["deadletter", "drop"], args].concat());
    assert_eq!(drop(&["--id", "1"]).done(), "dropped: 1\n");
    let work: Work = json(db(folder.path(), &["--id", "2", "--output", "json"]));
    assert_eq!(work.status, pp_lib::domain::Status::Failed);
    assert_eq!(drop(&["--all"]).done(), "dropped: 1\n");
    drop(&["--all"]).failed(1, "there is no such dead letter");
    db(folder.path(), &["deadletter", "list"]).failed(1, "there is no such dead letter");
    let none = drop(&["--all", "--output", "json"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), "{\"dropped\":0}\n"));
}

#[test]
fn the_commands_work_over_http() {
    let server = Server::json(LETTERS);
    let args = ["deadletter", "list", "--limit", "2", "--before", "9"];
    let table = server.call(&args).done();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines,
        [
            "ID  WORK  WORK CODE       ATTEMPTS  DEAD SINCE (UTC)     REASON     MESSAGE",
            " 3    21  api-bjq8euwsEA         5  2021-10-13 09:02:17  no luck    -",
            " 2     -  -                      0  2021-10-13 09:02:16  malformed  0123456789012345678901234567890123456789…",
        ]
    );
    assert_eq!(server.request().0, "GET /deadletter?limit=2&before=9 HTTP/1.1");
    let server = Server::json(LETTERS);
    let document = server.call(&["deadletter", "list", "--output", "json"]).done();
    assert_eq!(document, format!("{LETTERS}\n"));

    let server = Server::json(r#"{"redriven":2}"#);
    assert_eq!(
        server.call(&["deadletter", "redrive", "--id", "1,2"]).done(),
        "redriven: 2\n"
    );
    assert_eq!(server.request().0, "POST /deadletter/redrive?ids=1%2C2 HTTP/1.1");
    let server = Server::json(r#"{"dropped":0}"#);
    let none = server.call(&["deadletter", "drop", "--all"]);
    none.failed(1, "there is no such dead letter");
    assert_eq!(server.request().0, "DELETE /deadletter?all=true HTTP/1.1");
    let server = Server::problem("503 Service Unavailable", "later");
    server.call(&["deadletter", "redrive", "--all"]).failed(3, "later");
}

#[test]
fn a_selection_of_letters_is_required() {
    let folder = with_letters();
    for args in [
        &["redrive"][..],
        &["drop"],
        &["redrive", "--all", "--id", "1"],
        &["drop", "--id", "x"],
    ] {
        let called = db(folder.path(), &[&["deadletter"], args].concat());
        assert_eq!((called.code, called.stdout.as_str()), (Some(2), ""), "{called:?}");
        assert_eq!(called.stderr.lines().count(), 1, "{called:?}");
    }
    assert_eq!(listed(folder.path(), &[]).len(), 2);
}
