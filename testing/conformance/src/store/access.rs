//! API keys and the audit.

use std::time::Duration;

use pp_lib::access::ApiKey;
use pp_lib::domain::{ApiKeyId, KeyInfo, Principal};
use pp_lib::store::{AnyStore, AuditFilter, KeyCreated, KeyWorks, MOST_KEYS, NewKey, WorksCounted};

fn new(name: &str, scopes: &str) -> NewKey {
    NewKey {
        name: name.parse().unwrap(),
        scopes: scopes.parse().unwrap(),
        works_per_day: None,
        digest: ApiKey::random().digest(),
    }
}

async fn create(store: &AnyStore, new: &NewKey) -> KeyInfo {
    match store.create_key(&Principal::Open, new).await.unwrap() {
        KeyCreated::Created(key) => key,
        other => panic!("{other:?}"),
    }
}

/// A name is free again after its key was revoked, and each change is another revision and a row of the audit.
pub async fn keys_are_valid_until_they_are_revoked(store: AnyStore) {
    let (one, two) = (new("deploy", "read"), new("deploy", "admin"));
    let mut revisions = vec![store.keys_revision().await.unwrap()];
    let key = create(&store, &one).await;
    revisions.push(store.keys_revision().await.unwrap());
    assert_eq!(
        store.create_key(&Principal::Open, &two).await.unwrap(),
        KeyCreated::NameTaken
    );
    assert_eq!(store.valid_keys().await.unwrap(), [(one.digest, key.clone())]);
    let revoked = store.revoke_key(&Principal::Service, key.id).await.unwrap().unwrap();
    assert!(revoked.revoked_on.is_some());
    revisions.push(store.keys_revision().await.unwrap());
    // Again, and of a key that there is not.
    assert_eq!(
        store.revoke_key(&Principal::Open, key.id).await.unwrap(),
        Some(revoked.clone())
    );
    assert_eq!(store.revoke_key(&Principal::Open, ApiKeyId(9999)).await.unwrap(), None);
    assert_eq!(store.keys_revision().await.unwrap(), revisions[2]);
    let second = create(&store, &two).await;
    assert_eq!(store.valid_keys().await.unwrap(), [(two.digest, second.clone())]);
    assert_eq!(store.keys().await.unwrap(), [revoked, second]);
    revisions.push(store.keys_revision().await.unwrap());
    revisions.dedup();
    assert_eq!(revisions.len(), 4);
    let rows = store.audit(&AuditFilter::default(), None, 10).await.unwrap();
    let told: Vec<(&str, &str)> = rows.iter().map(|row| (&*row.action, &*row.principal)).collect();
    assert_eq!(
        told,
        [
            ("key.create", "open"),
            ("key.revoke", "service"),
            ("key.create", "open")
        ]
    );
    assert!(rows.iter().all(|row| !row.details.as_str().contains("digest")));
}

/// Calls at the same time count no more than the bound, each all of its works or none.
pub async fn works_of_a_key_are_counted_up_to_its_bound(store: AnyStore) {
    let bounded = NewKey {
        works_per_day: Some(10.try_into().unwrap()),
        ..new("bounded", "create")
    };
    let key = create(&store, &bounded).await;
    assert_eq!(key.works_per_day, bounded.works_per_day);
    assert_eq!(store.valid_keys().await.unwrap(), [(bounded.digest, key.clone())]);
    let details = store.audit(&AuditFilter::default(), None, 1).await.unwrap()[0]
        .details
        .clone();
    assert!(details.as_str().contains(r#""works_per_day":10"#), "{details}");

    let most = key.works_per_day.unwrap();
    let of = move |id, works| KeyWorks { id, works, most };
    let count = |works: Vec<KeyWorks>| {
        let store = store.clone();
        async move {
            let counted = store.count_works(&works).await.unwrap();
            let within = counted.into_iter().map(|counted| match counted {
                WorksCounted::Within => true,
                WorksCounted::Beyond { next_day_in } => {
                    assert!((1..=86_400).contains(&next_day_in.as_secs()), "{next_day_in:?}");
                    false
                }
            });
            within.collect::<Vec<bool>>()
        }
    };
    assert_eq!(count(vec![of(key.id, 11)]).await, [false]);
    let calls: Vec<_> = (0..8).map(|_| tokio::spawn(count(vec![of(key.id, 2)]))).collect();
    let mut within = 0;
    for call in calls {
        within += usize::from(call.await.unwrap()[0]);
    }
    assert_eq!(within, 5);
    assert_eq!(count(vec![of(key.id, 1)]).await, [false]);
    // What is counted together is answered one by one, each for its own key.
    let [other, third] = [
        create(&store, &new("other", "create")).await,
        create(&store, &new("third", "create")).await,
    ];
    let together = [
        of(third.id, 10),
        of(other.id, 6),
        of(key.id, 1),
        of(other.id, 6),
        of(other.id, 4),
        of(other.id, 1),
    ];
    assert_eq!(count(together.to_vec()).await, [true, true, false, false, true, false]);
    assert_eq!(count(Vec::new()).await, [false; 0]);
}

/// Calls at the same time make one key, and none is made where there is an admin key.
pub async fn the_first_admin_key_is_made_once(store: AnyStore) {
    create(&store, &new("reader", "read")).await;
    let same = new("admin", "admin");
    let calls = (0..8).map(|number| {
        let (store, new) = (
            store.clone(),
            if number < 4 {
                same.clone()
            } else {
                new("admin", "admin")
            },
        );
        tokio::spawn(async move { store.create_first_key(&Principal::Service, &new).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(store.valid_keys().await.unwrap().len(), 2);
    assert!(
        !store
            .create_first_key(&Principal::Service, &new("other", "admin"))
            .await
            .unwrap()
    );
    let filter = AuditFilter {
        action: Some("key.create".to_owned()),
        principal: Some("service".to_owned()),
    };
    assert_eq!(store.audit(&filter, None, 10).await.unwrap().len(), 1);
}

/// A revoked key makes room for another.
pub async fn there_is_a_most_of_valid_keys(store: AnyStore) {
    for number in 0..MOST_KEYS {
        create(&store, &new(&format!("key {number}"), "read")).await;
    }
    let more = new("one more", "read");
    assert_eq!(
        store.create_key(&Principal::Open, &more).await.unwrap(),
        KeyCreated::TooMany
    );
    store.revoke_key(&Principal::Open, ApiKeyId(1)).await.unwrap();
    create(&store, &more).await;
}

/// Pages go backwards, and only old rows are removed.
pub async fn the_audit_is_paged_and_purged(store: AnyStore) {
    for number in 0..5 {
        create(&store, &new(&format!("key {number}"), "read")).await;
    }
    let all = store.audit(&AuditFilter::default(), None, 10).await.unwrap();
    let subjects: Vec<&str> = all.iter().map(|row| row.subject.as_str()).collect();
    assert_eq!(subjects, ["key/5", "key/4", "key/3", "key/2", "key/1"]);
    let page = store.audit(&AuditFilter::default(), Some(all[1].id), 2).await.unwrap();
    assert_eq!(page, all[2..4]);
    let nobody = AuditFilter {
        principal: Some("nobody".to_owned()),
        action: None,
    };
    assert_eq!(store.audit(&nobody, None, 10).await.unwrap(), []);
    assert_eq!(store.purge_audit(Duration::from_secs(3600), 10).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(store.purge_audit(Duration::ZERO, 3).await.unwrap(), 3);
    assert_eq!(store.audit(&AuditFilter::default(), None, 10).await.unwrap(), all[..2]);
}
