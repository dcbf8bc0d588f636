//! What every store does, whichever database it is on. Each case gets an empty, migrated store, and leaves counters
//! behind that are right.
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

mod about;
mod access;
mod by_kind;
mod cancelling;
mod changes;
mod completion;
mod dead_letters;
mod declarations;
mod dispatch;
mod dispatch_by_kind;
mod feed;
mod fixtures;
mod keys;
mod kinds;
mod large;
mod leases;
mod lost;
mod notices;
mod pulled;
mod retention;
mod runs;
mod unfinished;
mod unique;
mod views;
mod works;

pub use about::*;
pub use access::*;
pub use by_kind::*;
pub use cancelling::*;
pub use changes::*;
pub use completion::*;
pub use dead_letters::*;
pub use declarations::*;
pub use dispatch::*;
pub use dispatch_by_kind::*;
pub use feed::*;
pub use fixtures::{completion, everything, new_work, new_works, without_row};
pub use keys::*;
pub use kinds::*;
pub use large::*;
pub use leases::*;
pub use lost::*;
pub use notices::*;
pub use pulled::*;
pub use retention::*;
pub use runs::*;
pub use unfinished::*;
pub use unique::*;
pub use views::*;
pub use works::*;

/// Expands to one test for each case. `$fresh` is an async function without parameters that returns an empty store
/// and something that keeps it alive.
#[macro_export]
macro_rules! store_suite {
    ($fresh:path) => {
        $crate::store_suite!(@cases $fresh:
            a_done_work_is_told
            a_failed_work_is_told_with_its_reason
            a_cancelled_work_is_told
            a_work_that_lost_its_workers_is_told
            a_kind_tells_of_its_works
            a_sum_is_told_in_its_own_form
            secrets_are_rotated
            a_database_tells_its_system_version_and_clock
            keys_are_valid_until_they_are_revoked
            works_of_a_key_are_counted_up_to_its_bound
            the_first_admin_key_is_made_once
            there_is_a_most_of_valid_keys
            the_audit_is_paged_and_purged
            creates_works_due_at_once_with_their_event
            creating_again_is_no_second_work
            works_of_applications_have_their_event_and_are_found
            a_taken_code_is_said_and_changes_nothing
            reads_by_id_and_code_leave_out_what_is_not_there
            a_history_is_read_in_parts
            searches_newest_first_by_every_filter
            prefixes_are_literal
            a_search_finds_what_a_look_at_every_work_finds
            every_page_of_a_search_by_time_is_found
            a_scheduled_work_is_due_at_its_time_and_not_before
            a_work_scheduled_for_the_past_is_due_at_once
            a_work_scheduled_for_never_waits
            all_of_several_works_are_created_in_their_order
            creating_all_again_answers_the_same_works
            of_several_works_with_a_taken_code_none_is_created
            claims_each_due_row_once_and_marks_it_sent
            a_claim_that_is_not_marked_runs_out
            claims_that_are_given_back_are_due_at_once
            concurrent_claims_share_the_rows
            the_time_range_bounds_only_the_fast_claim
            sent_rows_are_released
            the_next_moment_something_falls_due_is_known
            what_was_sent_is_lost_as_the_next_attempt
            what_is_lost_too_often_is_given_up
            only_what_was_sent_is_lost
            what_failed_of_itself_and_was_lost_counts_apart
            completes_a_demand_without_a_row_once
            completes_a_pending_row_once
            a_superseded_completion_changes_nothing
            a_completion_with_another_bound_changes_nothing
            a_taken_code_of_a_completion_is_said
            running_then_done_has_each_event_once
            a_retry_waits_and_is_the_next_attempt
            a_failure_is_final_and_a_dead_letter
            a_batch_completes_everything_in_it
            two_complete_the_same_demands_at_once
            a_lease_that_runs_out_is_rescued
            too_many_lost_leases_fail
            every_running_row_is_lost_where_all_workers_ended
            what_is_handed_back_runs_again_at_once_and_nothing_is_counted
            failures_lost_leases_and_attempts_are_counted_apart
            the_largest_sum_is_kept_exactly
            a_snoozed_work_runs_again_and_counts_no_failure
            a_snooze_and_a_cancellation_without_a_row_make_one
            a_handler_that_cancels_ends_its_work
            progress_is_shown_while_its_run_is_running
            an_update_makes_a_work_of_any_status_pending_anew
            an_update_waits_for_its_pause
            a_series_of_updates_is_due_when_the_first_one_was
            an_updated_work_goes_on_waiting_for_its_run_at
            what_is_under_way_for_an_older_generation_has_no_effect
            a_change_is_guarded_by_the_version_it_names
            of_many_changes_of_one_version_one_takes_effect
            what_is_not_there_cannot_be_changed
            a_deleted_work_is_hidden_from_everything_that_reads
            a_deleted_work_is_never_taken_up_again
            what_comes_late_for_a_deleted_work_changes_nothing
            creating_a_deleted_work_again_does_not_bring_it_back
            a_cancelled_work_stays_readable_with_its_events
            what_comes_late_for_a_cancelled_work_changes_nothing
            a_finished_work_cannot_be_cancelled
            a_failed_or_cancelled_work_starts_over
            a_cancelled_work_is_given_another_bound_like_any_other
            a_work_that_is_started_over_goes_on_waiting_for_its_run_at
            only_a_failed_or_cancelled_work_is_started_over
            an_end_and_a_new_start_are_guarded_by_the_version_they_name
            of_many_that_cancel_or_start_over_at_once_one_does
            a_cancelled_work_that_is_deleted_is_gone
            what_was_cancelled_long_ago_goes_with_its_events
            a_message_is_buried_once_with_the_newest_reason
            letters_are_listed_newest_first_in_pages
            a_letter_tells_of_its_work
            a_long_body_is_cut_in_the_list_and_whole_when_it_runs_again
            a_body_that_is_no_text_is_kept_byte_for_byte
            a_letter_keeps_the_properties_of_its_message
            a_redriven_work_runs_as_its_next_generation
            all_letters_run_again_at_once
            unknown_letters_are_nobodys
            a_redriven_work_that_fails_again_has_one_letter
            letters_of_works_that_moved_on_are_gone_and_not_counted
            large_redriven_messages_are_claimed_in_parts
            a_redriven_message_is_claimed_once_and_ends
            a_claimed_message_that_is_not_ended_comes_again
            a_message_that_comes_back_keeps_its_letter
            redriven_messages_are_shared_by_those_who_claim
            dropped_letters_are_forgotten_and_their_works_stay_failed
            many_redrive_the_same_letters_and_each_runs_once
            a_request_begins_once
            the_same_call_repeated_begins_again
            a_key_belongs_to_what_was_asked_for
            an_answer_is_given_again_byte_for_byte
            the_first_answer_counts
            an_answer_needs_the_key_and_the_seed_it_was_begun_with
            a_request_of_somebody_silent_is_taken_over_with_its_seed
            what_is_let_go_begins_again_at_once
            an_expired_key_is_as_good_as_new
            expiry_counts_from_the_first_beginning
            expired_keys_are_forgotten
            a_batch_of_requests_is_answered_in_its_order
            of_many_that_begin_at_once_one_may
            counters_follow_every_kind_of_change
            counters_tell_origins_apart
            the_newest_works_are_shown
            folding_changes_no_counter
            works_that_became_done_make_the_rates
            the_latency_is_from_the_demand_to_done
            a_work_that_is_done_again_has_no_latency
            a_rebuild_changes_no_counter_and_no_rate
            counters_stay_right_through_a_random_mix
            a_search_for_a_kind_finds_its_works_alone
            a_change_tells_the_kind_of_its_work
            letters_are_listed_by_kind_and_by_the_beginning_of_their_reason
            letters_are_grouped_by_kind_and_by_the_beginning_of_their_reason
            the_last_seconds_tell_the_busiest_kinds_apart
            letters_are_counted_and_nothing_changes
            letters_are_redriven_by_kind_and_by_the_beginning_of_their_reason
            letters_are_dropped_by_kind_and_by_the_beginning_of_their_reason
            thousands_of_letters_of_a_kind_are_chosen_at_once
            a_letter_whose_work_moved_on_is_not_counted_for_a_redrive
            counters_tell_kinds_apart
            the_feed_tells_what_became_of_each_work
            pages_of_the_feed_follow_each_other
            the_feed_goes_on_from_the_text_of_any_place
            a_reader_with_a_goal_gets_there_and_no_further
            a_place_that_is_not_of_this_feed_is_not_continued
            the_works_that_changes_touch_come_once_each
            a_reader_beside_many_writers_misses_nothing_and_sees_nothing_twice
            one_of_many_gets_a_lease
            a_holder_extends_its_lease_and_no_other_one
            a_lease_whose_holder_is_silent_runs_out
            a_lease_is_let_go_by_its_holder_only
            leases_that_are_held_are_counted_by_their_beginning
            what_is_finished_for_long_goes_with_its_events
            a_walk_looks_at_so_many_works_and_ends_with_the_old_ones
            a_purged_work_is_not_remembered
            the_feed_is_not_continued_from_before_what_was_purged
            a_feed_of_which_everything_was_purged_goes_on
            a_reader_that_is_purged_away_is_told_so
            reads_of_large_works_end_by_their_bytes
            pages_of_large_events_end_by_their_bytes
            who_changes_a_work_that_is_being_purged_wins_or_is_told
            many_purge_at_once_and_each_work_goes_once
            two_kinds_use_one_message_id_for_two_works
            a_completion_leaves_the_other_kinds_row_alone
            dead_messages_of_two_kinds_are_two_letters
            arguments_and_results_are_kept_byte_for_byte
            outcomes_without_a_row_are_kept_byte_for_byte
            a_result_may_be_null
            an_error_lasts_until_success_or_a_new_start
            a_failed_first_attempt_shows_its_error
            skipped_kinds_are_not_claimed_and_stay_due
            the_oldest_due_row_of_each_kind_is_known
            a_flood_of_one_kind_keeps_no_other_out
            one_claim_is_bounded_by_the_bytes_of_its_arguments
            sent_rows_are_released_by_kind
            other_arguments_of_a_pending_row_are_superseded
            a_claim_knows_its_own_start_and_no_other
            a_search_for_a_kind_shows_no_other
            the_newest_declaration_counts_and_the_one_before_is_kept
            settings_of_an_operator_stay_when_a_program_declares_again
            works_of_undeclared_and_paused_kinds_wait_and_the_others_are_sent
            the_sum_is_paused_and_resumed_like_any_kind
            a_worker_is_seen_for_the_kinds_that_are_declared
            there_is_a_most_of_kinds
            each_kind_is_kept_for_its_own_time
            an_unfinished_work_answers_for_its_unique
            works_of_one_call_with_one_unique_are_one
            a_repeated_creation_with_a_unique_is_no_duplicate
            of_many_that_create_with_one_unique_at_once_one_does
            a_work_does_not_begin_again_while_its_unique_is_held
            a_redrive_leaves_the_letters_of_works_whose_unique_is_held
            a_dry_run_counts_works_with_one_unique_once
            whoever_begins_a_unique_first_wins
            the_holder_of_a_unique_is_found
            pulled_works_are_claimed_by_workers_and_never_sent
            workers_share_due_works_and_claim_each_once
            a_run_is_ended_by_its_claim_and_no_other
            the_state_tells_why_a_run_is_over
            a_claimed_lease_is_extended_until_its_time_is_over
            progress_of_a_claim_is_shown_while_it_holds
            paused_kinds_are_not_claimed_and_run_at_is_kept
            one_call_of_workers_is_bounded_by_bytes
            works_of_workers_outside_are_not_lost_with_the_consumers
            a_kind_that_is_pulled_from_now_on_gives_back_what_was_sent
            workers_that_were_heard_of_are_listed
        );
    };
    (@cases $fresh:path: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _kept) = $fresh().await;
                let checked = ::std::sync::Arc::clone(&store);
                $crate::store::$case(store).await;
                $crate::store::the_counters_are_the_truth(&checked).await;
            }
        )*
    };
}
