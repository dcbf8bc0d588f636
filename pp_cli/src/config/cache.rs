//! The address of the cache, the lifetimes of its entries and the staleness of reads.

use std::time::Duration;

use clap::{ArgAction, Args};
use url::Url;

use super::parse::{duration_within, is_plain_name};
use super::{ConfigError, Secret, not_built_in};
use pp_lib::cache::CacheOptions;

/// The settings of the cache.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cache")]
pub struct CacheArgs {
    /// `redis://user:password@host:port/0`, `rediss://` with TLS, or `memory:` for one cache per process.
    #[arg(
        id = "cache_url",
        long = "cache-url",
        value_name = "URL",
        env = "PP_CACHE_URL",
        default_value = "memory:",
        hide_env_values = true
    )]
    url: Secret,

    /// The prefix of this deployment's keys in the cache.
    #[arg(id = "cache_prefix", long = "cache-prefix", value_name = "PREFIX", env = "PP_CACHE_PREFIX", default_value = "pp", value_parser = prefix)]
    pub prefix: String,

    /// The lifetime of an unchanged entry, give or take a tenth; 1s to 24h [unit: duration, as in 300s].
    #[arg(id = "cache_ttl", long = "cache-ttl", value_name = "DURATION", env = "PP_CACHE_TTL", default_value = "300s", value_parser = duration_within(TTL))]
    pub ttl: Duration,

    /// Puts a cache within each process in front of a shared one: `on` or `off`.
    #[arg(id = "near_cache", long = "near-cache", value_name = "on|off", env = "PP_NEAR_CACHE", default_value = "off", value_parser = on_or_off, action = ArgAction::Set)]
    near: bool,

    /// The time after a commit during which a read may still miss it; 200ms to 60s [unit: duration, as in 1s].
    #[arg(long = "staleness", env = "PP_STALENESS", default_value = "1s", value_parser = duration_within(STALENESS))]
    pub staleness: Duration,
}

const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
const STALENESS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

impl CacheArgs {
    /// The selected cache.
    pub fn address(&self) -> Result<CacheUrl, ConfigError> {
        CacheUrl::parse(self.url.expose())
    }

    /// The lifetimes for the cache.
    pub fn options(&self) -> CacheOptions {
        CacheOptions {
            ttl: self.ttl,
            staleness: self.staleness,
        }
    }

    /// True if a near cache stands in front of the shared one.
    pub fn near(&self) -> bool {
        self.near
    }
}

/// A cache. The scheme of the URL selects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheUrl {
    /// Redis.
    Redis(Secret),
    /// The cache within this process.
    Memory,
}

impl CacheUrl {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = |why: &str| ConfigError::new("PP_CACHE_URL", why);
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        let url = Url::parse(text).map_err(|error| wrong(&format!("not a URL: {error}")))?;
        match url.scheme() {
            "redis" | "rediss" if url.host_str().is_none_or(str::is_empty) => Err(wrong("names no host")),
            "redis" | "rediss" if !cfg!(feature = "redis") => Err(wrong(&not_built_in("redis"))),
            "redis" | "rediss" => Ok(Self::Redis(Secret::from(text))),
            other => Err(wrong(&format!(
                "unknown scheme `{other}`, expected redis://, rediss:// or memory:"
            ))),
        }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    is_plain_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "expected 1 to 200 letters, digits, `.`, `_` or `-`".to_owned())
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected `on` or `off`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        cache: CacheArgs,
    }

    fn typed(args: &[&str]) -> Result<CacheArgs, clap::Error> {
        Program::try_parse_from([&["program"], args].concat()).map(|program| program.cache)
    }

    #[test]
    fn the_default_is_a_cache_in_the_process() {
        let args = typed(&[]).unwrap();
        assert_eq!(args.address(), Ok(CacheUrl::Memory));
        assert_eq!(args.prefix, "pp");
        let options = CacheOptions {
            ttl: Duration::from_secs(300),
            staleness: Duration::from_secs(1),
        };
        assert_eq!(args.options(), options);
        assert!(!args.near());
    }

    #[test]
    fn the_scheme_selects_the_cache() {
        let url = "redis://:hunter2@h:1/0";
        let args = typed(&["--cache-url", url, "--near-cache", "on"]).unwrap();
        assert_eq!(args.address(), Ok(CacheUrl::Redis(Secret::from(url))));
        assert!(args.near());
        for text in ["", "hunter2", "rediss://", "amqp://:hunter2@h", "redis:hunter2"] {
            let error = CacheUrl::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("PP_CACHE_URL: ") && !error.contains("hunter2"),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_with_the_bounds() {
        for (flag, bad, said) in [
            ("--cache-ttl", "999ms", "from 1s to 1day"),
            ("--cache-ttl", "25h", "from 1s to 1day"),
            ("--staleness", "199ms", "from 200ms to 1m"),
            ("--staleness", "61s", "from 200ms to 1m"),
            ("--staleness", "1", "needs a unit"),
            ("--near-cache", "true", "`on` or `off`"),
            ("--cache-prefix", "p*", "letters, digits"),
            ("--cache-prefix", "", "letters, digits"),
        ] {
            let error = typed(&[flag, bad]).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(flag), "{error}");
        }
    }

    #[test]
    fn every_flag_is_named_like_its_variable() {
        let command = Program::command();
        for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
            let variable = argument.get_env().and_then(|name| name.to_str()).unwrap();
            let flag = variable.trim_start_matches("PP_").to_lowercase().replace('_', "-");
            assert_eq!(argument.get_long(), Some(flag.as_str()));
        }
    }
}
