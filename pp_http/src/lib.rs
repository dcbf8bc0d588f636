//! The health pages and the metrics of every service, and the parts of HTTP that all pages share.
//!
//! The API mounts the pages into its own server. [`serve`] gives them a listener of their own. Shared are
//! the server and its connections, the check of hosts, the body of an error, HEAD beside GET and 405 with `Allow`.

mod bind;
mod budget;
mod connection;
mod hosts;
mod http;
mod metrics;
mod origins;
mod pages;
mod peers;
mod renewal;
mod serve;
mod server;
mod socket;
mod wire;

pub use bind::{ProbeBind, ProbeListener};
pub use budget::{Budget, Share};
pub use connection::Client;
pub use hosts::{HostName, Hosts, known_host};
pub use http::{NoQuery, UnknownParameter, get, not_found, others, problem, problem_of, send_problem};
pub use metrics::{METRICS, answered, metrics_page};
pub use origins::{OriginName, cors};
pub use pages::{live, ready};
pub use peers::{Peers, Place, peer};
pub use serve::serve;
pub use server::{LEAST_RATE, ServerOptions, serve_app};
