//! What every cache does, in whichever process it is. Each case makes caches of its own, empty and with the options it
//! needs.
//!
//! The cases are in the modules below, one for each who comes to a cache; the list that makes them tests is here. What
//! happens when a server is away is tested with the adapter that has one.

#![allow(clippy::unwrap_used, reason = "a case that cannot go on has failed")]

mod codes;
mod fixtures;
mod many;
mod readers;
mod refresher;
mod writers;

pub use codes::*;
pub use fixtures::Fresh;
pub use many::*;
pub use readers::*;
pub use refresher::*;
pub use writers::*;

/// Expands to one test for each case. `$fresh` is a [`Fresh`](crate::cache::Fresh).
#[macro_export]
macro_rules! cache_suite {
    ($fresh:path) => {
        $crate::cache_suite!(@cases $fresh:
            what_is_missing_is_filled_with_its_lease
            a_fill_needs_its_own_lease
            a_second_reader_waits_for_the_first
            a_lease_ends_by_itself
            an_unknown_work_is_known_to_be_unknown_for_moments
            entries_expire
            without_freshness_no_lease_is_left
            without_freshness_entries_are_still_told
            freshness_runs_out
            a_put_takes_the_lease_away
            clearing_takes_leases_away
            a_newer_version_wins_and_an_older_one_is_rejected
            a_late_put_is_refused_where_nothing_newer_could_be_seen
            a_late_put_over_what_the_refresher_looks_after_is_taken
            what_was_put_where_nothing_was_is_short_lived
            what_was_put_over_a_lease_is_short_lived
            what_was_put_over_the_short_lived_is_short_lived
            what_was_put_and_refreshed_stays
            an_older_value_stays_out_after_clearing
            an_unknown_work_gives_way_to_a_put_and_to_a_refresh
            unknown_is_never_put
            a_deleted_work_never_comes_back
            a_deleted_work_outlives_others
            what_is_present_has_an_entry_or_a_lease
            a_refresh_brings_nothing_in
            a_refresh_takes_leases_away
            a_refresh_brings_up_to_date_and_never_back
            a_new_cache_is_nowhere
            a_mark_leads_from_place_to_place
            a_mark_that_comes_too_late_is_as_good_as_none
            freshness_never_goes_back
            a_mark_of_the_future_is_none
            clearing_leaves_nothing_but_the_place
            a_cache_keeps_its_name_and_no_other_has_it
            codes_are_remembered
            an_id_replaces_the_provisional_and_stays
            the_first_provisional_stays
            ids_by_code_expire_and_provisional_ones_stay
            accepted_demands_are_taken_when_they_are_old_enough
            nothing_asked_is_nothing_answered
            the_last_of_concurrent_versions_is_left
            the_newest_in_a_batch_is_left
            batches_may_have_thousands
            large_works_come_back_whole
        );
    };
    (@cases $fresh:path: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                $crate::cache::$case($fresh).await;
            }
        )*
    };
}
