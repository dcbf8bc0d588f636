//! The program `pp_storage`, as `make create-db` runs it.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as the tests do: a panic is the report"
)]

mod import;
mod store_schema;
mod upgrade;
