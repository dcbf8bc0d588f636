//! The adapters of pp_lib against their ports' suites.

mod feed;
mod postgres;
mod store;
