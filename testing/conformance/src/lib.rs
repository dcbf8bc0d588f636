//! The suites that every adapter of a port has to pass, one module per port, and a store that does what a script says.
//!
//! A dev-dependency: nothing of the product.

pub mod broker;
pub mod cache;
pub mod scripted;
pub mod store;
