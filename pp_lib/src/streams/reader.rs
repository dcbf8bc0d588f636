//! The one reader of the feed: pages for all subscribers, and nothing while there are none.

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

/// How long changes are left to gather after a page, so that many small ones do not become as many pages.
const GATHER: Duration = Duration::from_millis(5);
/// How long a place is kept while nothing happens. Subscribers then move on to a newer one, since old ones end up below
/// what is purged.
const MOVE_ON: Duration = Duration::from_secs(10);
/// How long the reader stays down after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Reads until the shutdown. After a panic it goes on from where it was.
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
                "it goes on in {AFTER_PANIC:?}"
            );
            sleep(AFTER_PANIC).await;
        }
    };
    shutdown.run_until_cancelled(reading).await;
}

struct Reader {
    shared: Arc<Shared>,
    waiter: Waiter,
    /// When subscribers got to their place.
    moved: Instant,
    /// Their place, and a newer one with nothing between the two, to read on from.
    quiet: Option<(Position, Position)>,
}

/// What a look at the feed came to.
enum Looked {
    /// There is more.
    More,
    /// This was all for now.
    All,
    /// Nothing new.
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
        let mut patience = Retry::new("the reader of the streams");
        loop {
            let place = self.shared.wanted().await;
            match self.look(place).await {
                Ok(looked) => {
                    patience.recovered();
                    self.pause(looked).await;
                }
                Err(error) => {
                    if !patience.wait(&error, &self.shared.shutdown).await {
                        return;
                    }
                }
            }
        }
    }

    /// Tells all what stands behind a place.
    async fn look(&mut self, place: Option<Position>) -> Result<Looked> {
        let store = &self.shared.store;
        let Some(after) = place else {
            let head = store.head().await?;
            let beginning = RenderedPage::beginning(head.clone());
            self.tell(Heard::Page(Arc::new(beginning)), &head);
            return Ok(Looked::More);
        };
        let quiet = self.quiet.take().filter(|(place, _)| *place == after);
        let from = quiet.map_or_else(|| after.clone(), |(_, newer)| newer);
        let Some(page) = store.changes(&from, self.shared.options.page).await? else {
            let head = store.head().await?;
            log::warn!("the feed cannot be continued from {from}, all streams begin anew at {head}");
            self.tell(Heard::Reset(head.clone()), &head);
            return Ok(Looked::More);
        };
        if page.complete && page.items.is_empty() && self.moved.elapsed() < MOVE_ON {
            self.quiet = Some((after, page.position));
            return Ok(Looked::Nothing);
        }
        let looked = match (page.complete, page.items.is_empty()) {
            (false, _) => Looked::More,
            (true, false) => Looked::All,
            (true, true) => Looked::Nothing,
        };
        let to = page.position.clone();
        self.tell(Heard::Page(Arc::new(RenderedPage::all(after, page))), &to);
        Ok(looked)
    }

    fn tell(&mut self, heard: Heard, to: &Position) {
        self.shared.tell(heard, to);
        self.moved = Instant::now();
    }

    async fn pause(&mut self, looked: Looked) {
        match looked {
            Looked::More => {}
            Looked::All => sleep(GATHER).await,
            Looked::Nothing => {
                let _ = timeout(self.shared.options.poll, self.waiter.changed()).await;
            }
        }
    }
}
