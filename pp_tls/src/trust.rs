//! The authorities that a client trusts.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::verify::{self, Check};
use crate::{pem, provider};

/// The reason why authorities cannot be used, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TrustError(String);

impl TrustError {
    /// The reason in one line.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The authorities that a client trusts: by default those of the platform.
#[derive(Clone, Default)]
pub struct Trust {
    own: Arc<Vec<CertificateDer<'static>>>,
    /// True if the platform's authorities are left out.
    only_own: bool,
}

impl Trust {
    /// The platform's authorities, and those of a PEM file.
    pub fn also(file: &Path) -> Result<Self, TrustError> {
        Ok(Self {
            own: Arc::new(authorities(file)?),
            only_own: false,
        })
    }

    /// The authorities of a PEM file and no others.
    pub fn only(file: &Path) -> Result<Self, TrustError> {
        Ok(Self {
            own: Arc::new(authorities(file)?),
            only_own: true,
        })
    }

    /// All authorities as certificates.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let platform = if self.only_own { &[][..] } else { platform() };
        self.own.iter().chain(platform).cloned().collect()
    }

    /// All authorities in PEM format, for libraries that take nothing else.
    pub fn pem(&self) -> String {
        let mut text = String::new();
        for certificate in self.certificates() {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
                STANDARD.encode(&certificate)
            );
        }
        text
    }

    /// The settings of a client that makes these checks. Every connection may share them.
    pub fn client(&self, check: Check) -> Result<Arc<ClientConfig>, TrustError> {
        let failed = |error: &dyn fmt::Display| TrustError(error.to_string());
        let roots = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(self.certificates());
            match roots.is_empty() {
                true => Err(TrustError(
                    "this system has no root certificates; name some with PP_TLS_CA".to_owned(),
                )),
                false => Ok(roots),
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let config = match check {
            Check::ChainAndName => builder.with_root_certificates(roots()?).with_no_client_auth(),
            Check::Chain => builder
                .dangerous()
                .with_custom_certificate_verifier(verify::chain(roots()?).map_err(|error| failed(&error))?)
                .with_no_client_auth(),
            Check::Nothing => builder
                .dangerous()
                .with_custom_certificate_verifier(verify::nothing())
                .with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("own", &self.own.len())
            .field("only_own", &self.only_own)
            .finish()
    }
}

/// The certificates of a file that can be authorities.
fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let found = pem::read(file).and_then(|text| pem::certificates(file, &text));
    let found = found.map_err(TrustError)?;
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        roots
            .add(certificate.clone())
            .map_err(|error| TrustError(format!("{} has an unusable certificate: {error}", file.display())))?;
    }
    Ok(found)
}

/// The platform's authorities, read once. What cannot be read or used is left out.
fn platform() -> &'static [CertificateDer<'static>] {
    static PLATFORM: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    PLATFORM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs().certs;
        let usable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
        found.into_iter().filter(usable).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let told = || Trust::also(&path).unwrap_err().to_string();
        assert!(told().ends_with("ca.pem cannot be read: No such file or directory (os error 2)"));
        for (text, end) in [
            ("", "ca.pem has no certificate in it"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n",
                "ca.pem is not a file in PEM format",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "ca.pem has an unusable certificate: invalid peer certificate: BadEncoding",
            ),
        ] {
            fs::write(&path, text).unwrap();
            assert!(told().ends_with(end), "{}", told());
        }
        fs::write(&path, vec![b'x'; 1 << 21]).unwrap();
        assert!(told().ends_with("has more than 1048576 bytes"));
    }

    #[test]
    fn own_authorities_join_the_platforms_or_replace_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let own = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert;
        fs::write(&path, own.pem()).unwrap();
        let only = Trust::only(&path).unwrap();
        assert_eq!(only.certificates(), [own.der().clone()]);
        assert_eq!(
            pem::certificates(&path, only.pem().as_bytes()).unwrap(),
            only.certificates()
        );
        let also = Trust::also(&path).unwrap();
        assert_eq!(also.certificates().len(), Trust::default().certificates().len() + 1);
    }
}
