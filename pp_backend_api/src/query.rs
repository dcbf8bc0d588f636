//! Parses query parameters. Each may occur once, unknown ones are refused, and errors name them.

use actix_web::{HttpRequest, web};
use pp_lib::domain::KindName;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, shortened};

/// The maximum number of items on a page.
pub(crate) const MAX_PAGE: u16 = 1000;

pub(crate) fn parse<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, ApiError> {
    match web::Query::<T>::from_query(request.query_string()) {
        Ok(params) => Ok(params.into_inner()),
        Err(error) => Err(ApiError::bad_request(shortened(&error))),
    }
}

pub(crate) fn number(name: &str, text: &str) -> Result<i64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("{name} must be a whole number")))
}

/// The name of a kind.
pub(crate) fn kind(text: &str) -> Result<KindName, ApiError> {
    text.parse()
        .map_err(|error| ApiError::bad_request(format!("kind must be the name of a kind: {error}")))
}

/// The length of a page; `usual` is the default.
pub(crate) fn limit(text: Option<&str>, usual: u16) -> Result<u16, ApiError> {
    let Some(text) = text else {
        return Ok(usual);
    };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| ApiError::bad_request(format!("limit must be a whole number from 1 to {MAX_PAGE}")))
}
