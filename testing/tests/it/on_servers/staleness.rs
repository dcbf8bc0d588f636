//! `pp_chaos staleness` for some seconds.

use std::time::Duration;

use pp_chaos::staleness::{Plan, measure};
use pp_testkit::signals::Stop;

/// `PP_STALENESS` of the services: its default.
const BOUND: Duration = Duration::from_secs(1);

#[test]
fn no_read_is_staler_than_the_bound_whatever_happens() {
    let plan = Plan {
        changes: 1_500,
        works: 50,
        seed: 4,
    };
    let folder = tempfile::tempdir().unwrap();
    let report = measure(plan, folder.path(), &Stop::default()).unwrap();
    assert!(report.struck.has_each(), "{report}");
    assert!(
        report.sources.contains_key("pp; hit") && report.verdict.reads > 100,
        "{report}"
    );
    assert!(report.is_within(BOUND), "{report}");
}
