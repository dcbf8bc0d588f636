//! Follows the files of a certificate that is renewed while the service runs.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use pp_lib::tls::{Identity, IdentityError, Refreshed};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// The time between two looks at the files. They are read as a whole, which also finds a change behind a link.
const PAUSE: Duration = Duration::from_secs(2);

/// Takes a new certificate for new connections. Files that cannot be used are reported once, and only if they stay so until
/// the next look: two files are never replaced at the same moment.
pub(crate) async fn follow(identity: &Arc<Identity>) -> Infallible {
    let (mut broken, mut expired) = (None, false);
    loop {
        sleep(PAUSE).await;
        let looking = Arc::clone(identity);
        // A panic there is a file not read.
        let found = spawn_blocking(move || looking.refresh())
            .await
            .unwrap_or(Refreshed::Unchanged);
        match found {
            Refreshed::Renewed => {
                broken = None;
                log::info!("PP_TLS_CERT: the certificate was renewed, and new connections get it");
            }
            Refreshed::Kept(error) => broken = Some(error),
            Refreshed::Unchanged => {
                if let Some(error) = broken.take() {
                    let (IdentityError::Certificate(why) | IdentityError::Key(why)) = &error;
                    let variable = match error {
                        IdentityError::Certificate(_) => "PP_TLS_CERT",
                        IdentityError::Key(_) => "PP_TLS_KEY",
                    };
                    log::warn!("{variable}: {why}; the certificate that was read before stays in use");
                }
            }
        }
        let has_expired = identity.has_expired();
        if has_expired && !expired {
            log::warn!("PP_TLS_CERT: the certificate in use has expired, and clients refuse it");
        }
        expired = has_expired;
    }
}
