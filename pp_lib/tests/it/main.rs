//! The adapters of pp_lib against their ports' suites. Tests that need a server are in modules called `on_servers`.

mod broker;
mod feed;
mod foreign;
mod postgres;
mod proxy;
mod rabbitmq;
mod store;
