//! The library behind every program of PP: the domain, the ports with their adapters, and the services on top of the
//! ports. It installs nothing that belongs to the process.
//!
//! The modules are listed in reading order. `serving`, `worker`, `maintenance` and `streams` do not import each other.

pub mod domain;

pub mod broker;
pub mod cache;
pub mod feed;
pub mod store;

pub mod runtime;

pub mod access;
pub mod claims;
pub mod enqueue;
pub mod kinds;
pub mod maintenance;
pub mod metrics;
#[cfg(feature = "push")]
pub mod push;
pub mod serving;
pub mod streams;
#[cfg(feature = "testing")]
pub mod testing;
pub mod worker;

/// The database library, for transactions that put works in; see [`enqueue::enqueue`].
pub use diesel;

/// TLS of the adapters; see [`tls::Trust`].
pub use pp_tls as tls;
