//! The store's actor over a scripted store that waits, refuses and panics.

use std::sync::Arc;

use pp_conformance::scripted::{Call, Held, ScriptedStore, Step};
use pp_lib::domain::{AddUpTo, CreatedWork, MessageId, Origin, Work, WorkCode, WorkId};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::serving::{Actor, ActorError, CreateWork, StoreHandle, StoreOptions};
use pp_lib::store::{AnyStore, StoreError};

use crate::store::embedded;

const BAD: i32 = 13;
const BROKEN: i32 = 14;
const UNREACHABLE: i32 = 15;
const TAKEN: i32 = 16;
const KINDS: [Call; 3] = [Call::Create, Call::ByIds, Call::ByCodes];

fn wanted(bound: i32) -> (CreateWork, MessageId) {
    let wanted = CreateWork {
        args: AddUpTo::try_from(i64::from(bound)).ok().map(AddUpTo::args),
        ..CreateWork::default()
    };
    (wanted, MessageId::try_from(format!("message {bound}")).unwrap())
}

/// The numbers in a text such as `WorkId(4)` or `"add_up_to":4}`.
fn numbers(text: &str, begin: &str) -> Vec<i32> {
    let found = text.split(begin).skip(1);
    found
        .map(|rest| rest.split([')', '}']).next().unwrap().parse().unwrap())
        .collect()
}

const BOUND: &str = "\"add_up_to\":";

/// The scripted step for creating works with these bounds.
fn created(asked: &str) -> Step {
    let bounds = numbers(asked, BOUND);
    if bounds.contains(&BROKEN) {
        Step::Panic
    } else if bounds.contains(&UNREACHABLE) {
        Step::Fail(StoreError::Unavailable("gone".into()))
    } else if bounds.contains(&BAD) {
        Step::Fail(StoreError::Rejected("bad".into()))
    } else if let Some(taken) = bounds.iter().position(|bound| *bound == TAKEN)
        && bounds.len() > 1
    {
        Step::change(move |works: &mut Vec<Option<CreatedWork>>| works[taken] = None)
    } else {
        Step::PassOn
    }
}

/// An actor over a store whose calls each wait for a permit.
struct Rig {
    store: Arc<ScriptedStore>,
    held: Held,
    handle: StoreHandle,
    actor: Actor,
    feed: AnyFeed,
    _folder: tempfile::TempDir,
}

async fn rig() -> Rig {
    let (inner, folder) = embedded::fresh().await;
    let store = ScriptedStore::new(inner);
    store.on(&[Call::Create], created);
    let held = store.hold(&KINDS);
    let feed: AnyFeed = Arc::new(MemoryFeed::new());
    let options = StoreOptions {
        mailbox: 8,
        read_lanes: 1,
        ..StoreOptions::default()
    };
    let any: AnyStore = store.clone();
    let (actor, handle) = StoreHandle::start(&any, &feed, options);
    Rig {
        store,
        held,
        handle,
        actor,
        feed,
        _folder: folder,
    }
}

impl Rig {
    /// The bounds of each group passed to the store.
    fn groups(&self) -> Vec<Vec<i32>> {
        let asked = self.store.asked(Call::Create);
        asked.iter().map(|asked| numbers(asked, BOUND)).collect()
    }

    /// Creates a work of each bound. The first one is under way before the others wait.
    async fn create(&self, bounds: &[i32]) -> Vec<tokio::task::JoinHandle<Result<CreatedWork, ActorError>>> {
        let mut asked = Vec::new();
        for bound in bounds {
            let (handle, (wanted, id)) = (self.handle.clone(), wanted(*bound));
            asked.push(tokio::spawn(async move { handle.create(wanted, id).await }));
            self.run_until_blocked().await;
        }
        asked
    }

    async fn create_one(&self, bound: i32) -> Result<CreatedWork, ActorError> {
        let (wanted, id) = wanted(bound);
        self.handle.create(wanted, id).await
    }

    /// Lets all tasks run as far as they can without a permit.
    async fn run_until_blocked(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn works_that_wait_during_a_commit_form_the_next_group() {
    let rig = rig().await;
    let mut waiter = rig.feed.listen();
    let asked = rig.create(&[1, 2, 3, 4]).await;
    assert_eq!(rig.groups(), [[1]]);
    rig.held.let_go(2);
    for (ask, bound) in asked.into_iter().zip(1..) {
        assert_eq!(ask.await.unwrap().unwrap().add_up_to().unwrap().get(), bound);
    }
    assert_eq!(rig.groups(), [vec![1], vec![2, 3, 4]]);
    waiter.changed().await;
}

#[tokio::test]
async fn one_bad_work_does_not_fail_its_neighbours() {
    let rig = rig().await;
    let asked = rig.create(&[1, 2, BAD, TAKEN, 5]).await;
    rig.held.let_go(100);
    let mut answers = Vec::new();
    for ask in asked {
        answers.push(match ask.await.unwrap() {
            Ok(work) => work.add_up_to().unwrap().get().to_string(),
            Err(error) => error.to_string(),
        });
    }
    assert_eq!(answers, ["1", "2", "the database refused: bad", "16", "5"]);
    // The work with the taken code was retried alone, with a new code.
    assert_eq!(rig.groups().last().unwrap(), &[TAKEN]);
}

#[tokio::test]
async fn a_failing_store_fails_the_current_group_only() {
    let rig = rig().await;
    let asked = rig.create(&[1, 2, UNREACHABLE]).await;
    rig.held.let_go(2);
    let mut answers = Vec::new();
    for ask in asked {
        answers.push(ask.await.unwrap());
    }
    assert!(matches!(
        &answers[..],
        [
            Ok(_),
            Err(ActorError::Store(StoreError::Unavailable(_))),
            Err(ActorError::Store(_))
        ]
    ));
    rig.held.let_go(2);
    assert!(matches!(rig.create_one(BROKEN).await, Err(ActorError::Failed)));
    assert!(rig.create_one(3).await.is_ok());
}

#[tokio::test]
async fn waiting_reads_share_one_statement_and_each_gets_its_own_work() {
    let rig = rig().await;
    rig.held.let_go(50);
    for bound in 17..67 {
        rig.create_one(bound).await.unwrap();
    }
    // The store's order differs from that of the questions.
    rig.store.on(&[Call::ByIds], |_| {
        Step::change(|works: &mut Vec<Work>| works.reverse())
    });
    let ask = |id| {
        let handle = rig.handle.clone();
        tokio::spawn(async move { handle.by_id(WorkId(id)).await })
    };
    let mut asked = vec![ask(50)];
    rig.run_until_blocked().await;
    asked.extend([7, 3, 101, 7].map(ask));
    rig.run_until_blocked().await;
    rig.held.let_go(2);
    let (mut ids, mut work_code) = (Vec::new(), None);
    for ask in asked {
        let work = ask.await.unwrap().unwrap();
        work_code = work.as_ref().map(|work| work.work_code.clone());
        ids.push(work.map(|work| work.id.0));
    }
    assert_eq!(ids, [Some(50), Some(7), Some(3), None, Some(7)]);
    let asked = rig.store.asked(Call::ByIds);
    let ids: Vec<_> = asked.iter().map(|asked| numbers(asked, "WorkId(")).collect();
    assert_eq!(ids, [vec![50], vec![3, 7, 101]]);
    rig.held.let_go(1);
    let code = work_code.unwrap();
    let found = rig.handle.by_code(code.clone()).await.unwrap().unwrap();
    assert_eq!(found.work_code, code);
}

#[tokio::test]
async fn one_kind_of_request_does_not_wait_behind_another() {
    let rig = rig().await;
    let _creates = rig.create(&[1, 2]).await;
    let (by_id, by_code) = (rig.handle.clone(), rig.handle.clone());
    let _one = tokio::spawn(async move { by_id.by_id(WorkId(4)).await });
    let _other = tokio::spawn(async move { by_code.by_code(WorkCode::new(Origin::Api, [1; 10])).await });
    rig.run_until_blocked().await;
    assert_eq!(KINDS.map(|kind| rig.store.calls(kind)), [1, 1, 1]);
}

#[tokio::test]
async fn a_full_mailbox_refuses_and_a_stop_finishes_waiting_requests() {
    let rig = rig().await;
    // One is under way and eight wait.
    let asked = rig.create(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    assert!(matches!(rig.create_one(10).await, Err(ActorError::Overloaded)));
    rig.held.let_go(2);
    rig.actor.stop().await;
    for ask in asked {
        ask.await.unwrap().unwrap();
    }
    let (wanted, id) = wanted(11);
    let late = rig.handle.create(wanted, id).await;
    assert!(matches!(late, Err(ActorError::Stopped)), "{late:?}");
}
