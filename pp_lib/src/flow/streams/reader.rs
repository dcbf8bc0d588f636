//! The one reader of the feed: pages for all subscribers, and nothing while there are none.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::page::{Heard, RenderedPage};
use crate::domain::Position;
use crate::feed::Waiter;
use crate::flow::Patience;
use crate::store::Result;

/// How long changes are left to gather after a page, so that many small ones do not become as many pages.
const GATHER: Duration = Duration::from_millis(5);
/// How soon to look again while an open transaction holds the feed back; longer and longer, up to the poll.
const HELD: Duration = Duration::from_millis(2);
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
            log::error!("the reader of the streams panicked and goes on in {AFTER_PANIC:?}");
            sleep(AFTER_PANIC).await;
        }
    };
    shutdown.run_until_cancelled(reading).await;
}

struct Reader {
    shared: Arc<Shared>,
    waiter: Waiter,
    held: Duration,
}

/// What a look at the feed came to.
enum Looked {
    /// There may be more at once.
    More,
    /// This was all for now.
    All,
    /// An open transaction holds back what may be there.
    Held,
    /// Nothing new.
    Nothing,
}

impl Reader {
    fn new(shared: Arc<Shared>) -> Self {
        let waiter = shared.feed.watch();
        let held = HELD;
        Self { shared, waiter, held }
    }

    async fn read(&mut self) {
        let mut patience = Patience::new("the reader of the streams");
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
    async fn look(&self, place: Option<Position>) -> Result<Looked> {
        let store = &self.shared.store;
        let Some(after) = place else {
            let head = store.head().await?;
            let beginning = RenderedPage::beginning(head);
            self.shared.tell(Heard::Page(Arc::new(beginning)), head);
            return Ok(Looked::More);
        };
        let Some(page) = store.changes(after, self.shared.options.page).await? else {
            let head = store.head().await?;
            log::warn!("the feed cannot be continued from {after}, all streams begin anew at {head}");
            self.shared.tell(Heard::Reset(head), head);
            return Ok(Looked::More);
        };
        let looked = match (page.items.len(), page.complete) {
            (0, true) => Looked::Nothing,
            (0, false) => Looked::Held,
            (count, _) if count == usize::from(self.shared.options.page) => Looked::More,
            _ => Looked::All,
        };
        let to = page.position;
        if to != after {
            let page = RenderedPage::all(after, page);
            self.shared.tell(Heard::Page(Arc::new(page)), to);
        }
        Ok(looked)
    }

    async fn pause(&mut self, looked: Looked) {
        let held = std::mem::replace(&mut self.held, HELD);
        match looked {
            Looked::More => {}
            Looked::All => sleep(GATHER).await,
            Looked::Held => {
                sleep(held).await;
                self.held = (held * 2).min(self.shared.options.poll);
            }
            Looked::Nothing => {
                let _ = timeout(self.shared.options.poll, self.waiter.changed()).await;
            }
        }
    }
}
