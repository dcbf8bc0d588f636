//! Of two processes that share a cache one keeps it right. Whatever happens to that one, the other one takes over, and
//! serves right values meanwhile.

use tokio_postgres::Client;

use super::place::{Place, until};
use super::sharing::{LIMIT, Shared, Sharer, sharer};

/// The one that does not keep the cache right, and the name of the one that does.
struct Heir {
    shared: Shared,
    heir: Sharer,
    keeper: String,
    client: Client,
}

/// Who keeps the cache right; nobody between two.
async fn keeper(client: &Client) -> Option<String> {
    let row = "SELECT holder FROM leases WHERE name LIKE 'refresher/%' AND held_until > now()";
    client.query_opt(row, &[]).await.unwrap().map(|row| row.get(0))
}

impl Heir {
    /// And the one that does.
    async fn and_keeper() -> (Self, Sharer) {
        let place = Place::new().await;
        let client = place.client().await;
        let held = async || keeper(&client).await.is_some();
        let first = sharer(&place, "off");
        until("the first keeps the cache", LIMIT, held).await;
        let first_name = keeper(&client).await;
        let second = sharer(&place, "off");
        let shared = Shared::over(place, &first.api).await;
        shared.is_hit(&second.api, "pp; hit").await;
        until("one keeps the cache", LIMIT, held).await;
        let keeper = keeper(&client).await;
        // A process that was slow may have lost it to the other one.
        let (keeps, heir) = if keeper == first_name {
            (first, second)
        } else {
            (second, first)
        };
        let keeper = keeper.unwrap();
        let heir = Self {
            shared,
            heir,
            keeper,
            client,
        };
        (heir, keeps)
    }

    /// It keeps the cache, and served no value that was too old until then.
    async fn takes_over(&mut self) {
        for _ in 0..3 {
            self.shared.change_behind().await;
            self.shared.is_read_within_the_bound(&[&self.heir.api]).await;
        }
        until("the heir keeps the cache", LIMIT, async || {
            keeper(&self.client).await.is_some_and(|name| name != self.keeper)
        })
        .await;
        self.shared.is_hit(&self.heir.api, "pp; hit").await;
    }

    async fn end(self) {
        let ended = self.heir.process.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        self.shared.place.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_keeper_is_replaced_and_does_no_harm_when_it_goes_on() {
    let (mut heir, keeper) = Heir::and_keeper().await;
    keeper.process.freeze();
    heir.takes_over().await;
    keeper.process.thaw();
    for _ in 0..3 {
        heir.shared.change_behind().await;
        let apis = [&keeper.api, &heir.heir.api];
        heir.shared.is_read_within_the_bound(&apis).await;
        for api in apis {
            heir.shared.is_hit(api, "pp; hit").await;
        }
    }
    let ended = keeper.process.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    heir.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_keeper_is_replaced() {
    let (mut heir, keeper) = Heir::and_keeper().await;
    keeper.process.kill();
    heir.takes_over().await;
    heir.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_stops_lets_go() {
    let (mut heir, stopping) = Heir::and_keeper().await;
    let ended = stopping.process.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let named = "SELECT count(*) FROM leases WHERE holder = $1";
    let left: i64 = heir.client.query_one(named, &[&heir.keeper]).await.unwrap().get(0);
    assert_eq!(left, 0, "it runs out instead");
    heir.takes_over().await;
    heir.end().await;
}
