//! The API over real HTTP on a free port: with SQLite, with real servers, and with a store that fails on demand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// Makes two tests of each case, one with SQLite and one with PostgreSQL.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod embedded {
            $(#[test] fn $case() { super::$case(&crate::embedded::server()); })*
        }
        mod on_servers {
            $(#[test] fn $case() { super::$case(&crate::on_servers::server()); })*
        }
    };
}

mod access;
mod budgets;
mod by_kind;
mod cancelling;
mod changes;
mod connections;
mod dashboard;
mod declared;
mod demands;
mod doors;
mod embedded;
mod faults;
mod histories;
mod hosts;
mod keys;
mod kinds;
mod large;
mod letters;
mod many;
mod memory;
mod on_servers;
mod openapi;
mod preconditions;
mod problems;
mod program;
mod proxies;
mod raw;
mod reads;
mod runs;
mod scheduled;
mod searches;
mod server;
mod stats;
mod streams;
mod tripped;
mod unique;
mod views;
mod worker;
mod worker_files;
mod works;
