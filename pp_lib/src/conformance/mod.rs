//! What every adapter of a port does, as suites: one a port, run against each adapter.

pub mod store;
