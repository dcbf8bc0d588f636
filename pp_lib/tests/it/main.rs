//! The adapters of pp_lib against their ports' suites.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod feed;
mod postgres;
mod store;
