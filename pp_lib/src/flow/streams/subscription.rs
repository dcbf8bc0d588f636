//! One subscriber: from the database until it has caught up with what it hears, then as it hears it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

use super::page::{Heard, RenderedPage};
use super::{Filter, Shared};
use crate::domain::Position;
use crate::flow::patience::backoff;
use crate::store::Result;

/// How many changes one subscriber takes from the database at once.
const PAGE: u16 = 100;

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First of all: everything behind this place follows.
    Started(Position),
    /// A change, as it is sent.
    Change(Bytes),
    /// What was behind the place before is not known any more; what is behind this one follows.
    Reset(Position),
}

/// A stream of changes. It ends with the shutdown, or when its owner does not keep up.
pub struct Subscription {
    shared: Arc<Shared>,
    filter: Filter,
    heard: Receiver<Heard>,
    /// Behind everything up to here that was wanted and handed out.
    position: Option<Position>,
    started: bool,
    /// What is paged from the database ends here.
    goal: Option<Position>,
    paging: Option<AbortOnDropHandle<Paged>>,
    /// Whether what is heard waits for what is paged.
    catching_up: bool,
    /// Whether nothing was heard since.
    caught_up: bool,
    open: Option<(Arc<RenderedPage>, usize)>,
    /// Heard, to be opened when everything before it was paged.
    kept: Option<Arc<RenderedPage>>,
    _place: OwnedSemaphorePermit,
}

/// What the database has behind a place.
enum Paged {
    Page(RenderedPage),
    Reset(Position),
}

impl Subscription {
    pub(super) fn new(
        shared: Arc<Shared>,
        filter: Filter,
        after: Option<Position>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (heard, from) = shared.listen();
        Self {
            shared,
            filter,
            heard,
            position: after.or(from),
            started: false,
            goal: from,
            paging: None,
            // Also what was named and is up to date has to be looked at: perhaps it cannot be continued.
            catching_up: after.is_some(),
            caught_up: false,
            open: None,
            kept: None,
            _place: place,
        }
    }

    /// Where it stands: behind everything that was handed out, if it has begun.
    pub fn position(&self) -> Option<Position> {
        self.position.filter(|_| self.started)
    }

    /// What comes next; nothing when the stream has ended. May be given up and called again at any time.
    pub async fn next(&mut self) -> Option<Message> {
        let shutdown = self.shared.shutdown.clone();
        shutdown.run_until_cancelled(self.advance()).await.flatten()
    }

    async fn advance(&mut self) -> Option<Message> {
        loop {
            if let Some(bytes) = self.next_open() {
                return Some(Message::Change(bytes));
            }
            let message = if self.catching_up {
                self.page().await?
            } else if let (false, Some(position)) = (self.started, self.position) {
                Some(self.start(position))
            } else {
                self.hear().await?
            };
            if message.is_some() {
                return message;
            }
        }
    }

    /// The next change of the page at hand that is wanted and new.
    fn next_open(&mut self) -> Option<Bytes> {
        let (page, next) = self.open.as_mut()?;
        while let Some(change) = page.items.get(*next) {
            *next += 1;
            if Some(change.position) > self.position {
                self.position = Some(change.position);
                if self.filter.wants_rendered(change) {
                    return Some(change.bytes.clone());
                }
            }
        }
        self.position = self.position.max(Some(page.to));
        self.open = None;
        None
    }

    /// Takes a page from the database; afterwards, or once it has caught up, goes on with what it hears.
    async fn page(&mut self) -> Option<Option<Message>> {
        let Some(after) = self
            .position
            .filter(|position| !self.started || Some(*position) < self.goal)
        else {
            (self.catching_up, self.caught_up) = (false, true);
            if let Some(page) = self.kept.take() {
                self.open(page);
            }
            return Some(None);
        };
        let paging = self.paging.get_or_insert_with(|| {
            let (shared, filter) = (Arc::clone(&self.shared), self.filter.clone());
            let paging = page_from(shared, filter, after, self.goal);
            AbortOnDropHandle::new(self.shared.runtime.spawn(paging))
        });
        let paged = paging.await;
        self.paging = None;
        Some(match paged.ok()? {
            Paged::Page(page) => {
                self.open(Arc::new(page));
                (!self.started).then(|| self.start(after))
            }
            Paged::Reset(head) => Some(self.reset(head)),
        })
    }

    async fn hear(&mut self) -> Option<Option<Message>> {
        let heard = self.heard.recv().await;
        let caught_up = std::mem::take(&mut self.caught_up);
        match heard {
            Ok(Heard::Reset(head)) => return Some(Some(self.reset(head))),
            Ok(Heard::Page(page)) if self.position.is_some_and(|position| position < page.after) => {
                (self.catching_up, self.goal) = (true, Some(page.after));
                self.kept = Some(page);
            }
            Ok(Heard::Page(page)) => {
                self.position = self.position.or(Some(page.after));
                self.open(page);
            }
            // What passed by while it was paging is paged as well.
            Err(RecvError::Lagged(_)) if caught_up => {
                (self.heard, self.goal) = self.shared.listen();
                self.catching_up = true;
            }
            Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
        }
        Some(None)
    }

    fn open(&mut self, page: Arc<RenderedPage>) {
        let next = if page.may_have(&self.filter) {
            0
        } else {
            page.items.len()
        };
        self.open = Some((page, next));
    }

    fn start(&mut self, at: Position) -> Message {
        self.started = true;
        Message::Started(at)
    }

    fn reset(&mut self, head: Position) -> Message {
        let first = !self.started && self.position.is_none();
        (self.position, self.started, self.goal) = (Some(head), true, None);
        if first {
            Message::Started(head)
        } else {
            Message::Reset(head)
        }
    }
}

/// Reads what stands behind a place, however long the database takes.
async fn page_from(shared: Arc<Shared>, filter: Filter, after: Position, goal: Option<Position>) -> Paged {
    let mut delays = backoff();
    loop {
        match try_page(&shared, &filter, after).await {
            // A database that lost what another told of; the reader is about to find out.
            Ok(Paged::Page(page)) if page.to == after && Some(after) < goal => {}
            Ok(paged) => return paged,
            Err(error) => log::debug!("a stream waits for its page behind {after}: {error}"),
        }
        if let Some(delay) = delays.next() {
            tokio::time::sleep(delay).await;
        }
    }
}

async fn try_page(shared: &Shared, filter: &Filter, after: Position) -> Result<Paged> {
    let _turn = shared.paging.acquire().await;
    Ok(match shared.store.changes(after, PAGE).await? {
        Some(page) => Paged::Page(RenderedPage::of(after, page, filter)),
        None => Paged::Reset(shared.store.head().await?),
    })
}
