//! The health pages of every service: mounted into the API's own server, served alone by services without one.
//!
//! The parts of HTTP that every page needs are here too: the body of an error, HEAD beside GET, 405 with `Allow`.

mod bind;
mod http;
mod pages;
mod serve;

pub use bind::ProbeBind;
pub use http::{get, not_found, others, problem};
pub use pages::configure;
pub use serve::serve;
