//! `--kind`, `--error` and `--dry-run`, with a database and over HTTP.

use std::path::Path;

use pp_lib::domain::{DeadLetter, Json, KindName, Run, Stats, Work};
use pp_lib::store::{Completion, Completions as _, Guard, NewWork, Outcome, WorkRows as _};
use tempfile::TempDir;

use crate::embedded::{db, json, new_work, prepared, with_store};
use crate::http::Server;

const LETTER: &str = r#"[{"id":3,"work_id":21,"work_code":"api-bjq8euwsEA","message_id":"m","body":null,"body_bytes":null,"reason":"no luck","attempts":5,"demanded_on":1634115736,"created_on":1634115737,"redriven":false,"kind":"mail"}]"#;
const CHANGE: &str = r#"{"id":7,"work_id":21,"work_code":"api-bjq8euwsEA","variable":"work/created","value":"{}","status":"pending","created_on":1634115737,"kind":"mail"}"#;

/// The database of the other tests, with mails 3 to 5. Two of them failed for one reason and one for another.
fn with_mails() -> TempDir {
    let folder = prepared();
    with_store(&folder, async |store| {
        let mail: KindName = "mail".parse().unwrap();
        for (number, reason) in [("3", "no address"), ("4", "no server"), ("5", "no address")] {
            let work = NewWork {
                kind: mail.clone(),
                args: Json::accepted("{}"),
                ..new_work(&format!("m{number}"), &format!("api-aaaaaaaaa{number}"), "1")
            };
            store.create(std::slice::from_ref(&work)).await.unwrap();
            let failed = Completion {
                message_id: work.message_id,
                work_code: work.work_code,
                args: Some(work.args),
                guard: Guard::Pending(Run::FIRST),
                outcome: Outcome::Failed {
                    reason: reason.to_owned(),
                },
            };
            store.complete(&mail, &[failed]).await.unwrap();
        }
    });
    folder
}

fn letters(folder: &Path, args: &[&str]) -> Vec<i64> {
    let list = ["deadletter", "list", "--output", "json"];
    let letters: Vec<DeadLetter> = json(db(folder, &[&list, args].concat()));
    letters.iter().map(|letter| letter.id.0).collect()
}

#[test]
fn a_search_finds_the_works_of_a_kind() {
    let folder = with_mails();
    let found = |args: &[&str]| {
        let works: Vec<Work> = json(db(folder.path(), &[&["search", "--output", "json"], args].concat()));
        works.iter().map(|work| work.id.0).collect::<Vec<_>>()
    };
    assert_eq!(found(&["--kind", "mail"]), [5, 4, 3]);
    assert_eq!(found(&["--kind", "mail", "--limit", "1"]), [5]);
    assert_eq!(found(&["--kind", "add_up_to"]), [2, 1]);
    db(folder.path(), &["search", "--kind", "mail", "--done", "true"]).failed(1, "no work matches");
}

#[test]
fn the_counters_of_a_kind_match_the_database() {
    let folder = with_mails();
    for args in [
        &["stats", "--kind", "mail"][..],
        &["stats", "--rebuild", "--kind", "mail"],
    ] {
        let stats: Stats = json(db(folder.path(), &[args, &["--output", "json"]].concat()));
        assert_eq!((stats.works.api.failed, stats.works.api.done), (3, 0));
        assert_eq!((stats.works.consumer.pending, stats.newest.len()), (0, 3));
    }
}

#[test]
fn letters_are_chosen_by_kind_and_error() {
    let folder = with_mails();
    assert_eq!(letters(folder.path(), &["--kind", "mail", "--error", "no a"]), [3, 1]);
    assert_eq!(letters(folder.path(), &["--error", "no"]), [3, 2, 1]);
    let table = db(folder.path(), &["deadletter", "list"]).done();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].contains("KIND") && lines[1].contains("mail"), "{table}");
    db(folder.path(), &["deadletter", "list", "--kind", "add_up_to"]).failed(1, "there is no such dead letter");

    let change = |args: &[&str]| db(folder.path(), &[&["deadletter"], args].concat());
    let chosen = ["--kind", "mail", "--error", "no address"];
    let dry = [&["redrive", "--dry-run"], &chosen[..]].concat();
    assert_eq!(change(&dry).done(), "would be redriven: 2\n");
    let as_json = [&dry[..], &["--output", "json"]].concat();
    assert_eq!(change(&as_json).done(), "{\"redriven\":2,\"dry_run\":true}\n");
    assert_eq!(letters(folder.path(), &[]), [3, 2, 1]);
    assert_eq!(change(&[&["redrive"], &chosen[..]].concat()).done(), "redriven: 2\n");
    assert_eq!(letters(folder.path(), &[]), [2]);
    change(&dry).failed(1, "there is no such dead letter");
    assert_eq!(change(&["drop", "--all", "--dry-run"]).done(), "would be dropped: 1\n");
    assert_eq!(change(&["drop", "--error", "no"]).done(), "dropped: 1\n");
}

#[test]
fn kinds_and_errors_become_parameters_of_the_api() {
    let requested = |answer: &str, args: &[&str]| {
        let server = Server::json(answer);
        server.call(args).done();
        server.request().0
    };
    let (kind, error) = (["--kind", "mail"], ["--error", "no & luck"]);
    let list = [&["deadletter", "list"], &kind[..], &error].concat();
    assert_eq!(
        requested(LETTER, &list),
        "GET /deadletter?limit=50&kind=mail&error=no%20%26%20luck HTTP/1.1"
    );
    let redrive = [&["deadletter", "redrive", "--dry-run"], &kind[..], &error].concat();
    assert_eq!(
        requested(r#"{"redriven":2,"dry_run":true}"#, &redrive),
        "POST /deadletter/redrive?kind=mail&error=no%20%26%20luck&dry_run=true HTTP/1.1"
    );
    let drop = [&["deadletter", "drop"], &error[..]].concat();
    assert_eq!(
        requested(r#"{"dropped":2}"#, &drop),
        "DELETE /deadletter?error=no%20%26%20luck HTTP/1.1"
    );
    let stats = serde_json::to_string(&Stats::default()).unwrap();
    assert_eq!(
        requested(&stats, &[&["stats"], &kind[..]].concat()),
        "GET /stats?kind=mail HTTP/1.1"
    );
}

#[test]
fn a_followed_change_shows_its_kind() {
    let streamed = || {
        Server::answering(
            "200 OK",
            "text/event-stream",
            format!("data: {CHANGE}\n\ndata: {{}}\n\n"),
        )
    };
    let server = streamed();
    let called = server.call(&["watch", "--kind", "mail"]);
    assert_eq!(
        called.stdout,
        "2021-10-13 09:02:17  api-bjq8euwsEA       pending    mail work/created {}\n"
    );
    assert_eq!(server.request().0, "GET /stream?kind=mail HTTP/1.1");
    let called = streamed().call(&["watch", "--kind", "mail", "--output", "json"]);
    assert_eq!(called.stdout, format!("{CHANGE}\n"));
}

#[test]
fn what_cannot_be_chosen_together_is_refused() {
    let folder = with_mails();
    for args in [
        &["deadletter", "redrive", "--id", "1", "--kind", "mail"][..],
        &["deadletter", "drop", "--all", "--error", "no"],
        &["deadletter", "drop", "--dry-run"],
        &["deadletter", "drop", "--error", ""],
        &["search", "--kind", "Mail"],
    ] {
        let called = db(folder.path(), args);
        assert_eq!((called.code, called.stdout.as_str()), (Some(2), ""), "{called:?}");
        assert_eq!(called.stderr.lines().count(), 1, "{called:?}");
    }
    assert_eq!(letters(folder.path(), &[]), [3, 2, 1]);
}
