//! What is known by code.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixtures::*;
use pp_lib::cache::{AnyCache, ByCode, CacheOptions, Provisional};
use pp_lib::domain::{AddUpTo, KindName, WorkId};

fn provisional(id: i64, add_up_to: AddUpTo) -> ByCode {
    ByCode::Provisional(Provisional {
        message_id: format!("demand {id}").try_into().unwrap(),
        work_code: code(id),
        kind: KindName::default(),
        args: add_up_to.args(),
        unique: None,
        created_on: 1_634_115_736 + id,
    })
}

async fn put(cache: &AnyCache, id: i64, known: ByCode) {
    cache.put_codes(&[(code(id), known)]).await.unwrap();
}

async fn known(cache: &AnyCache, id: i64) -> Option<ByCode> {
    cache.by_codes(&[code(id)]).await.unwrap().remove(0)
}

/// And told in the order of the question, fresh or not.
pub async fn codes_are_remembered(fresh: Fresh) {
    let cache = fresh(LASTING);
    let (id, provisional) = (ByCode::Id(WorkId(1)), provisional(2, AddUpTo::MAX));
    let entries = [(code(1), id.clone()), (code(2), provisional.clone())];
    cache.put_codes(&entries).await.unwrap();
    let told = cache.by_codes(&[3, 2, 1].map(code)).await.unwrap();
    assert_eq!(told, [None, Some(provisional), Some(id)]);
}

/// A demand's work is there then, and does not vanish again.
pub async fn an_id_replaces_the_provisional_and_stays(fresh: Fresh) {
    let cache = fresh(LASTING);
    put(&cache, 1, provisional(1, AddUpTo::MAX)).await;
    put(&cache, 1, ByCode::Id(WorkId(7))).await;
    assert_eq!(known(&cache, 1).await, Some(ByCode::Id(WorkId(7))));
    put(&cache, 1, provisional(1, AddUpTo::MAX)).await;
    assert_eq!(known(&cache, 1).await, Some(ByCode::Id(WorkId(7))));
}

/// A demand that is repeated was accepted when it was accepted.
pub async fn the_first_provisional_stays(fresh: Fresh) {
    let cache = fresh(LASTING);
    put(&cache, 1, provisional(1, AddUpTo::MAX)).await;
    put(&cache, 1, provisional(1, AddUpTo::MIN)).await;
    assert_eq!(known(&cache, 1).await, Some(provisional(1, AddUpTo::MAX)));
}

/// Nothing else knows of a demand before its work is written.
pub async fn ids_by_code_expire_and_provisional_ones_stay(fresh: Fresh) {
    let ttl = Duration::from_secs(1);
    let cache = fresh(CacheOptions { ttl, ..LASTING });
    put(&cache, 1, provisional(1, AddUpTo::MIN)).await;
    put(&cache, 2, ByCode::Id(WorkId(2))).await;
    eventually(async || known(&cache, 2).await.is_none()).await;
    assert_eq!(known(&cache, 1).await, Some(provisional(1, AddUpTo::MIN)));
}

/// Whoever takes them has them for that time; they are forgotten when somebody says so.
pub async fn accepted_demands_are_taken_when_they_are_old_enough(fresh: Fresh) {
    let (cache, an_hour) = (fresh(LASTING), Duration::from_secs(3600));
    for id in 1..=3 {
        put(&cache, id, provisional(id, AddUpTo::MIN)).await;
    }
    put(&cache, 4, ByCode::Id(WorkId(4))).await;
    put(&cache, 1, provisional(1, AddUpTo::MIN)).await;
    assert_eq!(cache.take_accepted(an_hour, 10).await.unwrap(), []);
    let mut taken = BTreeSet::new();
    eventually(async || {
        let some = cache.take_accepted(Duration::from_millis(20), 2).await.unwrap();
        assert!(some.len() <= 2);
        taken.extend(some);
        taken.len() == 3
    })
    .await;
    assert_eq!(taken, [1, 2, 3].map(code).into());
    assert_eq!(cache.take_accepted(an_hour, 10).await.unwrap(), []);
    cache.drop_accepted(&[1, 3].map(code)).await.unwrap();
    cache.drop_accepted(&[]).await.unwrap();
    assert_eq!(cache.take_accepted(Duration::ZERO, 10).await.unwrap(), [code(2)]);
}
