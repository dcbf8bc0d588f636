//! The health pages of every service: mounted into the API's own server, served alone by services without one.
//!
//! The parts of HTTP that every page needs are here too: the server and its connections, which hosts are served, the
//! body of an error, HEAD beside GET, 405 with `Allow`.

mod bind;
mod budget;
mod connection;
mod hosts;
mod http;
mod pages;
mod serve;
mod server;
mod socket;

pub use bind::ProbeBind;
pub use budget::{Budget, Share};
pub use connection::Client;
pub use hosts::{HostName, Hosts, known_host};
pub use http::{NoQuery, UnknownParameter, get, not_found, others, problem};
pub use pages::configure;
pub use serve::serve;
pub use server::{ServerOptions, serve_app};
