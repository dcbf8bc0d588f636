//! `work …` beside the earlier forms: the same answers, works by their code, and empty lists that are no error.

use std::time::{SystemTime, UNIX_EPOCH};

use pp_lib::domain::{Status, Work};

use crate::embedded::{db, json, prepared};
use crate::http::Server;

const FIRST: &str = "api-aaaaaaaaa1";
const SECOND: &str = "consumer-aaaaaaaaa2";

#[test]
fn both_forms_print_the_same() {
    let folder = prepared();
    let print = |args: &[&str]| db(folder.path(), args).done();
    for output in [&[][..], &["--output", "json"]] {
        for (earlier, nested) in [
            (&["--id", "1"][..], &["work", "show", "1"][..]),
            (&["--id", "1"], &["work", "show", FIRST]),
            (&["--work-code", "api-"], &["work", "search", "--work-code", "api-"]),
            (&["search"], &["work", "list"]),
            (
                &["search", "--status", "pending"],
                &["work", "search", "--status", "pending"],
            ),
            (&["events", "--id", "1"], &["work", "events", "1"]),
            (&["events", "--id", "1"], &["work", "events", FIRST]),
        ] {
            let (earlier, nested) = ([earlier, output].concat(), [nested, output].concat());
            assert_eq!(print(&earlier), print(&nested), "{earlier:?} and {nested:?}");
        }
    }
    let json = print(&["work", "show", "1", "--json"]);
    assert_eq!(json, print(&["--id", "1", "--output", "json"]));
    assert_eq!(json, print(&["--json", "--id", "1"]));
}

#[test]
fn a_work_is_changed_by_its_id_or_its_code() {
    let folder = prepared();
    let work = |args: &[&str]| -> Work { json(db(folder.path(), &[&["work"], args, &["--json"]].concat())) };
    assert_eq!(work(&["cancel", SECOND]).status, Status::Cancelled);
    assert_eq!(work(&["retry", "2"]).status, Status::Pending);
    let updated = work(&["update", SECOND, "--add-up-to", "7"]);
    assert_eq!(updated.add_up_to().unwrap().get(), 7);
    assert_eq!(db(folder.path(), &["work", "delete", FIRST]).done(), "");
    db(folder.path(), &["work", "show", "1"]).failed(1, "there is no work 1");
    for args in [["show", FIRST], ["cancel", FIRST], ["events", FIRST]] {
        let line = format!("there is no work {FIRST}");
        db(folder.path(), &[&["work"], &args[..]].concat()).failed(1, &line);
    }
    db(folder.path(), &["work", "cancel", "9"]).failed(1, "there is no work 9");
    db(folder.path(), &["work", "show", "nine"]).failed(
        2,
        "invalid value 'nine' for '<WORK>': expected an id, as in 7, or a code, as in api-bjq8euwsEA",
    );
}

#[test]
fn an_empty_list_is_an_answer() {
    let folder = prepared();
    for args in [&["work", "search", "--status", "failed"][..], &["work", "events", "2"]] {
        assert_eq!(db(folder.path(), args).done(), "", "{args:?}");
        assert_eq!(
            db(folder.path(), &[args, &["--json"]].concat()).done(),
            "[]\n",
            "{args:?}"
        );
    }
    db(folder.path(), &["search", "--status", "failed"]).failed(1, "no work matches");
    db(folder.path(), &["events", "--id", "2"]).failed(1, "work 2 has no events yet");
}

#[test]
fn times_may_be_relative_to_now() {
    let folder = prepared();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    for form in [&["work", "create"][..], &["create"]] {
        let later: Work = json(db(folder.path(), &[form, &["--run-at", "+1h", "--json"]].concat()));
        let ahead = later.run_at.unwrap() - now;
        assert!((3600..3640).contains(&ahead), "{ahead}");
    }
    let found = |since: &str| db(folder.path(), &["work", "search", "--since", since, "--json"]).done();
    assert_eq!(found("-1h").matches("\"id\":").count(), 4);
    assert_eq!(found(&(now + 1000).to_string()), "[]\n");
    db(folder.path(), &["create", "--run-at", "+1"]).failed(
        2,
        "invalid value '+1' for '--run-at <TIME>': a duration needs a unit, as in `1s` or `1ms`",
    );
}

#[test]
fn a_code_is_looked_up_over_http_too() {
    let server = Server::json("[]");
    server
        .call(&["work", "show", FIRST])
        .failed(1, &format!("there is no work {FIRST}"));
    let request = server.request().0;
    assert_eq!(request, format!("GET /work/search?work_code={FIRST}&limit=1 HTTP/1.1"));
    let server = Server::json("[]");
    assert_eq!(server.call(&["work", "search"]).done(), "");
    server.request();
}

#[test]
fn json_and_a_table_exclude_each_other() {
    let folder = prepared();
    let both = db(folder.path(), &["work", "search", "--json", "--output", "table"]);
    assert_eq!(both.code, Some(2), "{both:?}");
    assert!(both.stderr.contains("cannot be used with"), "{both:?}");
}
