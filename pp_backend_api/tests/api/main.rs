//! The API over real HTTP on a free port: embedded on SQLite, on real servers, and over a store that fails on demand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client;
mod embedded;
mod faults;
mod faulty;
mod on_servers;
mod problems;
mod raw;
mod reads;
mod searches;
mod server;
mod works;
