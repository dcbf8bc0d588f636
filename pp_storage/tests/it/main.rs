//! The program `pp_storage`, as `make create-db` runs it.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as the tests do: a panic is the report"
)]

mod apps;
mod import;
mod stats_by_kind;
mod store_schema;
mod upgrade;
