//! The certificate and the key that a server shows, read from files and again when these change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConfig};

use crate::dates::validity;
use crate::{pem, provider};

/// The reason why files cannot be an identity: which of them is wrong, and a line that names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The file with the certificate and those of the authorities between it and a root.
    #[error("{0}")]
    Certificate(String),
    /// The file with the key.
    #[error("{0}")]
    Key(String),
}

/// What a look at the files found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing new.
    Unchanged,
    /// Another certificate, which new connections get.
    Renewed,
    /// Files that cannot be used. The certificate stays. The same files are not reported again.
    Kept(IdentityError),
}

/// A server's certificate with its key. Connections that are open keep what they were shown.
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    /// The files as they were last read.
    seen: Mutex<Option<Files>>,
}

/// The texts of both files, or what kept them from being read.
type Files = Result<(Vec<u8>, Vec<u8>), IdentityError>;

impl Identity {
    /// Reads the files. A certificate that has expired, or is not valid yet, is an error.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, IdentityError> {
        let files = read(certificate, key)?;
        let current = certified(certificate, key, &files)?;
        Ok(Arc::new(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(current)),
            seen: Mutex::new(Some(Ok(files))),
        }))
    }

    /// Looks at the files and takes a new certificate. It reads two small files, and blocks meanwhile.
    pub fn refresh(&self) -> Refreshed {
        let files = read(&self.certificate, &self.key);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() == Some(&files) {
            return Refreshed::Unchanged;
        }
        let read = files.as_ref().map_err(Clone::clone);
        let certified = read.and_then(|files| certified(&self.certificate, &self.key, files));
        *seen = Some(files);
        match certified {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                Refreshed::Renewed
            }
            Err(error) => Refreshed::Kept(error),
        }
    }

    /// True if the certificate in use has expired.
    pub fn has_expired(&self) -> bool {
        let current = self.current();
        (current.cert.first()).is_some_and(|certificate| validity(certificate).is_err())
    }

    /// The settings of a server that shows this identity and speaks HTTP/1.1.
    pub fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>, Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

fn read(certificate: &Path, key: &Path) -> Files {
    let certificate = pem::read(certificate).map_err(IdentityError::Certificate)?;
    Ok((certificate, pem::read(key).map_err(IdentityError::Key)?))
}

fn certified(
    certificate: &Path,
    key: &Path,
    (certificate_text, key_text): &(Vec<u8>, Vec<u8>),
) -> Result<CertifiedKey, IdentityError> {
    let chain = pem::certificates(certificate, certificate_text).map_err(IdentityError::Certificate)?;
    validity(&chain[0])
        .map_err(|why| IdentityError::Certificate(format!("the certificate in {} {why}", certificate.display())))?;
    let wrong_key = |why: &str| IdentityError::Key(format!("{} {why}", key.display()));
    let private = PrivateKeyDer::from_pem_slice(key_text).map_err(|error| match error {
        PemError::NoItemsFound => wrong_key("has no private key in it, or one with a password"),
        _ => wrong_key("is not a file in PEM format"),
    })?;
    let certified = CertifiedKey::from_der(chain, private, &provider());
    certified.map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => wrong_key(&format!(
            "is not the key of the certificate in {}",
            certificate.display()
        )),
        Error::InvalidCertificate(_) => {
            IdentityError::Certificate(format!("the certificate in {} is malformed", certificate.display()))
        }
        error => wrong_key(&format!("has an unusable key: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    struct Files {
        folder: TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    /// A certificate and its key, valid in these years.
    fn pair(from: i32, to: i32) -> (String, String) {
        let mut params = CertificateParams::new(["a".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn each_wrong_file_is_named() {
        let files = Files::new();
        let ((good, its_key), (_, other_key)) = (pair(2020, 2100), pair(2020, 2100));
        let (expired, _) = pair(2020, 2021);
        let (early, _) = pair(2099, 2100);
        let load = |certificate: &str, key: &str| {
            let (certificate, key) = (files.write("cert.pem", certificate), files.write("key.pem", key));
            Identity::load(&certificate, &key).map(|_| ())
        };
        assert_eq!(load(&good, &its_key), Ok(()));
        let told = |certificate: &str, key: &str| match load(certificate, key).unwrap_err() {
            IdentityError::Certificate(why) => ("certificate", why),
            IdentityError::Key(why) => ("key", why),
        };
        for (certificate, key, file, words) in [
            ("", its_key.as_str(), "certificate", "has no certificate in it"),
            (&its_key, &its_key, "certificate", "has no certificate in it"),
            (&expired, &its_key, "certificate", "has expired"),
            (&early, &its_key, "certificate", "is not valid yet"),
            (&good, "", "key", "has no private key in it"),
            (&good, &good, "key", "has no private key in it"),
            (&good, &other_key, "key", "is not the key of the certificate in"),
        ] {
            let (wrong, why) = told(certificate, key);
            assert!(
                wrong == file && why.contains(words) && why.contains(".pem"),
                "{wrong}: {why}"
            );
            assert_eq!(why.lines().count(), 1);
        }
        let missing = files.folder.path().join("missing");
        let cert = files.write("cert.pem", &good);
        assert!(matches!(
            Identity::load(&missing, &missing),
            Err(IdentityError::Certificate(_))
        ));
        assert!(matches!(Identity::load(&cert, &missing), Err(IdentityError::Key(_))));
    }

    #[test]
    fn a_new_file_is_taken_and_a_broken_one_is_reported_once() {
        let files = Files::new();
        let (first, second) = (pair(2020, 2100), pair(2020, 2100));
        let (certificate, key) = (files.write("cert.pem", &first.0), files.write("key.pem", &first.1));
        let identity = Identity::load(&certificate, &key).unwrap();
        let shown = || identity.current().cert[0].clone();
        let before = shown();
        assert_eq!(identity.refresh(), Refreshed::Unchanged);
        // Between the two writes of a renewal.
        files.write("cert.pem", &second.0);
        assert!(matches!(identity.refresh(), Refreshed::Kept(IdentityError::Key(_))));
        assert_eq!(identity.refresh(), Refreshed::Unchanged);
        assert_eq!(shown(), before);
        files.write("key.pem", &second.1);
        assert_eq!(identity.refresh(), Refreshed::Renewed);
        assert_ne!(shown(), before);
        assert!(!identity.has_expired());
    }
}
