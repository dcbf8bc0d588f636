//! Integration tests of pp_lib: the ports' suites on every adapter, and their work together. Tests that need a server are in
//! modules called `on_servers`.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as the tests do: a panic is the report"
)]

/// Expands to a test of each case over both stores.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _folder) = crate::store::embedded::fresh().await;
                super::$case(store).await;
            })*
        }
        mod on_servers {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _database) = crate::store::on_servers::fresh().await;
                super::$case(store).await;
            })*
        }
    };
}

mod broker;
mod busy;
mod cache;
mod clocks;
mod crowd;
mod dead_letter_queues;
mod delivery;
mod end_to_end;
mod enqueue;
mod feed;
mod foreign;
mod garbled;
mod handlers;
mod idempotency;
mod jobs;
mod kinds;
mod large;
mod lost_replies;
mod pooler;
mod postgres;
mod pulled;
mod rabbitmq;
mod reading;
mod redis;
mod redrive;
mod refusal;
mod registry;
mod retention;
mod rows;
mod searching;
mod snapshots;
mod store;
mod store_actor;
mod streams;
mod two_caches;
mod unreadable;
mod views;
