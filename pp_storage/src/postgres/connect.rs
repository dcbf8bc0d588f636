//! Connections of libpq, with TLS where the URL asks for it.
//!
//! libpq is built without TLS, because its TLS is OpenSSL. A connection with TLS is made here with rustls, and libpq
//! reaches it by way of a socket within the process ([`tunnel`]). docs/decisions/037 gives the reasons.

mod address;
mod dial;
mod encryption;
mod sieve;
mod tunnel;

use diesel::pg::PgConnection;
use diesel::{Connection as _, ConnectionError};
use pp_tls::Trust;

use self::address::Address;
use self::dial::Dialled;
pub use self::encryption::{Encryption, SslMode};

/// Connects to the server of a URL. An error is one line, and never quotes the URL, which has a password in it.
///
/// `sslmode` has libpq's meaning. With `prefer`, which is the default, a server without TLS gets a connection without it.
pub fn connect_postgres(url: &str, trust: &Trust) -> Result<PgConnection, String> {
    let encryption = Encryption::of(url)?;
    let plainly = || establish(&address::without_tls(url), None);
    let must = encryption.mode().is_required();
    let address = match (encryption.mode(), Address::of(url)) {
        (SslMode::Disable, _) | (_, Ok(None)) => return plainly(),
        (_, Ok(Some(address))) => address,
        (_, Err(why)) if must => return Err(why),
        (_, Err(_)) => return plainly(),
    };
    let dialled = dial::dial(&address, &encryption, trust);
    let stream = match dialled {
        Ok(Dialled::Encrypted(stream)) => stream,
        Ok(Dialled::Plain) if must => {
            return Err(format!(
                "{address} offers no TLS, and sslmode={} needs it",
                encryption.mode()
            ));
        }
        // What a server without TLS answers, libpq will find out.
        Ok(Dialled::Plain) => return plainly(),
        Err(why) => return Err(why),
    };
    let tunnel = tunnel::open(stream, address.port()).map_err(|error| format!("{address} has TLS, but {error}"));
    let encrypted = tunnel.and_then(|entrance| establish(&address.by_way_of(&entrance), Some(&address)));
    match encrypted {
        // As libpq does: the server may let this user in without TLS alone.
        Err(why) if !must => plainly().map_err(|_| why),
        encrypted => encrypted,
    }
}

/// Lets libpq connect. Its words about a socket within the process become words about the server.
fn establish(url: &str, server: Option<&Address>) -> Result<PgConnection, String> {
    PgConnection::establish(url).map_err(|error| {
        let why = in_words(&error);
        match (server, why.split_once(" failed: ")) {
            (Some(server), Some((_, why))) => format!("connection to server at {server} failed: {why}"),
            _ => why,
        }
    })
}

/// The error as one line. Errors about a server may be shown; errors about a URL quote it, so they are replaced.
fn in_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::BadConnection(text)
            if text.starts_with("connection to server") || text.starts_with("could not translate host name") =>
        {
            text.trim_end().replace('\n', " ")
        }
        _ => "the URL is not one that PostgreSQL's client understands".to_owned(),
    }
}
