//! `worker list`: who is there and what each works on, from a database and over HTTP.

use std::time::Duration;

use pp_lib::domain::{KindName, WorkerName};
use pp_lib::store::{Place, Runs as _};
use serde_json::Value;

use crate::embedded::{db, json, prepared, with_store};

#[test]
fn workers_are_listed_with_their_works() {
    let folder = prepared();
    let none = db(folder.path(), &["worker", "list"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    with_store(&folder, async |store| {
        let worker: WorkerName = "py-1".parse().unwrap();
        let place = Place {
            worker: worker.clone(),
            lease: Duration::from_secs(60),
            claim: 7,
        };
        let claimed = store.claim_runs(&[KindName::default()], &[place]).await.unwrap();
        assert_eq!(claimed.len(), 1);
        store
            .workers_heard(&[(worker, vec![KindName::default()])])
            .await
            .unwrap();
        let idle = ("py-2".parse().unwrap(), vec!["resize".parse().unwrap()]);
        store.workers_heard(&[idle]).await.unwrap();
    });
    let workers: Value = json(db(folder.path(), &["worker", "list", "--output", "json"]));
    let shown = |worker: &Value| (worker["name"].clone(), worker["works"].as_array().unwrap().len());
    let mut shown: Vec<(Value, usize)> = workers.as_array().unwrap().iter().map(shown).collect();
    shown.sort_by_key(|(name, _)| name.to_string());
    assert_eq!(shown, [("py-1".into(), 1), ("py-2".into(), 0)]);

    let table = db(folder.path(), &["worker", "list"]).done();
    for text in ["py-1", "at work", "add_up_to", "py-2", "idle", "resize"] {
        assert!(table.contains(text), "{text} in {table}");
    }
    let one: Value = json(db(
        folder.path(),
        &["worker", "list", "--limit", "1", "--output", "json"],
    ));
    assert!(!one.as_array().unwrap().is_empty());
    let wrong = db(folder.path(), &["worker", "list", "--limit", "0"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}
