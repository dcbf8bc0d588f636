//! The single reader of the feed. It makes pages for all subscribers and rests while there are none.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::page::{Heard, RenderedPage};
use crate::domain::Position;
use crate::feed::Waiter;
use crate::log_repeated;
use crate::runtime::Retry;
use crate::store::Result;

/// The pause after a page in which changes gather, so that many small changes share a page.
const GATHER: Duration = Duration::from_millis(5);
/// The time a position is kept while nothing happens. Subscribers then move to a newer position, because old ones fall
/// below the purged events.
const MOVE_ON: Duration = Duration::from_secs(10);
/// The pause after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Reads until the shutdown. After a panic it continues from its position.
pub(super) async fn run(shared: Arc<Shared>) {
    let shutdown = shared.shutdown.clone();
    let reading = async {
        loop {
            let mut reader = Reader::new(Arc::clone(&shared));
            if AssertUnwindSafe(reader.read()).catch_unwind().await.is_ok() {
                return;
            }
            log_repeated!(
                Error,
                "the reader of the streams panicked",
                "it continues in {AFTER_PANIC:?}"
            );
            sleep(AFTER_PANIC).await;
        }
    };
    shutdown.run_until_cancelled(reading).await;
}

struct Reader {
    shared: Arc<Shared>,
    waiter: Waiter,
    /// The time at which subscribers got to their position.
    moved: Instant,
    /// The subscribers' position, and a newer one without changes in between, to continue from.
    quiet: Option<(Position, Position)>,
}

/// The result of a poll of the feed.
enum Progress {
    /// There are more changes.
    More,
    /// These were all changes for now.
    All,
    /// There are no new changes.
    Nothing,
}

impl Reader {
    fn new(shared: Arc<Shared>) -> Self {
        let waiter = shared.feed.watch();
        Self {
            shared,
            waiter,
            moved: Instant::now(),
            quiet: None,
        }
    }

    async fn read(&mut self) {
        let mut retry = Retry::new("the reader of the streams");
        loop {
            let place = self.shared.wanted().await;
            match self.poll(place).await {
                Ok(progress) => {
                    retry.recovered();
                    self.pause(progress).await;
                }
                Err(error) => {
                    if !retry.wait(&error, &self.shared.shutdown).await {
                        return;
                    }
                }
            }
        }
    }

    /// Hands the changes after a position to all subscribers.
    async fn poll(&mut self, place: Option<Position>) -> Result<Progress> {
        let store = &self.shared.store;
        let Some(after) = place else {
            let head = store.head().await?;
            let beginning = RenderedPage::beginning(head.clone());
            self.tell(Heard::Page(Arc::new(beginning)), &head);
            return Ok(Progress::More);
        };
        let quiet = self.quiet.take().filter(|(place, _)| *place == after);
        let from = quiet.map_or_else(|| after.clone(), |(_, newer)| newer);
        let Some(page) = store.changes(&from, self.shared.options.page).await? else {
            let head = store.head().await?;
            log::warn!("the feed cannot be continued from {from}, all streams restart at {head}");
            self.tell(Heard::Reset(head.clone()), &head);
            return Ok(Progress::More);
        };
        if page.complete && page.items.is_empty() && self.moved.elapsed() < MOVE_ON {
            self.quiet = Some((after, page.position));
            return Ok(Progress::Nothing);
        }
        let progress = match (page.complete, page.items.is_empty()) {
            (false, _) => Progress::More,
            (true, false) => Progress::All,
            (true, true) => Progress::Nothing,
        };
        let to = page.position.clone();
        self.tell(Heard::Page(Arc::new(RenderedPage::all(after, page))), &to);
        Ok(progress)
    }

    fn tell(&mut self, heard: Heard, to: &Position) {
        self.shared.tell(heard, to);
        self.moved = Instant::now();
    }

    async fn pause(&mut self, progress: Progress) {
        match progress {
            Progress::More => {}
            Progress::All => sleep(GATHER).await,
            Progress::Nothing => {
                let _ = timeout(self.shared.options.poll, self.waiter.changed()).await;
            }
        }
    }
}
