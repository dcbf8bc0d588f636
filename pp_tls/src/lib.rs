//! TLS for every wire of PP: what a client trusts ([`Trust`]), what a server shows ([`Identity`]), and errors in words.
//!
//! All of it is rustls with ring. Nothing is installed in the process: each configuration names its provider. The sockets
//! and the protocols belong to the crates that have them.

mod dates;
mod identity;
mod pem;
mod trust;
mod verify;
mod words;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use dates::valid_until;
pub use identity::{Identity, IdentityError, Refreshed};
pub use trust::{Trust, TrustError};
pub use verify::Check;
pub use words::{is_refused, words};

pub use rustls;

/// The one provider of cryptography, for libraries that must be handed one.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
