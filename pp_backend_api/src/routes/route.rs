//! The pattern of a request's route, for metrics: known where the request is routed, told to the middleware around it.

use std::cell::Cell;
use std::rc::Rc;

use actix_web::HttpMessage as _;
use actix_web::dev::ServiceRequest;
use pp_lib::runtime::OTHER;

use super::Entry;

/// The pattern of a request's route. Clones share it.
#[derive(Clone)]
pub(crate) struct Route(Rc<Cell<&'static str>>);

impl Route {
    /// The route of a request that was not routed yet.
    pub(crate) fn of(request: &ServiceRequest) -> Self {
        let route = Self(Rc::new(Cell::new(OTHER)));
        request.extensions_mut().insert(route.clone());
        route
    }

    /// Notes that these are the entries of the request's path.
    pub(crate) fn found(request: &ServiceRequest, entries: &[&Entry]) {
        if let (Some(Self(route)), Some(entry)) = (request.extensions().get::<Self>(), entries.first()) {
            route.set(entry.paths[0]);
        }
    }

    /// The pattern, or `other`.
    pub(crate) fn pattern(&self) -> &'static str {
        self.0.get()
    }
}
