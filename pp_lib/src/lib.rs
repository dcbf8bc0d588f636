//! PP's domain, ports, adapters and flows; every program of PP is a thin shell around this library.
//!
//! The modules in reading order: what PP is about, the ports it needs with their adapters, and what runs on them.

pub mod domain;
pub mod wire;

pub mod broker;
pub mod cache;
pub mod feed;
pub mod runtime;
pub mod store;

pub mod actor;
pub mod flow;
