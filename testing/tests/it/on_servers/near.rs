//! A process with a cache of its own in front of the shared one, beside a process without.

use super::place::Place;
use super::sharing::{Shared, sharer};

#[tokio::test(flavor = "multi_thread")]
async fn a_near_cache_is_used_and_never_staler_than_the_bound() {
    let place = Place::new().await;
    let (near, far) = (sharer(&place, "on"), sharer(&place, "off"));
    let mut shared = Shared::over(place, &near.api).await;
    shared.is_hit(&near.api, "pp; hit; detail=near").await;
    shared.is_hit(&far.api, "pp; hit").await;
    for _ in 0..3 {
        shared.change_over(&far.api);
        shared.is_read(&far.api);
        shared.is_read_within_the_bound(&[&near.api]).await;
        shared.is_hit(&near.api, "pp; hit; detail=near").await;

        shared.change_over(&near.api);
        shared.is_read(&near.api);
        shared.is_read_within_the_bound(&[&far.api]).await;
        shared.is_hit(&far.api, "pp; hit").await;

        shared.change_behind().await;
        shared.is_read_within_the_bound(&[&near.api, &far.api]).await;
        shared.is_hit(&near.api, "pp; hit; detail=near").await;
    }
    for sharer in [near, far] {
        assert_eq!(sharer.process.terminate().code, Some(0));
    }
    shared.place.leave().await;
}
