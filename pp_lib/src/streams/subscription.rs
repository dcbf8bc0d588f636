//! A subscriber. It pages from the database until it has caught up with the pages it hears, then follows those.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

use super::page::{Heard, RenderedPage};
use super::{Filter, Shared};
use crate::domain::Position;
use crate::runtime::backoff;
use crate::store::Result;

/// The number of changes a subscriber takes from the database at once.
const PAGE: u16 = 100;

/// An item of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first item: all changes after this position follow.
    Started(Position),
    /// A change in the form it is sent.
    Change(Bytes),
    /// Changes after the last position are no longer available. Those after this one follow.
    Reset(Position),
}

/// A stream of changes. It ends with the shutdown, or when its owner does not keep up.
pub struct Subscription {
    shared: Arc<Shared>,
    filter: Filter,
    heard: Receiver<Heard>,
    /// The position after everything handed out, except for changes of the open page.
    position: Option<Position>,
    started: bool,
    /// The position where paging from the database ends.
    goal: Option<Position>,
    paging: Option<AbortOnDropHandle<Paged>>,
    /// True while heard pages wait for the database.
    catching_up: bool,
    /// True if no page was heard since.
    caught_up: bool,
    /// The current page, and the number of its changes handed out.
    open: Option<(Arc<RenderedPage>, usize)>,
    _place: OwnedSemaphorePermit,
}

/// The changes in the database after a position.
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
            // Even a current position must be checked, because the feed may not continue from it.
            catching_up: after.is_some(),
            position: after.or_else(|| from.clone()),
            started: false,
            goal: from,
            paging: None,
            caught_up: false,
            open: None,
            _place: place,
        }
    }

    /// The position after everything handed out, once the stream has begun.
    pub fn position(&self) -> Option<&Position> {
        let of_page = self
            .open
            .as_ref()
            .and_then(|(page, next)| page.items.get(next.checked_sub(1)?));
        let position = of_page.map(|change| &change.position).or(self.position.as_ref());
        position.filter(|_| self.started)
    }

    /// The next item, or `None` when the stream has ended. The call may be cancelled and repeated.
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
            } else if let (false, Some(position)) = (self.started, &self.position) {
                let position = position.clone();
                Some(self.start(position))
            } else {
                self.hear().await?
            };
            if message.is_some() {
                return message;
            }
        }
    }

    /// The next matching change of the current page.
    fn next_open(&mut self) -> Option<Bytes> {
        let (page, next) = self.open.as_mut()?;
        while let Some(change) = page.items.get(*next) {
            *next += 1;
            if self.filter.wants_rendered(change) {
                return Some(change.bytes.clone());
            }
        }
        self.position = Some(page.to.clone());
        self.open = None;
        None
    }

    /// Takes a page from the database. At its goal it continues with heard pages.
    async fn page(&mut self) -> Option<Option<Message>> {
        let arrived = |after: &Position| self.goal.as_ref().is_none_or(|goal| after.includes(goal));
        let Some(after) = (self.position.clone()).filter(|after| !self.started || !arrived(after)) else {
            (self.catching_up, self.caught_up) = (false, true);
            return Some(None);
        };
        let paging = self.paging.get_or_insert_with(|| {
            let (shared, filter) = (Arc::clone(&self.shared), self.filter.clone());
            let from = (self.goal.as_ref()).map_or_else(|| after.clone(), |goal| after.towards(goal));
            AbortOnDropHandle::new(self.shared.runtime.spawn(page_from(shared, filter, from)))
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
            Ok(Heard::Page(page)) => match &self.position {
                None => {
                    self.position = Some(page.after.clone());
                    self.open(page);
                }
                Some(position) if *position == page.after => self.open(page),
                Some(position) if position.includes(&page.to) => {}
                // The position is from another process, or within a page. Paging leads to the end of this page.
                Some(_) => (self.catching_up, self.goal) = (true, Some(page.to.clone())),
            },
            // Pages missed during paging are paged too.
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
        (self.position, self.started, self.goal) = (Some(head.clone()), true, None);
        if first {
            Message::Started(head)
        } else {
            Message::Reset(head)
        }
    }
}

/// Reads the changes after a position, and retries while the database is away.
async fn page_from(shared: Arc<Shared>, filter: Filter, after: Position) -> Paged {
    let mut delays = backoff();
    loop {
        match try_page(&shared, &filter, &after).await {
            Ok(paged) => return paged,
            Err(error) => log::debug!("a stream waits for its page behind {after}: {error}"),
        }
        if let Some(delay) = delays.next() {
            tokio::time::sleep(delay).await;
        }
    }
}

async fn try_page(shared: &Shared, filter: &Filter, after: &Position) -> Result<Paged> {
    let _turn = shared.paging.acquire().await;
    Ok(match shared.store.changes(after, PAGE).await? {
        Some(page) => Paged::Page(RenderedPage::of(after.clone(), page, filter)),
        None => Paged::Reset(shared.store.head().await?),
    })
}
