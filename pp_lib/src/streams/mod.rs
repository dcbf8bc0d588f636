//! Live streams of changes. One reader follows the feed for all subscribers of this process. Each subscriber gets every
//! change after its position once and in order. The API decides how a stream is sent.
//!
//! The reader pages the feed while there are subscribers, renders each change once and hands every page to all. A
//! subscriber first starts to listen, then pages from the database up to the reader's position at that time, and then
//! continues with the pages it heard. They begin exactly there, so no change is missed or repeated. A subscriber that
//! cannot keep up is ended. It returns with its position and continues from the database.

mod change;
pub(crate) mod metrics;
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

use crate::domain::{KindName, Position, Status, WorkCodePrefix, WorkId};
use crate::feed::AnyFeed;
use crate::store::AnyStore;
use page::Heard;
use stats::Sampler;

/// The number of subscribers that may page from the database at once, so that a mass return leaves it to other calls.
const PAGING: usize = 4;

/// The limits of the streams.
#[derive(Clone, Copy, Debug)]
pub struct StreamsOptions {
    /// The maximum number of subscribers. One more is refused.
    pub clients: usize,
    /// The longest wait of the reader for a poke.
    pub poll: Duration,
    /// The number of changes the reader takes at once.
    pub page: u16,
    /// The number of pages a subscriber may lag behind.
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

/// The reason why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// The maximum number is reached, of subscriptions or of kinds whose counters are watched. One may end at any moment.
    #[error("too many streams are open")]
    TooMany,
}

/// The changes a subscriber wants. All given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Changes of this work.
    pub work: Option<WorkId>,
    /// Changes of works whose code begins with this prefix.
    pub work_code: Option<WorkCodePrefix>,
    /// Changes of works of this kind.
    pub kind: Option<KindName>,
    /// Changes that left their work in this status.
    pub status: Option<Status>,
}

/// The streams of this process.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
    sampler: Arc<Sampler>,
}

impl Streams {
    /// Starts the readers on the current runtime. The shutdown ends all subscriptions.
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
            subscribed: Notify::new(),
            clients: Arc::new(Semaphore::new(options.clients)),
            paging: Arc::new(Semaphore::new(PAGING)),
        });
        tokio::spawn(reader::run(Arc::clone(&shared)));
        Self { shared, sampler }
    }

    /// A stream of all changes after a position, or from now on.
    pub fn subscribe(&self, filter: Filter, after: Option<Position>) -> Result<Subscription, StreamsError> {
        let place = self.place()?;
        Ok(Subscription::new(Arc::clone(&self.shared), filter, after, place))
    }

    /// A stream of the counters of all works, or of a kind: their current values, then every change, at most four times a
    /// second.
    pub fn watch_stats(&self, kind: Option<KindName>) -> Result<StatsSubscription, StreamsError> {
        let place = self.place()?;
        self.sampler.watch(kind, self.shared.shutdown.clone(), place)
    }

    /// Shows the number of clients as metrics.
    pub fn show(&self) {
        metrics::show(&self.shared.clients, self.shared.options.clients);
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, StreamsError> {
        let place = Arc::clone(&self.shared.clients).try_acquire_owned();
        place.map_err(|_| StreamsError::TooMany)
    }
}

/// The state shared by the reader and the subscribers.
struct Shared {
    store: AnyStore,
    feed: AnyFeed,
    options: StreamsOptions,
    shutdown: CancellationToken,
    /// The runtime for store calls, whichever runtime polls the subscribers.
    runtime: Handle,
    pages: broadcast::Sender<Heard>,
    /// The position where the next page begins; `None` while there are no subscribers.
    place: Mutex<Option<Position>>,
    subscribed: Notify,
    clients: Arc<Semaphore>,
    paging: Arc<Semaphore>,
}

impl Shared {
    fn place(&self) -> MutexGuard<'_, Option<Position>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands something to all subscribers and advances the position.
    fn tell(&self, heard: Heard, to: &Position) {
        let mut place = self.place();
        *place = Some(to.clone());
        // Sending fails only without subscribers.
        let _ = self.pages.send(heard);
    }

    /// Starts to listen. Answers the position where the pages begin, if it is known yet.
    fn listen(&self) -> (broadcast::Receiver<Heard>, Option<Position>) {
        let place = self.place();
        let listening = (self.pages.subscribe(), place.clone());
        self.subscribed.notify_one();
        listening
    }

    /// Waits for a subscriber. Answers the position to continue from.
    async fn wanted(&self) -> Option<Position> {
        loop {
            let called = self.subscribed.notified();
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
