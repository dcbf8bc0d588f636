//! Its tests.

use pp_lib::kinds::Kinds;
use pp_lib::testing::Jobs;

use super::Greeting;

#[tokio::test]
async fn the_second_attempt_greets() {
    let jobs = Jobs::new(Kinds::new().with::<Greeting>(())).await;
    let name = "Ada".to_owned();
    jobs.enqueue(&Greeting { name }).await;
    let work = jobs.drain::<Greeting>().await.remove(0);
    assert_eq!(work.attempt, 2);
    assert_eq!(work.result.unwrap().as_str(), r#""Hello Ada""#);
}
