//! The dates of a certificate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::provider;

/// The last second of the year 9999, beyond which no certificate lasts.
const LATEST: Duration = Duration::from_secs(253_402_300_799);

/// Whether a certificate is valid now.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Result<(), &'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match error_at(certificate, now).map_err(|_| "is malformed")? {
        Some(Error::CertExpired { .. }) => Err("has expired"),
        Some(Error::CertNotValidYet { .. }) => Err("is not valid yet"),
        _ => Ok(()),
    }
}

/// The Unix second with which the validity of a certificate ends; `None` if it cannot be read.
pub fn valid_until(certificate: &CertificateDer<'_>) -> Option<u64> {
    match error_at(certificate, LATEST).ok()? {
        Some(Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
    }
}

/// The error that a verification at this time ends with. Without authorities no certificate is verified, but its time is
/// looked at before they are.
fn error_at(certificate: &CertificateDer<'_>, time: Duration) -> Result<Option<Error>, Error> {
    let parsed = EndEntityCert::try_from(certificate)?;
    let verified = parsed.verify_for_usage(
        provider().signature_verification_algorithms.all,
        &[],
        &[],
        UnixTime::since_unix_epoch(time),
        KeyUsage::server_auth(),
        None,
        None,
    );
    Ok(verified.err())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_tells_when_it_ends() {
        let mut params = CertificateParams::new(["a".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        for (year, second) in [(2021, 1_609_459_200), (2100, 4_102_444_800)] {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(valid_until(certificate.der()), Some(second));
        }
        assert_eq!(valid_until(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
