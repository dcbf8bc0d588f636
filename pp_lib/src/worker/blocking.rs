//! Runs blocking or CPU-bound computations on a bounded number of their own threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::domain::{Computation, ComputeError, Computing, Json, Task};

/// A computation in plain, blocking code.
pub trait BlockingComputation: Send + Sync + 'static {
    /// Computes the task. Implementations should poll `cancelled`: a thread cannot be stopped from outside.
    fn compute(&self, task: &Task, cancelled: &Cancelled) -> Result<Json, ComputeError>;
}

/// A flag that is set once the result is no longer needed.
#[derive(Clone, Debug, Default)]
pub struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// True if the computation should stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a [`BlockingComputation`] with a bounded number of concurrent tasks; further tasks wait.
pub struct Blocking<C> {
    inner: Arc<C>,
    threads: Arc<Semaphore>,
}

impl<C: BlockingComputation> Blocking<C> {
    /// At most `threads` tasks run at once. The number of processors is a good value.
    pub fn new(inner: C, threads: usize) -> Self {
        Self {
            inner: Arc::new(inner),
            threads: Arc::new(Semaphore::new(threads.max(1))),
        }
    }
}

impl<C: BlockingComputation> Computation for Blocking<C> {
    fn compute(&self, task: &Task) -> Computing {
        /// Cancels the thread's task when the future is dropped.
        struct CancelOnDrop(Cancelled);
        impl Drop for CancelOnDrop {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }

        let (inner, threads, task) = (self.inner.clone(), self.threads.clone(), task.clone());
        Box::pin(async move {
            let turn = threads
                .acquire_owned()
                .await
                .map_err(|_| ComputeError::Transient("stopped".to_owned()))?;
            let cancel = CancelOnDrop(Cancelled::default());
            let cancelled = cancel.0.clone();
            let thread = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                inner.compute(&task, &cancelled)
            });
            match thread.await {
                Ok(result) => result,
                // The panic resumes in the waiting task, which contains it like any other.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;
    use crate::domain::{AddUpTo, Run};
    use crate::runtime::new_message_id;

    struct UntilCancelled(Arc<AtomicUsize>, std::sync::mpsc::SyncSender<()>);

    impl BlockingComputation for UntilCancelled {
        fn compute(&self, _: &Task, cancelled: &Cancelled) -> Result<Json, ComputeError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            while !cancelled.is_cancelled() {
                std::thread::yield_now();
            }
            let _ = self.1.send(());
            Ok(0.into())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn threads_are_bounded_and_cancellation_reaches_them() {
        let (started, (ended, wait)) = (Arc::new(AtomicUsize::new(0)), std::sync::mpsc::sync_channel(8));
        let blocking = Blocking::new(UntilCancelled(started.clone(), ended), 2);
        let task = Task {
            message_id: new_message_id(),
            run: Run::FIRST,
            args: AddUpTo::MIN.args(),
        };
        let running: Vec<_> = (0..5).map(|_| tokio::spawn(blocking.compute(&task))).collect();
        while started.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(started.load(Ordering::SeqCst), 2, "the others wait for a thread");
        running.iter().for_each(|task| task.abort());
        for _ in 0..2 {
            wait.recv_timeout(Duration::from_secs(10))
                .expect("a thread that is told to stop");
        }
    }
}
