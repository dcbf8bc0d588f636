//! The mailbox of an actor and the loop that empties it. Batches run concurrently on a bounded number of lanes;
//! requests that arrive while all lanes are taken form the next batch.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Actor, ActorError};
use crate::log_repeated;
use crate::runtime::supervise;
use crate::serving::metrics::MailboxMeter;

/// The caller's end for the answer. Dropping it answers [`ActorError::Failed`].
pub(in crate::serving) type Reply<A> = oneshot::Sender<Result<A, ActorError>>;

/// The sending side, shared by all callers.
pub(in crate::serving) struct Mailbox<Q, A> {
    sender: mpsc::Sender<(Q, Reply<A>)>,
    meter: MailboxMeter,
}

// A derived impl would require `Clone` of questions and answers.
impl<Q, A> Clone for Mailbox<Q, A> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            meter: self.meter.clone(),
        }
    }
}

impl<Q, A> Mailbox<Q, A> {
    /// Asks and waits for the answer. A full mailbox refuses at once: waiting for room would only hide the queue.
    pub(in crate::serving) async fn ask(&self, question: Q) -> Result<A, ActorError> {
        let (reply, answer) = oneshot::channel();
        self.sender.try_send((question, reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.meter.refused();
                ActorError::Overloaded
            }
            mpsc::error::TrySendError::Closed(_) => ActorError::Stopped,
        })?;
        answer.await.unwrap_or(Err(ActorError::Failed))
    }
}

/// The size of a mailbox and its batches.
#[derive(Clone, Copy, Debug)]
pub(in crate::serving) struct MailboxOptions {
    /// For log lines.
    pub(in crate::serving) name: &'static str,
    /// The maximum number of waiting questions.
    pub(in crate::serving) capacity: usize,
    /// The maximum number of questions in a batch.
    pub(in crate::serving) batch: usize,
    /// The number of concurrent batches.
    pub(in crate::serving) lanes: usize,
}

/// Opens a mailbox whose batches `handle` answers until the actor stops: it gets the questions, and for each the reply.
/// Questions that wait by then are still answered.
pub(in crate::serving) fn open<Q, A, H, F>(actor: &Actor, options: MailboxOptions, handle: H) -> Mailbox<Q, A>
where
    Q: Send + 'static,
    A: Send + 'static,
    H: Fn(Vec<Q>, Vec<Reply<A>>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(options.capacity.max(1));
    let meter = MailboxMeter::new(options.name);
    let batches = Batches {
        options,
        meter: meter.clone(),
        receiver,
        lanes: Arc::new(Semaphore::new(options.lanes.max(1))),
        tasks: actor.tasks.clone(),
        stop: actor.stop.clone(),
        handle,
    };
    // Never cancelled: after the stop the loop ends by itself, once it has answered the waiting questions.
    let restarts = CancellationToken::new();
    let running = supervise(options.name, None, restarts, batches, |batches| batches.run().boxed());
    actor.tasks.spawn(running);
    Mailbox { sender, meter }
}

/// The receiving side.
struct Batches<Q, A, H> {
    options: MailboxOptions,
    meter: MailboxMeter,
    receiver: mpsc::Receiver<(Q, Reply<A>)>,
    lanes: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    handle: H,
}

impl<Q, A, H, F> Batches<Q, A, H>
where
    Q: Send + 'static,
    A: Send + 'static,
    H: Fn(Vec<Q>, Vec<Reply<A>>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    async fn run(&mut self) {
        // The lane comes first, so that the batch holds everything that arrived while waiting for it.
        while let Ok(lane) = Arc::clone(&self.lanes).acquire_owned().await {
            let mut batch = self.receive().await;
            if batch.is_empty() {
                return;
            }
            batch.retain(|(_, reply)| !reply.is_closed());
            if !batch.is_empty() {
                let (questions, replies): (Vec<Q>, Vec<Reply<A>>) = batch.into_iter().unzip();
                let (size, began, meter) = (questions.len(), Instant::now(), self.meter.clone());
                let work = (self.handle)(questions, replies);
                let metered = async move {
                    work.await;
                    meter.answered(size, began.elapsed());
                };
                self.tasks.spawn(contained(self.options.name, lane, metered));
            }
        }
    }
}

impl<Q, A, H> Batches<Q, A, H> {
    /// Waits for at least one question and returns all waiting ones; none after the stop.
    async fn receive(&mut self) -> Vec<(Q, Reply<A>)> {
        let mut batch = Vec::new();
        let limit = self.options.batch.max(1);
        tokio::select! {
            biased;
            _ = self.receiver.recv_many(&mut batch, limit) => return batch,
            () = self.stop.cancelled() => self.receiver.close(),
        }
        self.receiver.recv_many(&mut batch, limit).await;
        batch
    }
}

/// Runs a batch and contains its panics. The dropped replies answer its callers.
async fn contained(name: &'static str, lane: OwnedSemaphorePermit, work: impl Future<Output = ()>) {
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        log_repeated!(Error, name, "a batch panicked; its callers were told so");
    }
    drop(lane);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const OPTIONS: MailboxOptions = MailboxOptions {
        name: "test",
        capacity: 4,
        batch: 3,
        lanes: 1,
    };

    type Doubling = Mailbox<u32, (u32, usize)>;

    /// Doubles numbers once the gate has a permit for the batch, and reports the size of the batch. 13 panics in the
    /// batch, 14 in the loop.
    fn doubling(options: MailboxOptions, gate: &Arc<Semaphore>) -> (Doubling, Actor) {
        let (actor, gate) = (Actor::default(), Arc::clone(gate));
        let mailbox = open(
            &actor,
            options,
            move |numbers: Vec<u32>, replies: Vec<Reply<(u32, usize)>>| {
                assert!(!numbers.contains(&14));
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    let size = numbers.len();
                    for (number, reply) in numbers.into_iter().zip(replies) {
                        assert_ne!(number, 13);
                        let _ = reply.send(Ok((number * 2, size)));
                    }
                }
            },
        );
        (mailbox, actor)
    }

    /// Asks in the background. On return the question is in the mailbox, or refused.
    async fn asked(mailbox: &Doubling, number: u32) -> tokio::task::JoinHandle<Result<(u32, usize), ActorError>> {
        let mailbox = mailbox.clone();
        let task = tokio::spawn(async move { mailbox.ask(number).await });
        tokio::task::yield_now().await;
        task
    }

    #[tokio::test]
    async fn waiting_questions_form_one_batch_and_a_full_mailbox_refuses() {
        let gate = Arc::new(Semaphore::new(0));
        let (mailbox, ..) = doubling(OPTIONS, &gate);
        let first = asked(&mailbox, 1).await;
        tokio::task::yield_now().await;
        let mut waiting = Vec::new();
        for number in 2..=5 {
            waiting.push(asked(&mailbox, number).await);
        }
        assert!(matches!(mailbox.ask(6).await, Err(ActorError::Overloaded)));
        gate.add_permits(3);
        assert_eq!(first.await.unwrap().unwrap(), (2, 1));
        let mut answers = Vec::new();
        for task in waiting {
            answers.push(task.await.unwrap().unwrap());
        }
        assert_eq!(answers, [(4, 3), (6, 3), (8, 3), (10, 1)]);
    }

    #[tokio::test]
    async fn lanes_run_concurrently() {
        let gate = Arc::new(Semaphore::new(0));
        let options = MailboxOptions {
            batch: 1,
            lanes: 2,
            ..OPTIONS
        };
        let (mailbox, actor) = doubling(options, &gate);
        let (first, second, third) = (
            asked(&mailbox, 1).await,
            asked(&mailbox, 2).await,
            asked(&mailbox, 3).await,
        );
        while actor.tasks.len() < 3 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        // The tasks are the loop and two batches: the third question waits for a lane.
        assert_eq!(actor.tasks.len(), 3);
        gate.add_permits(3);
        for (task, answer) in [(first, 2), (second, 4), (third, 6)] {
            assert_eq!(task.await.unwrap().unwrap().0, answer);
        }
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_batch_only() {
        let gate = Arc::new(Semaphore::new(100));
        let (mailbox, ..) = doubling(OPTIONS, &gate);
        assert!(matches!(mailbox.ask(13).await, Err(ActorError::Failed)));
        assert_eq!(mailbox.ask(1).await.unwrap().0, 2);
        // The loop itself panics and restarts; questions wait meanwhile.
        assert!(matches!(mailbox.ask(14).await, Err(ActorError::Failed)));
        assert_eq!(mailbox.ask(2).await.unwrap().0, 4);
    }

    #[tokio::test]
    async fn abandoned_questions_are_dropped() {
        static SERVED: AtomicUsize = AtomicUsize::new(0);
        let gate = Arc::new(Semaphore::new(0));
        let (actor, inner) = (Actor::default(), Arc::clone(&gate));
        let mailbox = open(&actor, OPTIONS, move |numbers: Vec<u32>, replies: Vec<Reply<()>>| {
            SERVED.fetch_add(numbers.len(), Ordering::Relaxed);
            let gate = Arc::clone(&inner);
            async move {
                gate.acquire().await.unwrap().forget();
                drop(replies);
            }
        });
        let ask = |number| {
            let mailbox = mailbox.clone();
            tokio::spawn(async move { mailbox.ask(number).await })
        };
        let first = ask(1);
        while SERVED.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let given_up = ask(2);
        tokio::task::yield_now().await;
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        gate.add_permits(2);
        assert!(first.await.unwrap().is_err());
        actor.stop().await;
        assert_eq!(SERVED.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_stop_answers_waiting_questions_and_refuses_new_ones() {
        let gate = Arc::new(Semaphore::new(0));
        let (mailbox, actor) = doubling(OPTIONS, &gate);
        let first = asked(&mailbox, 1).await;
        tokio::task::yield_now().await;
        let second = asked(&mailbox, 2).await;
        actor.stop.cancel();
        gate.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap(), (2, 1));
        assert_eq!(second.await.unwrap().unwrap(), (4, 1));
        actor.stop().await;
        assert!(matches!(mailbox.ask(3).await, Err(ActorError::Stopped)));
    }
}
