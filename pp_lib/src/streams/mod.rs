//! Live streams of changes: one reader of the feed for all subscribers of this process, each of whom gets every change
//! behind the place it names once and in order. How a stream is sent is not decided here, only what is in it.
//!
//! The reader pages the feed while somebody listens, renders each change once and hands every page to all. A subscriber
//! listens first, then pages from the database up to the place where the reader was, then goes on with the pages that begin
//! there: nothing lies between the two, and no page overlaps what it has. One who cannot keep up is ended; it comes again
//! with the place where it was and goes on from the database.

mod change;
mod page;
mod reader;
pub mod sse;
mod stats;
mod subscription;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

pub use change::StreamedChange;
pub use stats::StatsSubscription;
pub use subscription::{Message, Subscription};

use crate::domain::{Position, Status, WorkCodePrefix, WorkId};
use crate::feed::AnyFeed;
use crate::store::AnyStore;
use page::Heard;
use stats::Sampler;

/// How many subscribers may page from the database at once, so that those who come back all together leave it to others.
const PAGING: usize = 4;

/// How much the streams take on.
#[derive(Clone, Copy, Debug)]
pub struct StreamsOptions {
    /// How many subscribers there may be; one more is refused.
    pub clients: usize,
    /// How long the reader waits for a poke.
    pub poll: Duration,
    /// How many changes the reader takes at once.
    pub page: u16,
    /// How many pages a subscriber may be behind.
    pub behind: usize,
}

impl Default for StreamsOptions {
    fn default() -> Self {
        Self {
            clients: 10_000,
            poll: Duration::from_millis(250),
            page: 500,
            behind: 256,
        }
    }
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// There are as many as there may be; one may end at any moment.
    #[error("too many streams are open already")]
    TooMany,
}

/// Which changes a subscriber wants: those that are all of this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this work.
    pub work: Option<WorkId>,
    /// Of works whose code begins like this.
    pub work_code: Option<WorkCodePrefix>,
    /// That left their work in this status.
    pub status: Option<Status>,
}

/// The streams of this process.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
    sampler: Arc<Sampler>,
}

impl Streams {
    /// Starts what reads on the runtime this is called from. With the shutdown all subscriptions end.
    pub fn start(store: AnyStore, feed: AnyFeed, options: StreamsOptions, shutdown: CancellationToken) -> Self {
        let sampler = Sampler::start(store.clone(), feed.clone(), shutdown.clone());
        let shared = Arc::new(Shared {
            store,
            feed,
            options,
            shutdown,
            runtime: Handle::current(),
            pages: broadcast::Sender::new(options.behind),
            place: Mutex::new(None),
            somebody: Notify::new(),
            clients: Arc::new(Semaphore::new(options.clients)),
            paging: Arc::new(Semaphore::new(PAGING)),
        });
        tokio::spawn(reader::run(Arc::clone(&shared)));
        Self { shared, sampler }
    }

    /// A stream of what happens behind a place, or from now on.
    ///
    /// # Errors
    /// When there are too many already.
    pub fn subscribe(&self, filter: Filter, after: Option<Position>) -> Result<Subscription, StreamsError> {
        let place = self.place()?;
        Ok(Subscription::new(Arc::clone(&self.shared), filter, after, place))
    }

    /// A stream of the counters: as they are, and then as often as they changed, four times a second at most.
    ///
    /// # Errors
    /// When there are too many already, of either kind.
    pub fn watch_stats(&self) -> Result<StatsSubscription, StreamsError> {
        let place = self.place()?;
        Ok(self.sampler.watch(self.shared.shutdown.clone(), place))
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, StreamsError> {
        let place = Arc::clone(&self.shared.clients).try_acquire_owned();
        place.map_err(|_| StreamsError::TooMany)
    }
}

/// What the reader and the subscribers have in common.
struct Shared {
    store: AnyStore,
    feed: AnyFeed,
    options: StreamsOptions,
    shutdown: CancellationToken,
    /// Where the store is asked, wherever the subscribers are polled.
    runtime: Handle,
    pages: broadcast::Sender<Heard>,
    /// Behind which place the next page begins; nowhere while nobody listens.
    place: Mutex<Option<Position>>,
    somebody: Notify,
    clients: Arc<Semaphore>,
    paging: Arc<Semaphore>,
}

impl Shared {
    fn place(&self) -> MutexGuard<'_, Option<Position>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands something to all, and moves on.
    fn tell(&self, heard: Heard, to: &Position) {
        let mut place = self.place();
        *place = Some(to.clone());
        // Without a receiver nobody misses it.
        let _ = self.pages.send(heard);
    }

    /// Listens from now on: behind which place, if that is known yet.
    fn listen(&self) -> (broadcast::Receiver<Heard>, Option<Position>) {
        let place = self.place();
        let listening = (self.pages.subscribe(), place.clone());
        self.somebody.notify_one();
        listening
    }

    /// Where to read on, as soon as somebody listens.
    async fn wanted(&self) -> Option<Position> {
        loop {
            let called = self.somebody.notified();
            {
                let mut place = self.place();
                if self.pages.receiver_count() > 0 {
                    return place.clone();
                }
                *place = None;
            }
            called.await;
        }
    }
}
