//! Refusal needs proof: a database's error alone never says that a row cannot be stored.
//!
//! The same error may be about one row or about everything: a read-only server, a full disk, a renamed table, a trigger
//! that raises, a lost permission, a damaged index. Drivers hide most error codes, and servers speak many languages. So
//! a call is [`StoreError::Rejected`] only after a *trial*: the same statement with another row of the same form,
//! rolled back. If the trial fails as well, the database is unwell, and the caller waits.

use std::future::Future;
use std::time::Duration;

use super::{Completion, Guard, NewWork, Outcome, Result, StoreError};
use crate::domain::{AddUpTo, Json, KindName, MessageId, WorkCode};

/// A failed call, as far as its error says.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// This is known.
    Known(StoreError),
    /// The database answered with an error that may be about this call's rows, or about the database.
    Doubtful(String),
}

impl From<Refusal> for StoreError {
    /// Without a trial only the database can be blamed.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Known(error) => error,
            Refusal::Doubtful(why) => Self::Unwell(why),
        }
    }
}

/// Makes a call whose rows may be refused. It is [`StoreError::Rejected`] if the trial succeeds though the call fails.
/// A call with several rows is taken apart by its caller, which costs nothing; a single row is given up, so it has to be
/// refused twice, with a successful trial after each time.
pub(super) async fn proved<T, C, F, P, G>(rows: usize, call: C, trial: P) -> Result<T>
where
    C: Fn() -> F,
    F: Future<Output = std::result::Result<T, Refusal>>,
    P: Fn() -> G,
    G: Future<Output = std::result::Result<(), Refusal>>,
{
    let mut refused = String::new();
    for _ in 0..if rows == 1 { 2 } else { 1 } {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(Refusal::Known(error)) => return Err(error),
            Err(Refusal::Doubtful(why)) => refused = why,
        }
        match trial().await {
            Ok(()) => {}
            Err(Refusal::Known(error)) => return Err(error),
            Err(Refusal::Doubtful(_)) => return Err(StoreError::Unwell(refused)),
        }
    }
    Err(StoreError::Rejected(refused))
}

/// The lease of works that are started in a trial, and are gone with it.
const LEASE: Duration = Duration::from_secs(60);

/// Other works of the same form, to be created.
pub(super) fn like_new(work: &NewWork) -> impl Iterator<Item = NewWork> {
    let (message_id, work_code) = (beside(&work.message_id), code_beside(&work.work_code));
    let kind = work.kind.clone();
    other_args(&work.args).into_iter().map(move |args| NewWork {
        kind: kind.clone(),
        message_id: message_id.clone(),
        work_code: work_code.clone(),
        args,
        run_at: None,
        unique: None,
        notify: None,
    })
}

/// A completion for a work that does not exist, and the steps before it.
pub(super) struct Steps {
    /// The work to create first, unless the completion inserts it.
    pub(super) created: Option<NewWork>,
    /// The completions, one after the other.
    pub(super) completed: Vec<Completion>,
}

/// Other completions like this one: with the same guard and the same kind of outcome.
pub(super) fn like_completed(kind: &KindName, completion: &Completion) -> impl Iterator<Item = Steps> {
    let (message_id, work_code) = (beside(&completion.message_id), code_beside(&completion.work_code));
    let (guard, outcome) = (completion.guard.as_first(), completion.outcome.clone());
    let (kind, given) = (kind.clone(), completion.args.clone());
    other_args(&given.unwrap_or_else(any_args))
        .into_iter()
        .map(move |args| {
            let complete = |guard, outcome| Completion {
                message_id: message_id.clone(),
                work_code: work_code.clone(),
                args: Some(args.clone()),
                guard,
                outcome,
            };
            let created = (guard != Guard::NoRow).then(|| NewWork {
                kind: kind.clone(),
                message_id: message_id.clone(),
                work_code: work_code.clone(),
                args: args.clone(),
                run_at: None,
                unique: None,
                notify: None,
            });
            let running = |claim| Outcome::Running {
                lease: LEASE,
                claim,
                worker: None,
            };
            let started = guard
                .is_running()
                .then(|| complete(Guard::Pending(guard.run()), running(guard.claim().unwrap_or_default())));
            let last = complete(guard, harmless(&outcome));
            Steps {
                created,
                completed: started.into_iter().chain([last]).collect(),
            }
        })
}

fn any_args() -> Json {
    AddUpTo::MIN.args()
}

/// Arguments for trials: a text of the same length, and sums. One that is taken is proof enough, whatever rules for
/// arguments were added by hand.
fn other_args(args: &Json) -> Vec<Json> {
    const BOUNDS: [i64; 4] = [1, 2, 99, 1_000_000];
    let sums = BOUNDS.into_iter().filter_map(|bound| AddUpTo::try_from(bound).ok());
    std::iter::once(filled(args)).chain(sums.map(AddUpTo::args)).collect()
}

/// A JSON text of the same length.
fn filled(json: &Json) -> Json {
    let inner = json.as_str().len().saturating_sub(2);
    Json::accepted(format!("\"{}\"", "-".repeat(inner)))
}

/// The same kind of outcome without anything of the first one's in it.
fn harmless(outcome: &Outcome) -> Outcome {
    let dashes = |reason: &str| "-".repeat(reason.len());
    match outcome {
        Outcome::Running { lease, claim, worker } => Outcome::Running {
            lease: *lease,
            claim: *claim,
            worker: worker.clone(),
        },
        Outcome::Done { result } => Outcome::Done { result: filled(result) },
        Outcome::Retry { reason, delay } => Outcome::Retry {
            reason: dashes(reason),
            delay: *delay,
        },
        Outcome::Snoozed { delay } => Outcome::Snoozed { delay: *delay },
        Outcome::Cancelled { reason } => Outcome::Cancelled { reason: dashes(reason) },
        Outcome::Failed { reason } => Outcome::Failed { reason: dashes(reason) },
    }
}

/// A new id that an index keeps beside this one and that takes no less room: a page that is damaged, or full on a full
/// disk, is the same for both.
fn beside(id: &MessageId) -> MessageId {
    const LONGEST_KEPT: usize = 200;
    let text = id.as_str();
    let kept = &text[..text.floor_char_boundary(LONGEST_KEPT)];
    let room = MessageId::MAX_LENGTH - kept.len();
    let width = (text.len() - kept.len()).clamp(17, room) - 1;
    let new = format!("{kept}~{:0width$x}", rand::random::<u64>());
    MessageId::try_from(new).unwrap_or_else(|_| unreachable!("it is made of a message id and hexadecimal digits"))
}

fn code_beside(code: &WorkCode) -> WorkCode {
    let text = code.as_str();
    let kept = &text[..text.len() - 4];
    let new = format!("{kept}{:04x}", rand::random::<u16>());
    new.parse()
        .unwrap_or_else(|_| unreachable!("it is made of a work code and hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use super::*;
    use crate::domain::{Origin, Run};
    use crate::runtime::{new_message_id, new_work_code};

    fn doubtful<T>() -> std::result::Result<T, Refusal> {
        Err(Refusal::Doubtful("no".to_owned()))
    }

    async fn outcome(rows: usize, calls: &[bool], trials: &[bool]) -> (Result<()>, usize, usize) {
        let (called, tried) = (Cell::new(0), Cell::new(0));
        let next = |count: &Cell<usize>, all: &[bool]| {
            count.set(count.get() + 1);
            ready(if all[count.get() - 1] { Ok(()) } else { doubtful() })
        };
        let outcome = proved(rows, || next(&called, calls), || next(&tried, trials)).await;
        (outcome, called.get(), tried.get())
    }

    #[tokio::test]
    async fn a_row_is_refused_only_while_others_are_taken() {
        assert!(matches!(outcome(1, &[true], &[]).await, (Ok(()), 1, 0)));
        let (unwell, ..) = outcome(1, &[false], &[false]).await;
        assert!(matches!(unwell, Err(StoreError::Unwell(why)) if why == "no"));
        let (refused, 2, 2) = outcome(1, &[false, false], &[true, true]).await else {
            panic!("a single row was refused at once");
        };
        assert!(matches!(refused, Err(StoreError::Rejected(_))));
        let (unwell, ..) = outcome(1, &[false, false], &[true, false]).await;
        assert!(matches!(unwell, Err(StoreError::Unwell(_))));
        assert!(matches!(outcome(1, &[false, true], &[true]).await, (Ok(()), 2, 1)));
        let (apart, 1, 1) = outcome(2, &[false], &[true]).await else {
            panic!("a batch was tried again before it was taken apart");
        };
        assert!(matches!(apart, Err(StoreError::Rejected(_))));
    }

    #[test]
    fn a_trial_is_for_another_row_of_the_same_form() {
        let completion = Completion {
            message_id: MessageId::try_from("m".repeat(255)).unwrap(),
            work_code: new_work_code(Origin::Consumer),
            args: Some(AddUpTo::MAX.args()),
            guard: Guard::Running(Run {
                generation: 7,
                attempt: 3,
            }),
            outcome: Outcome::Failed {
                reason: "a\0b".to_owned(),
            },
        };
        let Steps { created, mut completed } = like_completed(KindName::add_up_to(), &completion).next().unwrap();
        assert_eq!((created.is_some(), completed.len()), (true, 2));
        let other = completed.pop().unwrap();
        assert_eq!(other.message_id.as_str().len(), 255);
        assert_eq!(other.work_code.as_str()[..15], completion.work_code.as_str()[..15]);
        assert_ne!(other.work_code, completion.work_code);
        assert_eq!(
            (other.guard, other.outcome),
            (
                Guard::Running(Run::FIRST),
                Outcome::Failed {
                    reason: "---".to_owned()
                }
            )
        );
        let short = beside(&new_message_id());
        assert!(short.as_str().len() > new_message_id().as_str().len());
    }
}
