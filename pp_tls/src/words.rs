//! Errors of TLS in one line that an operator understands.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::{CertificateError, Error};

/// The error in words. Errors that are not about TLS keep their own.
pub fn words(error: &(dyn StdError + 'static)) -> String {
    match of_tls(error) {
        Some(found) => in_words(found),
        None => error.to_string(),
    }
}

/// True if the server's certificate is refused, which no retry changes.
pub fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    matches!(of_tls(error), Some(Error::InvalidCertificate(_)))
}

/// The error of rustls in a chain of errors. Input and output hide theirs, and so does an error that is shared.
fn of_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let shared = error.downcast_ref::<Arc<dyn StdError + Send + Sync>>();
        next = match (hidden, shared) {
            (Some(hidden), _) => Some(hidden),
            (None, Some(shared)) => Some(&**shared),
            (None, None) => error.source(),
        };
    }
    None
}

fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("its certificate is refused: {}", of_certificate(why)),
        Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        Error::AlertReceived(alert) => format!("it ends the handshake of TLS with {alert:?}"),
        other => format!("TLS fails: {other}"),
    }
}

fn of_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        // The second one: an authority of the same name is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority that is trusted here has signed it; PP_TLS_CA adds authorities".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| plain(name)).collect();
            let presented = match presented.is_empty() {
                true => "no name".to_owned(),
                false => presented.join(", "),
            };
            format!("it is for {presented}, not for {}", expected.to_str())
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        other => format!("{other}"),
    }
}

/// A name without its type, as in `DnsName("a")`.
fn plain(name: &str) -> &str {
    name.split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(name)
        .trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_within_others_and_said_in_words() {
        let expired = Error::InvalidCertificate(CertificateError::Expired);
        let within = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, expired));
        assert_eq!(words(&within), "its certificate is refused: it has expired");
        assert!(is_refused(&within));
        let shared: Arc<dyn StdError + Send + Sync> = Arc::new(within);
        assert!(is_refused(&shared));
        let name = Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected: "b".try_into().unwrap(),
            presented: vec!["DnsName(\"a\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()],
        });
        assert_eq!(
            words(&name),
            "its certificate is refused: it is for a, 127.0.0.1, not for b"
        );
        let other = io::Error::other("gone");
        assert_eq!((words(&other).as_str(), is_refused(&other)), ("gone", false));
    }
}
