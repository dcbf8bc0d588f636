//! What every store does, whichever database it is on. Each case gets an empty, migrated store.
//!
//! The cases are in the modules below, one for each part of the port; the list that makes them tests is here.

#![allow(clippy::unwrap_used, reason = "a case that cannot go on has failed")]

/// Waits until a condition of the store holds.
macro_rules! eventually {
    ($condition:expr) => {{
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !$condition {
            assert!(
                std::time::Instant::now() < deadline,
                "not within 20 s: {}",
                stringify!($condition)
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }};
}

mod completion;
mod dispatch;
mod fixtures;
mod works;

pub use completion::*;
pub use dispatch::*;
pub use works::*;

/// Expands to one test for each case. `$fresh` is an async function without parameters that returns an empty store
/// and something that keeps it alive.
#[macro_export]
macro_rules! store_suite {
    ($fresh:path) => {
        $crate::store_suite!(@cases $fresh:
            creates_works_due_at_once_with_their_event
            creating_again_is_no_second_work
            a_taken_code_is_said_and_changes_nothing
            reads_by_id_and_code_leave_out_what_is_not_there
            searches_newest_first_by_every_filter
            prefixes_are_literal
            claims_each_due_row_once_and_marks_it_sent
            a_claim_that_is_not_marked_runs_out
            claims_that_are_given_back_are_due_at_once
            concurrent_claims_share_the_rows
            the_time_range_bounds_only_the_fast_claim
            settles_a_demand_without_a_row_once
            settles_a_pending_row_once
            a_superseded_settlement_changes_nothing
            a_settlement_with_another_bound_changes_nothing
            a_taken_code_of_a_settlement_is_said
            running_then_done_has_each_event_once
            a_retry_waits_and_is_the_next_attempt
            a_failure_is_final_and_a_dead_letter
            a_batch_settles_everything_in_it
            two_settle_the_same_demands_at_once
            a_lease_that_runs_out_is_rescued
            too_many_lost_leases_fail
            sent_rows_are_released
            pending_rows_are_found_by_code
            the_largest_sum_is_kept_exactly
        );
    };
    (@cases $fresh:path: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _kept) = $fresh().await;
                $crate::conformance::store::$case(store).await;
            }
        )*
    };
}
