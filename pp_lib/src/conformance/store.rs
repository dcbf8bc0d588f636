//! What every store does, whichever database it is on. Each case gets an empty, migrated store.

#![allow(clippy::unwrap_used, reason = "a case that cannot go on has failed")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::domain::{AddUpTo, AddUpToSum, Origin, Status, Variable, Work, WorkCode, WorkCodePrefix, WorkId};
use crate::flow::{new_message_id, new_work_code};
use crate::store::{AnyStore, Claim, DueAt, Guard, NewWork, Outcome, Run, Search, Settled, Settlement};

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

const HOLD: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_secs(30);

fn bound(number: i64) -> AddUpTo {
    AddUpTo::try_from(number).unwrap()
}

fn new_work(origin: Origin, number: i64) -> NewWork {
    NewWork {
        message_id: new_message_id(),
        work_code: new_work_code(origin),
        add_up_to: bound(number),
        run_at: None,
    }
}

async fn created(store: &AnyStore, numbers: &[i64]) -> Vec<Work> {
    let works: Vec<NewWork> = numbers.iter().map(|number| new_work(Origin::Api, *number)).collect();
    store
        .create(&works)
        .await
        .unwrap()
        .into_iter()
        .map(Option::unwrap)
        .collect()
}

async fn history(store: &AnyStore, id: WorkId) -> Vec<(Variable, String)> {
    let events = store.events(id).await.unwrap().unwrap();
    assert!(
        events.is_sorted_by_key(|event| event.id),
        "events in the order of their ids"
    );
    events.into_iter().map(|event| (event.variable, event.value)).collect()
}

fn names(events: &[(Variable, String)]) -> Vec<&'static str> {
    events.iter().map(|(variable, _)| variable.as_str()).collect()
}

async fn work(store: &AnyStore, id: WorkId) -> Work {
    store.by_ids(&[id]).await.unwrap().pop().unwrap()
}

async fn claim(store: &AnyStore) -> Vec<Claim> {
    store.claim(None, HOLD, 1000).await.unwrap()
}

/// What a worker says that computed the demand of a claim.
fn settlement(claim: &Claim, outcome: Outcome) -> Settlement {
    Settlement {
        message_id: claim.message_id.clone(),
        work_code: claim.work_code.clone(),
        add_up_to: claim.add_up_to,
        guard: Guard::Pending {
            generation: claim.generation,
            attempt: claim.attempt,
        },
        outcome,
    }
}

fn running(claim: &Claim, outcome: Outcome) -> Settlement {
    let guard = Guard::Running {
        generation: claim.generation,
        attempt: claim.attempt,
    };
    Settlement {
        guard,
        ..settlement(claim, outcome)
    }
}

fn without_row(number: i64, outcome: Outcome) -> Settlement {
    Settlement {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Consumer),
        add_up_to: bound(number),
        guard: Guard::NoRow,
        outcome,
    }
}

fn done(number: i64) -> Outcome {
    Outcome::Done {
        result: AddUpToSum::sum(bound(number)),
    }
}

fn retry(delay: Duration) -> Outcome {
    Outcome::Retry {
        reason: "not now".to_owned(),
        delay,
    }
}

async fn settle_one(store: &AnyStore, settlement: Settlement) -> Settled {
    store.settle(&[settlement]).await.unwrap()[0]
}

async fn by_code(store: &AnyStore, code: &WorkCode) -> Option<Work> {
    store.by_codes(std::slice::from_ref(code)).await.unwrap().pop()
}

fn everything() -> Search {
    Search {
        work_code: None,
        status: None,
        since: None,
        before: None,
        limit: 1000,
    }
}

async fn ids(store: &AnyStore, search: Search) -> Vec<i64> {
    store
        .search(&search)
        .await
        .unwrap()
        .into_iter()
        .map(|work| work.id.0)
        .collect()
}

/// Waits until a condition of the store holds.
macro_rules! eventually {
    ($condition:expr) => {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !$condition {
            assert!(Instant::now() < deadline, "not within 20 s: {}", stringify!($condition));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
}

#[allow(missing_docs, reason = "each case is named after what it shows")]
mod cases {
    use super::*;

    pub async fn creates_works_due_at_once_with_their_event(store: AnyStore) {
        let wanted = [
            new_work(Origin::Api, 4),
            new_work(Origin::Api, 5),
            new_work(Origin::Consumer, 6),
        ];
        let works: Vec<Work> = store
            .create(&wanted)
            .await
            .unwrap()
            .into_iter()
            .map(Option::unwrap)
            .collect();
        for (work, wanted) in works.iter().zip(&wanted) {
            assert_eq!((&work.work_code, work.add_up_to), (&wanted.work_code, wanted.add_up_to));
            assert_eq!((work.status, work.result, work.version), (Status::Pending, None, 1));
            assert_eq!(work.created_on, work.updated_on);
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs() as i64;
            assert!(
                (now - 60..=now + 60).contains(&work.created_on),
                "{} is not about now",
                work.created_on
            );
        }
        assert_eq!(
            history(&store, works[0].id).await,
            [(Variable::WorkCreated, "4".to_owned())]
        );
        assert_eq!(
            history(&store, works[2].id).await,
            [],
            "a demand's row is no news of the API"
        );
        assert_eq!(claim(&store).await.len(), 3);
    }

    pub async fn creating_again_is_no_second_work(store: AnyStore) {
        let wanted = [new_work(Origin::Api, 4), new_work(Origin::Api, 5)];
        let first = store.create(&wanted[..1]).await.unwrap();
        let again: Vec<NewWork> = wanted
            .iter()
            .map(|wanted| NewWork {
                work_code: new_work_code(Origin::Api),
                ..wanted.clone()
            })
            .collect();
        let second = store.create(&again).await.unwrap();
        assert_eq!(first[0], second[0], "the work as it is, with its first code");
        assert_eq!(second[1].as_ref().unwrap().work_code, again[1].work_code);
        assert_eq!(ids(&store, everything()).await.len(), 2);
        assert_eq!(history(&store, first[0].as_ref().unwrap().id).await.len(), 1);
    }

    pub async fn a_taken_code_is_said_and_changes_nothing(store: AnyStore) {
        let first = new_work(Origin::Api, 4);
        store.create(std::slice::from_ref(&first)).await.unwrap();
        let other = NewWork {
            work_code: first.work_code.clone(),
            ..new_work(Origin::Api, 5)
        };
        let third = new_work(Origin::Api, 6);
        let answers = store.create(&[other, third]).await.unwrap();
        assert!(answers[0].is_none());
        assert_eq!(answers[1].as_ref().unwrap().add_up_to, bound(6));
        assert_eq!(by_code(&store, &first.work_code).await.unwrap().add_up_to, bound(4));
    }

    pub async fn reads_by_id_and_code_leave_out_what_is_not_there(store: AnyStore) {
        let works = created(&store, &[1, 2]).await;
        let wanted = [works[1].id, WorkId(i64::MAX), WorkId(0), WorkId(-5), works[0].id];
        let mut found = store.by_ids(&wanted).await.unwrap();
        found.sort_by_key(|work| work.id);
        assert_eq!(found, works);
        let codes = [new_work_code(Origin::Api), works[0].work_code.clone()];
        assert_eq!(store.by_codes(&codes).await.unwrap(), works[..1]);
        assert!(store.by_ids(&[]).await.unwrap().is_empty() && store.by_codes(&[]).await.unwrap().is_empty());
        assert_eq!(store.events(WorkId(i64::MAX)).await.unwrap(), None);
    }

    pub async fn searches_newest_first_by_every_filter(store: AnyStore) {
        let works = created(&store, &[1, 2, 3]).await;
        let finished = without_row(4, done(4));
        settle_one(&store, finished.clone()).await;
        let finished = by_code(&store, &finished.work_code).await.unwrap();
        let all: Vec<i64> = [finished.id, works[2].id, works[1].id, works[0].id]
            .map(|id| id.0)
            .to_vec();
        assert!(all.is_sorted_by(|a, b| a > b));
        assert_eq!(ids(&store, everything()).await, all);
        assert_eq!(
            ids(
                &store,
                Search {
                    limit: 2,
                    ..everything()
                }
            )
            .await,
            all[..2]
        );
        assert_eq!(
            ids(
                &store,
                Search {
                    before: Some(works[2].id),
                    ..everything()
                }
            )
            .await,
            all[2..]
        );
        for (status, wanted, expected) in [
            (Status::Done, true, &all[..1]),
            (Status::Done, false, &all[1..]),
            (Status::Pending, true, &all[1..]),
            (Status::Failed, true, &[]),
            (Status::Cancelled, true, &[]),
        ] {
            assert_eq!(
                ids(
                    &store,
                    Search {
                        status: Some((status, wanted)),
                        ..everything()
                    }
                )
                .await,
                expected
            );
        }
        let since = |since| Search {
            since: Some(since),
            ..everything()
        };
        assert_eq!(ids(&store, since(works[0].created_on)).await, all, "inclusive");
        assert!(ids(&store, since(finished.created_on + 1)).await.is_empty());
        assert!(ids(&store, since(i64::MAX)).await.is_empty());
        assert_eq!(ids(&store, since(i64::MIN)).await, all);
    }

    pub async fn prefixes_are_literal(store: AnyStore) {
        let works = created(&store, &[1, 2]).await;
        settle_one(&store, without_row(3, done(3))).await;
        let found = |prefix: &str| {
            let search = Search {
                work_code: WorkCodePrefix::parse(prefix),
                ..everything()
            };
            let store = store.clone();
            async move { ids(&store, search).await.len() }
        };
        assert_eq!(found("").await, 3);
        assert_eq!((found("a").await, found("api-").await), (2, 2));
        assert_eq!((found("consumer").await, found("consumer-").await), (1, 1));
        let code = works[0].work_code.as_str();
        assert_eq!((found(code).await, found(&code[..9]).await), (1, 1));
        for nothing in [
            "%",
            "api_",
            "api-%",
            "_",
            "api-'",
            "' OR 1=1 --",
            "api-\\",
            "\u{0}",
            "API-",
            "x",
        ] {
            assert_eq!(found(nothing).await, 0, "{nothing}");
        }
    }

    pub async fn claims_each_due_row_once_and_marks_it_sent(store: AnyStore) {
        let works = created(&store, &[1, 2, 3]).await;
        let first = store.claim(None, HOLD, 2).await.unwrap();
        assert_eq!(first.len(), 2);
        assert_eq!((first[0].generation, first[0].attempt), (1, 1));
        let second = claim(&store).await;
        let claimed: HashSet<WorkId> = first.iter().chain(&second).map(|claim| claim.id).collect();
        assert_eq!((second.len(), claimed.len()), (1, 3));
        store.mark_sent(&first).await.unwrap();
        store.mark_sent(&second).await.unwrap();
        assert!(claim(&store).await.is_empty());
        assert_eq!(
            work(&store, works[0].id).await,
            works[0],
            "being sent is nobody else's business"
        );
    }

    pub async fn a_claim_that_is_not_marked_runs_out(store: AnyStore) {
        created(&store, &[1]).await;
        let lost = store.claim(None, Duration::from_millis(20), 10).await.unwrap();
        eventually!(!store.claim(None, HOLD, 10).await.unwrap().is_empty());
        // The first dispatcher comes too late to say that its message is the one on its way.
        store.mark_sent(&lost).await.unwrap();
        let row = store.pending(&[lost[0].work_code.clone()]).await.unwrap().remove(0);
        assert!(row.due_at.0 > lost[0].due_at.0, "held by the second claim, not sent");
    }

    pub async fn claims_that_are_given_back_are_due_at_once(store: AnyStore) {
        created(&store, &[1, 2]).await;
        let claims = claim(&store).await;
        settle_one(
            &store,
            settlement(&claims[0], done(i64::from(claims[0].add_up_to.get()))),
        )
        .await;
        store.give_back(&claims).await.unwrap();
        let again = claim(&store).await;
        assert_eq!((again.len(), again[0].id), (1, claims[1].id), "but not what moved on");
        store.give_back(&claims).await.unwrap();
        assert!(
            claim(&store).await.is_empty(),
            "nor what somebody else has claimed since"
        );
    }

    pub async fn concurrent_claims_share_the_rows(store: AnyStore) {
        created(&store, &(1..=200).collect::<Vec<i64>>()).await;
        let claimers = (0..4).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let claims = store.claim(None, HOLD, 7).await.unwrap();
                    if claims.is_empty() {
                        return mine;
                    }
                    mine.extend(claims.into_iter().map(|claim| claim.id));
                }
            })
        });
        let mut all = Vec::new();
        for claimer in claimers.collect::<Vec<_>>() {
            all.extend(claimer.await.unwrap());
        }
        assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (200, 200));
    }

    pub async fn the_time_range_bounds_only_the_fast_claim(store: AnyStore) {
        created(&store, &[1, 2]).await;
        let within = async |range| store.claim(Some(range), HOLD, 1).await.unwrap().len();
        assert_eq!(within(Duration::ZERO).await, 0, "nothing fell due within no time");
        assert_eq!(within(Duration::from_secs(3600)).await, 1);
        assert_eq!(claim(&store).await.len(), 1, "whenever it fell due");
    }

    pub async fn settles_a_demand_without_a_row_once(store: AnyStore) {
        let demand = without_row(100, done(100));
        assert_eq!(settle_one(&store, demand.clone()).await, Settled::Applied);
        let redelivered = Settlement {
            work_code: new_work_code(Origin::Consumer),
            ..demand.clone()
        };
        assert_eq!(settle_one(&store, redelivered.clone()).await, Settled::Superseded);
        assert_eq!(by_code(&store, &redelivered.work_code).await, None);
        let work = by_code(&store, &demand.work_code).await.unwrap();
        assert_eq!((work.status, work.result, work.version), (Status::Done, Some(5050), 1));
        let expected = [
            (Variable::ComputeStart, ""),
            (Variable::ComputeStop, ""),
            (Variable::ComputeResult, "5050"),
        ];
        assert_eq!(
            history(&store, work.id).await,
            expected.map(|(variable, value)| (variable, value.to_owned()))
        );
        assert!(claim(&store).await.is_empty());
    }

    pub async fn settles_a_pending_row_once(store: AnyStore) {
        let work = created(&store, &[100]).await.remove(0);
        let claim = claim(&store).await.remove(0);
        assert_eq!(
            settle_one(&store, settlement(&claim, done(100))).await,
            Settled::Applied
        );
        assert_eq!(
            settle_one(&store, settlement(&claim, done(100))).await,
            Settled::Superseded
        );
        store.mark_sent(&[claim]).await.unwrap();
        let after = super::work(&store, work.id).await;
        assert_eq!(
            (after.status, after.result, after.version),
            (Status::Done, Some(5050), 2)
        );
        let events = history(&store, work.id).await;
        assert_eq!(
            names(&events),
            ["work/created", "compute/start", "compute/stop", "compute/result"]
        );
    }

    pub async fn a_superseded_settlement_changes_nothing(store: AnyStore) {
        let work = created(&store, &[3]).await.remove(0);
        let claim = claim(&store).await.remove(0);
        let other_generation = Guard::Pending {
            generation: 2,
            attempt: 1,
        };
        let other_attempt = Guard::Pending {
            generation: 1,
            attempt: 2,
        };
        let other_status = Guard::Running {
            generation: 1,
            attempt: 1,
        };
        for guard in [Guard::NoRow, other_generation, other_attempt, other_status] {
            let settlement = Settlement {
                guard,
                ..settlement(&claim, done(3))
            };
            assert_eq!(settle_one(&store, settlement).await, Settled::Superseded, "{guard:?}");
        }
        let nobody = Settlement {
            message_id: new_message_id(),
            ..settlement(&claim, done(3))
        };
        assert_eq!(settle_one(&store, nobody).await, Settled::Superseded);
        assert_eq!(super::work(&store, work.id).await, work);
        assert_eq!(history(&store, work.id).await.len(), 1);
    }

    pub async fn a_settlement_with_another_bound_changes_nothing(store: AnyStore) {
        let work = created(&store, &[3]).await.remove(0);
        let claim = claim(&store).await.remove(0);
        let forged = Settlement {
            add_up_to: bound(4),
            ..settlement(&claim, done(4))
        };
        assert_eq!(settle_one(&store, forged).await, Settled::Superseded);
        assert_eq!(super::work(&store, work.id).await, work);
    }

    pub async fn a_taken_code_of_a_settlement_is_said(store: AnyStore) {
        let first = without_row(3, done(3));
        settle_one(&store, first.clone()).await;
        let second = Settlement {
            work_code: first.work_code.clone(),
            ..without_row(4, done(4))
        };
        assert_eq!(settle_one(&store, second.clone()).await, Settled::CodeTaken);
        let second = Settlement {
            work_code: new_work_code(Origin::Consumer),
            ..second
        };
        assert_eq!(settle_one(&store, second).await, Settled::Applied);
    }

    pub async fn running_then_done_has_each_event_once(store: AnyStore) {
        let work = created(&store, &[3]).await.remove(0);
        let claim = claim(&store).await.remove(0);
        let start = settlement(&claim, Outcome::Running { lease: LEASE });
        assert_eq!(settle_one(&store, start.clone()).await, Settled::Applied);
        assert_eq!(super::work(&store, work.id).await.status, Status::Running);
        assert_eq!(
            settle_one(&store, start).await,
            Settled::Superseded,
            "a second delivery finds it running"
        );
        let run = Run {
            message_id: claim.message_id.clone(),
            generation: 1,
            attempt: 1,
        };
        let stranger = Run {
            attempt: 2,
            ..run.clone()
        };
        assert_eq!(
            store.extend_leases(&[stranger, run.clone()], LEASE).await.unwrap(),
            [false, true]
        );
        assert_eq!(settle_one(&store, running(&claim, done(3))).await, Settled::Applied);
        assert_eq!(settle_one(&store, running(&claim, done(3))).await, Settled::Superseded);
        assert_eq!(store.extend_leases(&[run], LEASE).await.unwrap(), [false]);
        let after = super::work(&store, work.id).await;
        assert_eq!((after.status, after.result, after.version), (Status::Done, Some(6), 3));
        let events = history(&store, work.id).await;
        assert_eq!(
            names(&events),
            ["work/created", "compute/start", "compute/stop", "compute/result"]
        );
    }

    pub async fn a_retry_waits_and_is_the_next_attempt(store: AnyStore) {
        let demand = without_row(7, retry(Duration::from_millis(30)));
        assert_eq!(settle_one(&store, demand.clone()).await, Settled::Applied);
        let work = by_code(&store, &demand.work_code).await.unwrap();
        assert_eq!(work.status, Status::Pending);
        let mut claims = claim(&store).await;
        eventually!({
            claims.extend(claim(&store).await);
            !claims.is_empty()
        });
        assert_eq!((claims[0].attempt, claims[0].generation, claims[0].failures), (2, 1, 1));
        let again = settlement(&claims[0], retry(LEASE));
        assert_eq!(settle_one(&store, again).await, Settled::Applied);
        assert!(claim(&store).await.is_empty(), "due later");
        let events = history(&store, work.id).await;
        assert_eq!(
            names(&events),
            ["compute/start", "compute/error", "compute/start", "compute/error"]
        );
        assert_eq!(events[1].1, "not now");
    }

    pub async fn a_failure_is_final_and_a_dead_letter(store: AnyStore) {
        let demand = without_row(
            13,
            Outcome::Failed {
                reason: "never".to_owned(),
            },
        );
        assert_eq!(settle_one(&store, demand.clone()).await, Settled::Applied);
        let work = by_code(&store, &demand.work_code).await.unwrap();
        assert_eq!((work.status, work.result, work.done()), (Status::Failed, None, false));
        assert_eq!(
            names(&history(&store, work.id).await),
            ["compute/start", "compute/error"]
        );
        assert!(claim(&store).await.is_empty());
        assert_eq!(
            ids(
                &store,
                Search {
                    status: Some((Status::Failed, true)),
                    ..everything()
                }
            )
            .await,
            [work.id.0]
        );
    }

    pub async fn a_batch_settles_everything_in_it(store: AnyStore) {
        created(&store, &(1..=50).collect::<Vec<i64>>()).await;
        let mut settlements: Vec<Settlement> = (1..=50).map(|number| without_row(number, done(number))).collect();
        for claim in claim(&store).await {
            settlements.push(settlement(&claim, done(i64::from(claim.add_up_to.get()))));
        }
        settlements.push(without_row(51, Outcome::Running { lease: LEASE }));
        settlements.push(without_row(
            52,
            Outcome::Failed {
                reason: "never".to_owned(),
            },
        ));
        assert!(
            store
                .settle(&settlements)
                .await
                .unwrap()
                .iter()
                .all(|settled| *settled == Settled::Applied)
        );
        assert!(
            store
                .settle(&settlements)
                .await
                .unwrap()
                .iter()
                .all(|settled| *settled == Settled::Superseded)
        );
        for work in store.search(&everything()).await.unwrap() {
            let api = work.work_code.origin() == Origin::Api;
            let expected: &[&str] = match work.status {
                Status::Done if api => &["work/created", "compute/start", "compute/stop", "compute/result"],
                Status::Done => &["compute/start", "compute/stop", "compute/result"],
                Status::Running => &["compute/start"],
                Status::Failed => &["compute/start", "compute/error"],
                other => panic!("{other} is not what was settled"),
            };
            assert_eq!(names(&history(&store, work.id).await), expected);
            assert_eq!(work.result, work.done().then(|| AddUpToSum::sum(work.add_up_to)));
        }
        assert!(store.settle(&[]).await.unwrap().is_empty());
    }

    pub async fn two_settle_the_same_demands_at_once(store: AnyStore) {
        created(&store, &(1..=100).collect::<Vec<i64>>()).await;
        let mut demands: Vec<Settlement> = (1..=100).map(|number| without_row(number, done(number))).collect();
        for claim in claim(&store).await {
            demands.push(settlement(&claim, done(i64::from(claim.add_up_to.get()))));
        }
        let workers = [false, true].map(|reversed| {
            let (store, mut mine) = (store.clone(), demands.clone());
            if reversed {
                mine.reverse();
            }
            tokio::spawn(async move { store.settle(&mine).await.unwrap() })
        });
        let mut applied = 0;
        for worker in workers {
            applied += worker
                .await
                .unwrap()
                .into_iter()
                .filter(|settled| *settled == Settled::Applied)
                .count();
        }
        assert_eq!(applied, 200);
        for work in store.search(&everything()).await.unwrap() {
            let compute = history(&store, work.id).await.len() - usize::from(work.work_code.origin() == Origin::Api);
            assert_eq!((work.status, compute), (Status::Done, 3));
        }
    }

    pub async fn a_lease_that_runs_out_is_rescued(store: AnyStore) {
        let demand = without_row(
            3,
            Outcome::Running {
                lease: Duration::from_millis(20),
            },
        );
        settle_one(&store, demand.clone()).await;
        let work = by_code(&store, &demand.work_code).await.unwrap();
        let kept = without_row(4, Outcome::Running { lease: LEASE });
        settle_one(&store, kept).await;
        eventually!(store.rescue(3, 100).await.unwrap() == 1);
        let claims = claim(&store).await;
        assert_eq!(
            (claims.len(), claims[0].id, claims[0].attempt, claims[0].failures),
            (1, work.id, 2, 0)
        );
        let late = Settlement {
            guard: Guard::Running {
                generation: 1,
                attempt: 1,
            },
            ..settlement(&claims[0], done(3))
        };
        assert_eq!(
            settle_one(&store, late).await,
            Settled::Superseded,
            "the silent worker wakes up too late"
        );
        assert_eq!(
            settle_one(&store, settlement(&claims[0], done(3))).await,
            Settled::Applied
        );
        let events = history(&store, work.id).await;
        assert_eq!(
            names(&events),
            [
                "compute/start",
                "compute/error",
                "compute/start",
                "compute/stop",
                "compute/result"
            ]
        );
    }

    pub async fn too_many_lost_leases_fail(store: AnyStore) {
        let demand = without_row(3, Outcome::Running { lease: Duration::ZERO });
        settle_one(&store, demand.clone()).await;
        for attempt in 2..=3 {
            eventually!(store.rescue(2, 100).await.unwrap() == 1);
            let again = claim(&store).await.remove(0);
            assert_eq!(again.attempt, attempt);
            let again = settlement(&again, Outcome::Running { lease: Duration::ZERO });
            assert_eq!(settle_one(&store, again).await, Settled::Applied);
        }
        eventually!(store.rescue(2, 100).await.unwrap() == 1);
        let work = by_code(&store, &demand.work_code).await.unwrap();
        assert_eq!(work.status, Status::Failed);
        assert!(claim(&store).await.is_empty());
        assert_eq!(
            names(&history(&store, work.id).await),
            ["compute/start", "compute/error"].repeat(3)
        );
    }

    pub async fn sent_rows_are_released(store: AnyStore) {
        created(&store, &[1, 2, 3]).await;
        let claims = store.claim(None, HOLD, 2).await.unwrap();
        store.mark_sent(&claims[..1]).await.unwrap();
        assert_eq!(
            store.release_sent(Duration::from_secs(60)).await.unwrap(),
            0,
            "sent just now"
        );
        let released = store.release_sent(Duration::ZERO).await.unwrap();
        assert_eq!(
            released, 2,
            "the one that was sent and the one whose claim is still held"
        );
        assert_eq!(claim(&store).await.len(), 3);
    }

    pub async fn pending_rows_are_found_by_code(store: AnyStore) {
        let works = created(&store, &[1, 2]).await;
        let claims = claim(&store).await;
        store.mark_sent(&claims).await.unwrap();
        let first = claims.iter().find(|claim| claim.id == works[0].id).unwrap();
        settle_one(&store, settlement(first, done(1))).await;
        let codes = [
            works[0].work_code.clone(),
            works[1].work_code.clone(),
            new_work_code(Origin::Api),
        ];
        let found = store.pending(&codes).await.unwrap();
        assert_eq!(found.len(), 1);
        let expected = claims.iter().find(|claim| claim.id == works[1].id).unwrap();
        assert_eq!(
            found[0],
            Claim {
                due_at: DueAt(0),
                ..expected.clone()
            }
        );
    }

    pub async fn the_largest_sum_is_kept_exactly(store: AnyStore) {
        let largest = i64::from(AddUpTo::MAX.get());
        let demand = without_row(largest, done(largest));
        settle_one(&store, demand.clone()).await;
        let work = by_code(&store, &demand.work_code).await.unwrap();
        assert_eq!(
            (work.add_up_to, work.result),
            (AddUpTo::MAX, Some(2_305_843_008_139_952_128))
        );
        assert_eq!(history(&store, work.id).await[2].1, "2305843008139952128");
    }
}

pub use cases::*;
