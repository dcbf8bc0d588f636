//! `--call-type db` on a SQLite file with the schema of PP.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pp_lib::domain::{AddUpTo, Json, KindName, MessageId, Principal, Run, Work, WorkId};
use pp_lib::store::sqlite::SqliteStore;
use pp_lib::store::{Changed, Completion, Completions as _, Guard, NewWork, Outcome, WorkChanges as _, WorkRows as _};
use pp_testkit::cli::Called;
use tempfile::TempDir;

use crate::{call, command};

const FIRST: &str = "api-aaaaaaaaa1";
const SECOND: &str = "consumer-aaaaaaaaa2";

/// A folder with the default database: work 1 by the API, done; work 2 by the consumer, pending.
pub(crate) fn prepared() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    with_store(&folder, async |store| {
        store.migrate().await.unwrap();
        store
            .create(&[new_work("m1", FIRST, "4"), new_work("m2", SECOND, "100")])
            .await
            .unwrap();
        store
            .complete(KindName::add_up_to(), &[done("m1", FIRST, "4")])
            .await
            .unwrap();
    });
    folder
}

/// Opens the default database in the folder for a while.
pub(crate) fn with_store(folder: &TempDir, during: impl AsyncFnOnce(SqliteStore)) {
    let file = folder.path().join("data/pp.sqlite");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        during(SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap()).await;
    });
}

pub(crate) fn new_work(message_id: &str, code: &str, bound: &str) -> NewWork {
    NewWork {
        message_id: MessageId::try_from(message_id.to_owned()).unwrap(),
        work_code: code.parse().unwrap(),
        kind: KindName::default(),
        args: bound.parse::<AddUpTo>().unwrap().args(),
        run_at: None,
        unique: None,
        notify: None,
    }
}

fn done(message_id: &str, code: &str, bound: &str) -> Completion {
    let work = new_work(message_id, code, bound);
    Completion {
        guard: Guard::Pending(Run::FIRST),
        outcome: Outcome::Done {
            result: Json::from(bound.parse::<AddUpTo>().unwrap().sum()),
        },
        message_id: work.message_id,
        work_code: work.work_code,
        args: Some(work.args.clone()),
    }
}

pub(crate) fn db(folder: &Path, args: &[&str]) -> Called {
    call(folder, &[args, &["--call-type", "db"]].concat(), &[])
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(called: Called) -> T {
    let document = called.done();
    assert_eq!(document.lines().count(), 1, "{document}");
    serde_json::from_str(&document).unwrap()
}

#[test]
fn a_work_is_shown_by_its_id_as_a_table_or_as_the_apis_json() {
    let folder = prepared();
    let table = db(folder.path(), &["--id", "1"]).done();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(words[..5], ["1", FIRST, "4", "done", "10"]);
    // Two times, each a day and a time of day, and the version.
    assert_eq!((words.len(), words[9]), (10, "2"), "{table}");

    let work: Work = json(db(folder.path(), &["--id", "1", "--output", "json"]));
    assert_eq!(
        (work.work_code.as_str(), work.result.clone()),
        (FIRST, Some(Json::from(10)))
    );
    let document = db(folder.path(), &["--output", "json", "--id", "1"]).done();
    assert_eq!(document, serde_json::to_string(&work).unwrap() + "\n");
}

#[test]
fn a_prefix_lists_works_newest_first() {
    let folder = prepared();
    let codes = |args: &[&str]| {
        let works: Vec<Work> = json(db(folder.path(), &[args, &["--output", "json"]].concat()));
        works.iter().map(|work| work.work_code.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&["--work-code", ""]), [SECOND, FIRST]);
    assert_eq!(codes(&["--work-code", "api-a"]), [FIRST]);
    assert_eq!(codes(&["search"]), [SECOND, FIRST]);
    assert_eq!(codes(&["search", "--limit", "1"]), [SECOND]);
    assert_eq!(codes(&["search", "--done", "true"]), [FIRST]);
    assert_eq!(
        codes(&["search", "--status", "pending", "--work-code", "consumer-"]),
        [SECOND]
    );
    let table = db(folder.path(), &["--work-code", "consumer-"]).done();
    assert!(table.starts_with("ID  WORK CODE"), "{table}");
    assert!(table.contains(SECOND) && !table.contains(FIRST), "{table}");
}

#[test]
fn events_are_the_history_in_order() {
    let folder = prepared();
    let events: Vec<pp_lib::domain::Event> = json(db(folder.path(), &["events", "--id", "1", "--output", "json"]));
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.variable.as_str(), event.value.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("work/created", "4"),
            ("compute/start", ""),
            ("compute/stop", ""),
            ("compute/result", "10")
        ]
    );
    let table = db(folder.path(), &["events", "--id", "1"]).done();
    assert_eq!(table.lines().count(), 5, "{table}");
}

#[test]
fn a_missing_work_is_one_line_and_code_1() {
    let folder = prepared();
    for id in ["3", "0", "-1"] {
        db(folder.path(), &["--id", id]).failed(1, &format!("there is no work {id}"));
        db(folder.path(), &["events", "--id", id]).failed(1, &format!("there is no work {id}"));
    }
    db(folder.path(), &["events", "--id", "2"]).failed(1, "work 2 has no events yet");
    db(folder.path(), &["--work-code", "api-zzz"]).failed(1, "no work matches");
    db(folder.path(), &["--work-code", "%"]).failed(1, "no work matches");
    let empty = db(folder.path(), &["--work-code", "api-zzz", "--output", "json"]);
    assert_eq!(
        (empty.code, empty.stdout.as_str(), empty.stderr.as_str()),
        (Some(1), "[]\n", "error: no work matches\n")
    );
}

#[test]
fn a_created_work_looks_like_one_of_the_api() {
    let folder = prepared();
    let created: Work = json(db(folder.path(), &["create", "--add-up-to", "100", "--output", "json"]));
    assert_eq!(
        (created.id.0, created.add_up_to().unwrap().get(), created.version),
        (3, 100, 1)
    );
    assert!(created.work_code.as_str().starts_with("api-"));
    assert_eq!(
        json::<Work>(db(folder.path(), &["--id", "3", "--output", "json"])),
        created
    );
    let history = db(folder.path(), &["events", "--id", "3"]).done();
    assert_eq!(history.lines().count(), 2, "{history}");
    let random: Work = json(db(folder.path(), &["create", "--output", "json"]));
    assert!((1..=99).contains(&random.add_up_to().unwrap().get()));
}

#[test]
fn a_work_is_scheduled_changed_and_deleted() {
    let folder = prepared();
    let later: Work = json(db(
        folder.path(),
        &["create", "--run-at", "1634115736", "--output", "json"],
    ));
    assert_eq!(later.run_at, Some(1_634_115_736));
    let table = db(folder.path(), &["--work-code", ""]).done();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].contains("RUN AT (UTC)"), "{table}");
    assert!(lines[1].contains("  2021-10-13 09:02:16  "), "{table}");
    assert!(!db(folder.path(), &["--id", "1"]).done().contains("RUN AT"));
    let updated: Work = json(db(
        folder.path(),
        &["update", "--id", "1", "--add-up-to", "5", "--output", "json"],
    ));
    assert_eq!(
        (updated.add_up_to().unwrap().get(), updated.status, updated.version),
        (5, pp_lib::domain::Status::Pending, 3)
    );
    assert_eq!(db(folder.path(), &["delete", "--id", "1"]).done(), "");
    db(folder.path(), &["--id", "1"]).failed(1, "there is no work 1");
    db(folder.path(), &["delete", "--id", "1"]).failed(1, "there is no work 1");
    db(folder.path(), &["update", "--id", "1", "--add-up-to", "5"]).failed(1, "there is no work 1");
}

#[test]
fn a_work_is_cancelled_and_started_over() {
    let folder = prepared();
    let cancelled: Work = json(db(folder.path(), &["cancel", "--id", "2", "--output", "json"]));
    assert_eq!(
        (cancelled.status, cancelled.version),
        (pp_lib::domain::Status::Cancelled, 2)
    );
    let found: Vec<Work> = json(db(
        folder.path(),
        &["search", "--status", "cancelled", "--output", "json"],
    ));
    assert_eq!(found, [cancelled]);
    db(folder.path(), &["cancel", "--id", "2"])
        .failed(1, "work 2 is cancelled; this status does not allow the command");
    db(folder.path(), &["cancel", "--id", "1"]).failed(1, "work 1 is done; this status does not allow the command");
    let table = db(folder.path(), &["retry", "--id", "2"]).done();
    assert!(table.contains("pending"), "{table}");
    db(folder.path(), &["retry", "--id", "2"]).failed(1, "work 2 is pending; this status does not allow the command");
    for command in ["cancel", "retry"] {
        db(folder.path(), &[command, "--id", "3"]).failed(1, "there is no work 3");
    }
    let events = db(folder.path(), &["events", "--id", "2"]).done();
    assert_eq!(events.lines().count(), 3, "{events}");
}

#[test]
fn a_missing_database_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["--id", "1"][..], &["create"], &["search"], &["events", "--id", "1"]] {
        db(folder.path(), args).failed(3, "PP_DATABASE_URL: there is no database file data/pp.sqlite");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_unknown_schema_is_one_line_and_stays_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let named = [("PP_DATABASE_URL", "sqlite://other.sqlite")];
    let file = folder.path().join("other.sqlite");
    fs::write(&file, "").unwrap();
    let called = call(folder.path(), &["--id", "1", "--call-type", "db"], &named);
    assert_eq!((called.code, called.stdout.as_str()), (Some(3), ""), "{called:?}");
    assert_eq!(called.stderr.lines().count(), 1, "{called:?}");
    let expected = "error: PP_DATABASE_URL: other.sqlite: the database refused: \
                    the database's schema is not the one this program knows (it has none that PP made";
    assert!(called.stderr.starts_with(expected), "{called:?}");
    assert_eq!(fs::read(&file).unwrap(), b"");

    fs::write(
        &file,
        "no database at all, but long enough to be taken for one".repeat(40),
    )
    .unwrap();
    let called = call(folder.path(), &["--id", "1", "--call-type", "db"], &named);
    assert_eq!((called.code, called.stderr.lines().count()), (Some(3), 1), "{called:?}");
}

#[test]
fn an_unreachable_server_is_code_3_and_its_password_stays_hidden() {
    let named = [("PP_DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/d")];
    let called = call(
        Path::new("."),
        &["--id", "1", "--call-type", "db", "--timeout", "300ms"],
        &named,
    );
    assert_eq!((called.code, called.stdout.as_str()), (Some(3), ""), "{called:?}");
    assert!(
        called.stderr.starts_with("error: PP_DATABASE_URL: ") && !called.stderr.contains("hunter2"),
        "{called:?}"
    );
    assert_eq!(called.stderr.lines().count(), 1, "{called:?}");
}

#[test]
fn a_file_can_be_read_while_another_process_has_it_open() {
    let folder = prepared();
    let file = folder.path().join("data/pp.sqlite");
    let _open = SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap();
    let output = command(folder.path(), &["--id", "1", "--call-type", "db"], &[])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_search_and_a_history_go_on_behind_pages_that_end_early() {
    let folder = prepared();
    let large = |letter: &str| Json::accepted(format!("\"{}\"", letter.repeat(Json::USUAL_LIMIT - 2)));
    with_store(&folder, async |store| {
        for number in 0..30 {
            let work = NewWork {
                kind: "mail".parse().unwrap(),
                args: large("a"),
                ..new_work(&format!("large {number}"), &format!("api-large{number:05}"), "1")
            };
            store.create(&[work]).await.unwrap();
        }
        for _ in 0..20 {
            let changed = store
                .update(&Principal::Open, WorkId(3), &large("u"), None, Duration::ZERO)
                .await;
            assert!(matches!(changed.unwrap(), Changed::Applied(_)));
        }
    });
    let count = |args: &[&str]| {
        let printed = call(
            folder.path(),
            &[args, &["--call-type", "db", "--output", "json"]].concat(),
            &[],
        )
        .done();
        printed.matches("\"id\":").count()
    };
    assert_eq!(count(&["search", "--limit", "1000"]), 32);
    assert_eq!(count(&["search", "--limit", "25"]), 25);
    assert_eq!(count(&["events", "--id", "3"]), 21);
}
