//! The options of a URL that say how a connection is encrypted, with libpq's names and meanings.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use pp_tls::rustls::ClientConfig;
use pp_tls::{Check, Trust};

use super::address::options;

/// libpq's options that nothing here heeds. A connection that must be safe is not made without them.
const UNHEEDED: [&str; 9] = [
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslnegotiation",
    "sslpassword",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
];

/// The value of `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server offers it, without a check. It is the default; `allow` is the same here.
    Prefer,
    /// TLS, without a check of the certificate unless `sslrootcert` names authorities.
    Require,
    /// TLS, with a certificate of a trusted authority.
    VerifyCa,
    /// The same, and the certificate is for the server's name.
    VerifyFull,
}

impl SslMode {
    /// True if a connection without TLS is no connection.
    pub fn is_required(self) -> bool {
        !matches!(self, Self::Disable | Self::Prefer)
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

/// How connections to the server of a URL are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    mode: SslMode,
    /// The authorities of `sslrootcert`, instead of those that the program trusts.
    roots: Option<PathBuf>,
}

impl Encryption {
    /// Parses the options of a URL. The error is one line without the URL.
    pub fn of(url: &str) -> Result<Self, String> {
        let (mut mode, mut roots, mut system) = (None, None, false);
        for (name, value) in options(url) {
            match (name.as_str(), value.as_str()) {
                ("sslmode", value) => mode = Some(parse(value)?),
                ("ssl", "true") => mode = Some(SslMode::Require),
                ("sslrootcert", "system") => system = true,
                ("sslrootcert", file) if !file.is_empty() => roots = Some(PathBuf::from(file)),
                _ => {}
            }
        }
        let default = if system { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = match (mode.unwrap_or(default), &roots) {
            (SslMode::Require, Some(_)) => SslMode::VerifyCa,
            (mode, _) => mode,
        };
        if system && mode != SslMode::VerifyFull {
            return Err(format!("`sslrootcert=system` needs sslmode=verify-full, not {mode}"));
        }
        let unheeded = options(url).find(|(name, value)| match name.as_str() {
            "channel_binding" => value == "require",
            "sslnegotiation" => value != "postgres",
            name => UNHEEDED.contains(&name),
        });
        match unheeded {
            Some((name, _)) if mode.is_required() => Err(format!("`{name}` is not supported; remove it")),
            _ => Ok(Self { mode, roots }),
        }
    }

    /// The value of `sslmode`. With `sslrootcert`, `require` is `verify-ca`.
    pub fn mode(&self) -> SslMode {
        self.mode
    }

    /// The settings of TLS, for a program that trusts these authorities.
    pub fn client(&self, trust: &Trust) -> Result<Arc<ClientConfig>, String> {
        let check = match self.mode {
            SslMode::Disable | SslMode::Prefer | SslMode::Require => Check::Nothing,
            SslMode::VerifyCa => Check::Chain,
            SslMode::VerifyFull => Check::ChainAndName,
        };
        let client = match &self.roots {
            Some(file) if check != Check::Nothing => {
                let only = Trust::only(file).map_err(|error| format!("sslrootcert: {error}"))?;
                only.client(check)
            }
            _ => trust.client(check),
        };
        client.map_err(|error| error.to_string())
    }
}

fn parse(value: &str) -> Result<SslMode, String> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err("`sslmode` must be disable, prefer, require, verify-ca or verify-full".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_have_the_meaning_they_have_for_libpq() {
        let mode = |options: &str| Encryption::of(&format!("postgres://u:hunter2@h/d{options}")).map(|of| of.mode());
        for (options, expected) in [
            ("", SslMode::Prefer),
            ("?sslmode=allow", SslMode::Prefer),
            ("?sslmode=disable&sslcert=x", SslMode::Disable),
            ("?a=b&sslmode=require", SslMode::Require),
            ("?ssl=true", SslMode::Require),
            ("?sslmode=require&sslrootcert=%2Fca.pem", SslMode::VerifyCa),
            ("?sslmode=verify-ca", SslMode::VerifyCa),
            ("?sslmode=verify%2Dfull", SslMode::VerifyFull),
            ("?sslrootcert=system", SslMode::VerifyFull),
            (
                "?sslmode=require&channel_binding=prefer&sslnegotiation=postgres",
                SslMode::Require,
            ),
        ] {
            assert_eq!(mode(options), Ok(expected), "{options}");
        }
        for (options, word) in [
            ("?sslmode=on", "verify-full"),
            ("?sslmode=", "verify-full"),
            ("?sslmode=require&sslrootcert=system", "sslrootcert=system"),
            ("?sslmode=require&sslcert=x", "sslcert"),
            ("?sslmode=verify-full&channel_binding=require", "channel_binding"),
            ("?sslmode=verify-full&sslnegotiation=direct", "sslnegotiation"),
        ] {
            let why = mode(options).unwrap_err();
            assert!(why.contains(word) && !why.contains("hunter2"), "{options}: {why}");
        }
    }
}
