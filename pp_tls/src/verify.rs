//! The checks of a server's certificate that PostgreSQL's `sslmode` knows beside the full one.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::provider;

/// The checks of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// None: the connection is encrypted, whoever is at the other end.
    Nothing,
    /// It is signed by a trusted authority and valid now.
    Chain,
    /// The same, and it is for the name of the server.
    ChainAndName,
}

/// A verifier that ignores the name.
pub(crate) fn chain(roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, rustls::client::VerifierBuilderError> {
    let full = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    Ok(Arc::new(Lenient::new(Some(full))))
}

/// A verifier that accepts every certificate whose key the server has.
pub(crate) fn nothing() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Lenient::new(None))
}

/// Checks all but the name, or nothing; and always that the server has the key of the certificate.
#[derive(Debug)]
struct Lenient {
    full: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Lenient {
    fn new(full: Option<Arc<WebPkiServerVerifier>>) -> Self {
        let provider = provider();
        Self { full, provider }
    }
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(full) = &self.full else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is checked last, so all else was right if only the name is wrong.
        match full.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
