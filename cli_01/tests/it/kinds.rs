//! `kind`, and works of other kinds, with a database.

use pp_lib::domain::Work;
use serde_json::{Value, json as value};

use crate::embedded::{db, json, prepared};

#[test]
fn a_kind_is_declared_paused_set_and_resumed() {
    let folder = prepared();
    let call = |args: &[&str]| json::<Value>(db(folder.path(), &[&["kind"], args, &["--output", "json"]].concat()));
    let file = folder.path().join("mail.json");
    std::fs::write(
        &file,
        r#"{"policy":{"max_attempts":8},"args_schema":{"required":["to"]}}"#,
    )
    .unwrap();
    let mail = call(&["declare", "user.mail", "--file", file.to_str().unwrap()]);
    assert_eq!(mail["policy"]["max_attempts"], 8);
    assert_eq!(call(&["pause", "user.mail"])["policy"]["paused"], true);
    let set = call(&["set", "user.mail", "timeout=30s", "backoff.cap=1h"]);
    assert_eq!(
        set["overrides"],
        value!({"paused": true, "timeout": "30s", "backoff": {"cap": "1h"}})
    );
    assert_eq!(call(&["set", "user.mail", "timeout="])["policy"]["timeout"], "15m");
    assert_eq!(call(&["resume", "user.mail"])["policy"]["paused"], false);
    assert_eq!(call(&["list"]).as_array().unwrap().len(), 2);

    let table = db(folder.path(), &["kind", "list"]).done();
    assert!(table.contains("user.mail") && table.contains("no worker"), "{table}");
    let table = db(folder.path(), &["kind", "show", "user.mail"]).done();
    assert!(
        table.contains("max_attempts") && table.contains("set by an operator"),
        "{table}"
    );
}

#[test]
fn kinds_and_settings_that_cannot_be_are_refused() {
    let folder = prepared();
    for (args, code) in [
        (&["show", "nobody"][..], 1),
        (&["pause", "nobody"], 1),
        (&["declare", "add_up_to"], 1),
        (&["set", "add_up_to", "colour=1"], 2),
        (&["set", "add_up_to", "places=0"], 2),
        (&["set", "add_up_to", "places"], 2),
        (&["declare", "Bad"], 2),
        (&["declare", "good", "--file", "/nowhere"], 2),
    ] {
        let called = db(folder.path(), &[&["kind"], args].concat());
        assert_eq!(called.code, Some(code), "{args:?}: {called:?}");
    }
}

#[test]
fn a_work_of_a_declared_kind_is_created_with_arguments_that_fit() {
    let folder = prepared();
    let file = folder.path().join("mail.json");
    std::fs::write(&file, r#"{"args_schema":{"required":["to"]}}"#).unwrap();
    db(
        folder.path(),
        &["kind", "declare", "user.mail", "--file", file.to_str().unwrap()],
    )
    .done();
    let create = |args: &str| {
        let asked = ["create", "--kind", "user.mail", "--args", args, "--output", "json"];
        db(folder.path(), &asked)
    };
    let work: Work = json(create(r#"{"to":"a@b", "n":1.10}"#));
    assert_eq!(
        (work.kind.as_str(), work.args.as_str()),
        ("user.mail", r#"{"to":"a@b", "n":1.10}"#)
    );
    assert_eq!(create("{}").code, Some(2));
    assert_eq!(create("{").code, Some(2));
    let unknown = db(folder.path(), &["create", "--kind", "nobody", "--args", "{}"]);
    assert_eq!(unknown.code, Some(2));
}
