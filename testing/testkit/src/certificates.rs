//! Certificates for tests and for `make up`: an authority that is made when it is needed, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::servers::folder;

/// An authority. Its key is nowhere but in this value.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate and its key, in PEM format.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "PP's authority for this machine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its own certificate, which clients trust.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server with these names or addresses.
    ///
    /// # Errors
    /// When a name cannot be one.
    pub fn certify(&self, names: &[&str]) -> Result<Certificate> {
        self.certify_until(2120, names)
    }

    /// A certificate that has expired.
    ///
    /// # Errors
    /// When a name cannot be one.
    pub fn certify_expired(&self, names: &[&str]) -> Result<Certificate> {
        self.certify_until(2021, names)
    }

    /// A certificate that ends soon.
    ///
    /// # Errors
    /// When a name cannot be one.
    pub fn certify_for(&self, time: Duration, names: &[&str]) -> Result<Certificate> {
        let mut params = params(names)?;
        params.not_after = (SystemTime::now() + time).into();
        self.sign(&params)
    }

    fn certify_until(&self, year: i32, names: &[&str]) -> Result<Certificate> {
        let mut params = params(names)?;
        params.not_after = date_time_ymd(year, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        Ok(Certificate {
            certificate: params.signed_by(&key, &self.0)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params(names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.not_before = date_time_ymd(2020, 1, 1);
    Ok(params)
}

/// The files of a system on this machine, in a folder of their own.
#[derive(Debug, Clone)]
pub struct Files {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The certificate of every server.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Files {
    /// The files in this folder, which may be missing.
    pub fn of(folder: &Path) -> Self {
        Self {
            authority: folder.join("ca.pem"),
            certificate: folder.join("server.pem"),
            key: folder.join("server.key"),
        }
    }

    /// Makes the files unless they are there.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn made(folder: &Path) -> Result<Self> {
        folder::make(folder, 0o711)?;
        let files = Self::of(folder);
        if files.authority.exists() {
            return Ok(files);
        }
        let authority = Authority::new()?;
        let server = authority.certify(&["localhost", "127.0.0.1", "::1"])?;
        folder::write_secret(&files.certificate, &server.certificate)?;
        folder::write_secret(&files.key, &server.key)?;
        // The last one: with it the others are complete.
        fs::write(&files.authority, authority.pem())?;
        Ok(files)
    }

    /// Their content.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self) -> Result<Certificate> {
        Ok(Certificate {
            certificate: fs::read_to_string(&self.certificate)?,
            key: fs::read_to_string(&self.key)?,
        })
    }
}
