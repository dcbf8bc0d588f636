//! A store that fails midway: a repeated request has no second effect.

use std::sync::Arc;

use pp_backend_api::Config;
use pp_conformance::scripted::{Call, ScriptedStore, Step};
use pp_lib::domain::CreatedWork;
use pp_lib::serving::StoreOptions;
use pp_lib::store::StoreError;
use tempfile::TempDir;

use super::embedded::sqlite;
use super::keys::post;
use super::server::{CONFIG, Server};
use pp_testkit::client::send;

pub(crate) fn server(config: Config, options: StoreOptions) -> (Arc<ScriptedStore>, Server, TempDir) {
    let (folder, runtime, store) = sqlite();
    let store = ScriptedStore::new(store);
    let server = Server::start(runtime, store.clone(), config, options);
    (store, server, folder)
}

#[test]
fn an_unsaved_answer_is_503_and_the_retry_gets_the_same_work() {
    let (store, server, _folder) = server(CONFIG, StoreOptions::default());
    for (path, body, works) in [("/work", "{}", 1), ("/work/bulk", "[{},{},{}]", 4)] {
        store.next(Call::KeepAnswers, 1, || {
            Step::Fail(StoreError::Unavailable("it trips".to_owned()))
        });
        let unknown = post(&server, path, "k", body);
        unknown.problem(503);
        assert_eq!(unknown.header("retry-after"), "1");
        assert_eq!(server.count(), works);
        let again = post(&server, path, "k", body);
        assert_eq!((again.status, again.header("idempotent-replayed")), (200, ""));
        assert_eq!(server.count(), works);
        assert_eq!(post(&server, path, "k", body).header("idempotent-replayed"), "true");
    }
}

#[test]
fn a_taken_code_is_replaced_and_no_work_exists_twice() {
    let (store, server, _folder) = server(CONFIG, StoreOptions::default());
    store.next(Call::CreateAll, 3, || Step::answer(None::<Vec<CreatedWork>>));
    let headers = [("content-type", "application/json")];
    let answer = send(server.address, "POST", "/work/bulk", &headers, Some(b"[{},{},{}]"));
    assert_eq!((answer.status, answer.json().as_array().unwrap().len()), (200, 3));
    assert_eq!((server.count(), store.calls(Call::CreateAll)), (3, 4));
}
