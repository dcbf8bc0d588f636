//! Parameters of a query: each at most once, unknown ones refused, errors that name them.

use actix_web::{HttpRequest, web};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// How many rows a page has where nothing else is asked for.
const DEFAULT_LIMIT: u16 = 50;
/// How many rows a page has at most.
const MOST: u16 = 1000;

/// The parameters of a request.
pub(crate) fn parse<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, ApiError> {
    match web::Query::<T>::from_query(request.query_string()) {
        Ok(params) => Ok(params.into_inner()),
        Err(error) => Err(ApiError::bad_request(shortened(&error.to_string()))),
    }
}

/// A whole number.
pub(crate) fn number(name: &str, text: &str) -> Result<i64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("{name} must be a whole number")))
}

/// The length of a page.
pub(crate) fn limit(text: Option<&str>) -> Result<u16, ApiError> {
    let Some(text) = text else {
        return Ok(DEFAULT_LIMIT);
    };
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| ApiError::bad_request(format!("limit must be a whole number from 1 to {MOST}")))
}

/// What the parser says, which may repeat what it was given.
fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(200)].to_owned()
}
