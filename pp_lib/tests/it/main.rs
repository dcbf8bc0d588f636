//! The adapters against their conformance suites. Tests that need a server are in modules called `on_servers`.

mod broker;
mod foreign;
mod proxy;
mod rabbitmq;
