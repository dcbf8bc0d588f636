//! Integration tests of pp_lib: the ports' suites on every adapter, and the flows. Tests that need a server are in
//! modules called `on_servers`.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as the tests do: a panic is the report"
)]

mod broker;
mod busy;
mod cache;
mod clocks;
mod crowd;
mod delivery;
mod end_to_end;
mod feed;
mod foreign;
mod garbled;
mod idempotency;
mod lost_replies;
mod pooler;
mod postgres;
mod rabbitmq;
mod reading;
mod redis;
mod redrive;
mod refusal;
mod retention;
mod searching;
mod snapshots;
mod store;
mod store_actor;
mod streams;
mod two_caches;
mod unreadable;
mod views;
