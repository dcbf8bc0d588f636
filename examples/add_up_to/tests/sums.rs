//! Sums, and how works fail.

use add_up_to::AddUpTo;
use pp_lib::domain::{Status, Work};
use pp_lib::kinds::{Context, Kind as _, Kinds};
use pp_lib::testing::Jobs;

#[tokio::test]
async fn a_sum_is_computed() {
    let sum = AddUpTo { add_up_to: 100 };
    assert_eq!(sum.run(&(), &Context::test()).await, Ok(5050));
}

#[tokio::test]
async fn some_sums_fail() {
    let jobs = Jobs::new(Kinds::new().with::<AddUpTo>(())).await;
    for add_up_to in [4, 13, 17, 19] {
        jobs.enqueue(&AddUpTo { add_up_to }).await;
    }
    let works = jobs.drain::<AddUpTo>().await;
    let shown = |work: &Work| (work.status, work.attempt, work.error.clone());
    let failed = |attempt, reason: &str| (Status::Failed, attempt, Some(reason.to_owned()));
    let shown: Vec<_> = works.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            (Status::Done, 1, None),
            failed(1, "13 ends in 3"),
            (Status::Done, 3, None),
            failed(5, "panicked: 19 ends in 9"),
        ]
    );
}
