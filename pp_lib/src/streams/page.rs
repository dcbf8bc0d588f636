//! Pages of changes for subscribers. Each change is rendered once into the bytes that are sent.

use std::sync::Arc;

use bytes::Bytes;

use super::Filter;
use crate::domain::{KindName, Position, Status, WorkCode, WorkId};
use crate::store::{Change, Page};
use crate::streams::{StreamedChange, sse};

/// A message to the listeners.
#[derive(Clone)]
pub(super) enum Heard {
    /// The page that follows the last one.
    Page(Arc<RenderedPage>),
    /// The feed cannot be continued and restarts at this position.
    Reset(Position),
}

/// The changes between two positions.
pub(super) struct RenderedPage {
    pub(super) after: Position,
    pub(super) to: Position,
    pub(super) items: Vec<Rendered>,
    /// The works of the page in order. Most pages have no change for a subscriber of a single work.
    works: Vec<WorkId>,
}

/// A rendered change and the fields for filters.
pub(super) struct Rendered {
    /// The position after it.
    pub(super) position: Position,
    pub(super) bytes: Bytes,
    work_id: WorkId,
    work_code: WorkCode,
    kind: KindName,
    status: Option<Status>,
}

impl RenderedPage {
    /// A page without changes at the beginning.
    pub(super) fn beginning(at: Position) -> Self {
        Self {
            after: at.clone(),
            to: at,
            items: Vec::new(),
            works: Vec::new(),
        }
    }

    /// The page with all changes after a position.
    pub(super) fn all(after: Position, page: Page<Change>) -> Self {
        Self::of(after, page, &Filter::default())
    }

    /// The page with the changes that match a filter.
    pub(super) fn of(after: Position, page: Page<Change>, filter: &Filter) -> Self {
        let wanted = page.items.into_iter().filter(|change| filter.wants(change));
        let items: Vec<Rendered> = wanted.map(Rendered::from).collect();
        let mut works: Vec<WorkId> = items.iter().map(|item| item.work_id).collect();
        works.sort_unstable();
        works.dedup();
        Self {
            after,
            to: page.position,
            items,
            works,
        }
    }

    /// False if the page certainly has no change for this filter.
    pub(super) fn may_have(&self, filter: &Filter) -> bool {
        filter.work.is_none_or(|id| self.works.binary_search(&id).is_ok())
    }
}

impl From<Change> for Rendered {
    fn from(change: Change) -> Self {
        let Change {
            position,
            work_id,
            kind,
            status,
            event,
        } = change;
        let work_code = event.work_code.clone();
        let streamed = StreamedChange {
            id: event.id,
            work_id,
            work_code: event.work_code,
            variable: event.variable,
            value: event.value,
            status,
            created_on: event.created_on,
            kind: kind.clone(),
        };
        Self {
            bytes: sse::event(None, Some(&position), &streamed),
            position,
            work_id,
            work_code,
            kind,
            status,
        }
    }
}

impl Filter {
    fn wants(&self, change: &Change) -> bool {
        self.allows(change.work_id, &change.event.work_code, &change.kind, change.status)
    }

    /// True if the filter matches this change.
    pub(super) fn wants_rendered(&self, change: &Rendered) -> bool {
        self.allows(change.work_id, &change.work_code, &change.kind, change.status)
    }

    fn allows(&self, work: WorkId, code: &WorkCode, kind: &KindName, status: Option<Status>) -> bool {
        self.work.is_none_or(|wanted| wanted == work)
            && self.kind.as_ref().is_none_or(|wanted| wanted == kind)
            && self.status.is_none_or(|wanted| Some(wanted) == status)
            && self
                .work_code
                .as_ref()
                .is_none_or(|wanted| code.as_str().starts_with(wanted.as_str()))
    }
}
