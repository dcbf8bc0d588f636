//! `pp_enqueue` from psql, Python and Node.js, with the code of the page: a rollback leaves nothing, a commit one work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pp_testkit::install;
use pp_testkit::programs::{Program, in_path};

use super::place::Place;
use crate::examples::blocks;

/// The version of node-postgres.
const NODE_POSTGRES: &str = "pg@8.23.1";

fn page(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/enqueue.md");
    blocks(&page, language).remove(0)
}

/// Runs a program to its end, which must be a good one, and returns what it wrote.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// Runs the code of the page three times: rolled back, committed, and committed again. `run` returns whether the answer
/// was a duplicate.
async fn keeps_its_word(code: &str, commit: &str, rollback: &str, run: impl Fn(&Place, &str) -> bool) {
    let place = Place::new().await;
    let client = place.client().await;
    client.batch_execute("CREATE TABLE users (name text)").await.unwrap();
    let counts = async || {
        let counts = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM works),
            (SELECT count(*) FROM events WHERE variable = 'work/created')";
        let row = client.query_one(counts, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2))
    };
    assert_eq!(code.matches(commit).count(), 1, "{code}");
    assert!(!run(&place, &code.replace(commit, rollback)));
    assert_eq!(counts().await, (0, 0, 0), "after the rollback");
    assert!(!run(&place, code));
    assert_eq!(counts().await, (1, 1, 1), "after the commit");
    assert!(run(&place, code), "the work is unfinished");
    assert_eq!(counts().await, (2, 1, 1), "after a duplicate");
    let row = client
        .query_one("SELECT kind, args ->> 'to' FROM works", &[])
        .await
        .unwrap();
    assert_eq!((row.get(0), row.get(1)), ("user.welcome.email", "Ada"));
    drop(client);
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_enqueues_in_its_transaction() {
    let psql = in_path("psql").unwrap_or_else(|| PathBuf::from("psql"));
    keeps_its_word(&page("sql"), "COMMIT", "ROLLBACK", |place, code| {
        let mut command = Command::new(&psql);
        let said = output(command.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", code, place.database()]));
        said.contains("|t\n")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_enqueues_in_its_transaction() {
    install::install(&[Program::Python, Program::Psycopg], |_| ()).unwrap();
    let python = Program::Python.locate().unwrap();
    keeps_its_word(&page("python"), "connection.commit()", "connection.rollback()", |place, code| {
        let script = format!(
            "import json, psycopg2, sys\nconnection = psycopg2.connect(sys.argv[1])\nname = 'Ada'\n{code}\nprint(duplicate)"
        );
        output(Command::new(&python).args(["-c", &script, place.database()])) == "True\n"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_enqueues_in_its_transaction() {
    install::install(&[Program::Node, Program::Npm], |_| ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut npm = Command::new(Program::Npm.locate().unwrap());
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", NODE_POSTGRES]);
    output(npm.current_dir(folder.path()));
    keeps_its_word(&page("js"), "COMMIT", "ROLLBACK", |place, code| {
        let script = format!(
            "import pg from 'pg';\nconst client = new pg.Client(process.argv[2]);\nawait client.connect();\n\
             const name = 'Ada';\n{code}\nconsole.log(rows[0].duplicate);\nawait client.end();"
        );
        fs::write(folder.path().join("enqueue.mjs"), script).unwrap();
        let mut node = Command::new(Program::Node.locate().unwrap());
        output(node.args(["enqueue.mjs", place.database()]).current_dir(folder.path())) == "true\n"
    })
    .await;
}
