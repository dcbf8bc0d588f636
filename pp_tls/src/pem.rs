//! PEM files, bounded and with errors in words.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The maximum size of a file. A bundle with all public authorities has a quarter of it.
const LARGEST_FILE: u64 = 1 << 20;

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("{} has more than {LARGEST_FILE} bytes", path.display()));
    }
    Ok(bytes)
}

/// The certificates in the text of a file, at least one.
pub(crate) fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match parsed {
        Ok(found) if found.is_empty() => Err(format!("{} has no certificate in it", path.display())),
        Ok(found) => Ok(found),
        Err(_) => Err(format!("{} is not a file in PEM format", path.display())),
    }
}
