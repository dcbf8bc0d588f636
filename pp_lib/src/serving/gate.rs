//! A gate bounds the requests of one kind: it admits at most `places` and runs at most `lanes` of them at once. Further
//! requests are refused immediately. Each request runs in its own task.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::log_repeated;
use crate::serving::ActorError;

/// Admits requests of one kind.
#[derive(Debug)]
pub(super) struct Gate {
    /// For log lines.
    name: &'static str,
    places: Arc<Semaphore>,
    lanes: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Gate {
    /// A gate that admits `places` requests and runs `lanes` of them at once, until `tasks` are closed.
    pub(super) fn new(name: &'static str, places: usize, lanes: usize, tasks: &TaskTracker) -> Self {
        Self {
            name,
            places: Arc::new(Semaphore::new(places.max(1))),
            lanes: Arc::new(Semaphore::new(lanes.clamp(1, Semaphore::MAX_PERMITS))),
            tasks: tasks.clone(),
        }
    }

    /// Runs a request on the caller's runtime. It runs to its end even if the caller stops waiting. A panic becomes
    /// [`ActorError::Failed`] for this caller alone.
    pub(super) async fn run<A, F>(&self, request: F) -> Result<A, ActorError>
    where
        A: Send + 'static,
        F: Future<Output = Result<A, ActorError>> + Send + 'static,
    {
        if self.tasks.is_closed() {
            return Err(ActorError::Stopped);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| ActorError::Overloaded)?;
        let lanes = Arc::clone(&self.lanes);
        let running = self.tasks.spawn(async move {
            let _place = place;
            let _lane = lanes.acquire_owned().await;
            request.await
        });
        running.await.unwrap_or_else(|broken| {
            log_repeated!(Error, self.name, "{broken}");
            Err(ActorError::Failed)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    fn gate(most: usize) -> (Arc<Gate>, TaskTracker) {
        let tasks = TaskTracker::new();
        (Arc::new(Gate::new("test", most, most, &tasks)), tasks)
    }

    /// A request under way that ends with the sent number.
    async fn begun(gate: &Arc<Gate>) -> (oneshot::Sender<u8>, tokio::task::JoinHandle<Result<u8, ActorError>>) {
        let (end, ended) = oneshot::channel();
        let gate = Arc::clone(gate);
        let request = async move { ended.await.map_err(|_| ActorError::Failed) };
        let caller = tokio::spawn(async move { gate.run(request).await });
        tokio::task::yield_now().await;
        (end, caller)
    }

    #[tokio::test]
    async fn a_full_gate_refuses_requests() {
        let (gate, _tasks) = gate(2);
        let (end, first) = begun(&gate).await;
        let (_end, _second) = begun(&gate).await;
        assert!(matches!(gate.run(ready(Ok(3))).await, Err(ActorError::Overloaded)));
        end.send(1).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(gate.run(ready(Ok(3))).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn an_admitted_request_waits_for_a_lane() {
        let tasks = TaskTracker::new();
        let gate = Arc::new(Gate::new("test", 2, 1, &tasks));
        let (end, first) = begun(&gate).await;
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.run(ready(Ok(2))).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        end.send(1).unwrap();
        assert_eq!((first.await.unwrap().unwrap(), waiting.await.unwrap().unwrap()), (1, 2));
    }

    #[tokio::test]
    async fn a_request_continues_without_its_caller() {
        let (gate, tasks) = gate(1);
        let (end, caller) = begun(&gate).await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert!(matches!(gate.run(ready(Ok(2))).await, Err(ActorError::Overloaded)));
        tasks.close();
        end.send(1).unwrap();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_caller_only() {
        let (gate, _tasks) = gate(1);
        let broken: Result<u8, _> = gate.run(async { panic!("told") }).await;
        assert!(matches!(broken, Err(ActorError::Failed)));
        assert_eq!(gate.run(ready(Ok(2))).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_closed_gate_refuses_requests() {
        let (gate, tasks) = gate(1);
        tasks.close();
        let refused = gate.run(pending::<Result<u8, ActorError>>()).await;
        assert!(matches!(refused, Err(ActorError::Stopped)));
    }
}
