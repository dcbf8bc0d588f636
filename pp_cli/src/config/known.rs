//! The list of all programs' variables, and a warning about unknown ones. All programs share an environment.

use std::env;

const PREFIX: &str = "PP_";

/// The maximum edit distance of a suggested name.
const MAX_DISTANCE: usize = 3;

/// Every variable that a program, make or Docker Compose reads. A test compares this list with the table in the README.
pub const KNOWN: &[&str] = &[
    "PP_ADD_UP_TO",
    "PP_ADMIN_KEY_FILE",
    "PP_API_BIND",
    "PP_API_HOSTS",
    "PP_API_KEY",
    "PP_API_KEY_FILE",
    "PP_API_ORIGINS",
    "PP_API_PORT",
    "PP_API_PREFIX",
    "PP_API_URL",
    "PP_ARGS",
    "PP_ARGS_LIMIT",
    "PP_AUDIT_RETAIN",
    "PP_AUTH",
    "PP_BATCH",
    "PP_BATCH_WAIT",
    "PP_BODY_BUDGET",
    "PP_BODY_LIMIT",
    "PP_BROKER_MANAGEMENT_URL",
    "PP_BROKER_URL",
    "PP_CACHE_PREFIX",
    "PP_CACHE_TTL",
    "PP_CACHE_URL",
    "PP_CATCH_UP",
    "PP_CONNECTIONS",
    "PP_CONSUMER_PROBE_BIND",
    "PP_COUNT",
    "PP_DATABASE_DIRECT_URL",
    "PP_DATABASE_POOL",
    "PP_DATABASE_TIMEOUT",
    "PP_DATABASE_URL",
    "PP_DATA_DIR",
    "PP_DEMAND_QUEUE",
    "PP_DISPATCH",
    "PP_DISPATCH_POLL",
    "PP_DISPATCH_WITHIN",
    "PP_GRACE",
    "PP_IDEMPOTENCY_TTL",
    "PP_KIND",
    "PP_KIND_QUEUE",
    "PP_LEASE",
    "PP_LOG",
    "PP_LOG_FORMAT",
    "PP_MAILBOX",
    "PP_MAX_ATTEMPTS",
    "PP_NEAR_CACHE",
    "PP_PACE",
    "PP_PEER_CONNECTIONS",
    "PP_PEER_STREAMS",
    "PP_POSTGRES_PASSWORD",
    "PP_POSTGRES_PORT",
    "PP_PREFETCH",
    "PP_PREFETCH_BYTES",
    "PP_PROBE_BIND",
    "PP_PRODUCER_PROBE_BIND",
    "PP_PROXY_NETWORKS",
    "PP_PROXY_SCOPES",
    "PP_PROXY_USER_HEADER",
    "PP_PUSH_ALLOW",
    "PP_QUEUE_PREFIX",
    "PP_RABBITMQ_MANAGEMENT_PORT",
    "PP_RABBITMQ_PASSWORD",
    "PP_RABBITMQ_PORT",
    "PP_RATE",
    "PP_REDIS_PASSWORD",
    "PP_REDIS_PORT",
    "PP_REQUEST_TIMEOUT",
    "PP_RETAIN",
    "PP_SCHEDULE",
    "PP_SCHEDULE_FILE",
    "PP_SERVERS",
    "PP_STALENESS",
    "PP_STANDALONE_PORT",
    "PP_STARTUP_TIMEOUT",
    "PP_STATE_DIR",
    "PP_STOP_GRACE_PERIOD",
    "PP_STORE_BATCH",
    "PP_STREAM_CLIENTS",
    "PP_TESTKIT_HOME",
    "PP_TEST_POSTGRES_URL",
    "PP_TEST_RABBITMQ_URL",
    "PP_TEST_REDIS_URL",
    "PP_TIME_ZONE",
    "PP_TLS_CA",
    "PP_TLS_CERT",
    "PP_TLS_KEY",
    "PP_VERSION",
    "PP_WORKER_NAME",
    "PP_WORKER_PLACES",
    "PP_WORK_TIMEOUT",
];

/// Warns about unknown variables. Without the warning, a misspelt setting would be ignored silently.
pub(crate) fn warn_of_unknown_variables() {
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    for name in names.filter(|name| name.starts_with(PREFIX) && !KNOWN.contains(&name.as_str())) {
        log::warn!("{}", warning(&name));
    }
}

fn warning(name: &str) -> String {
    let distance = |known: &&&str| strsim::damerau_levenshtein(known, name);
    let nearest = KNOWN
        .iter()
        .min_by_key(distance)
        .filter(|known| distance(known) <= MAX_DISTANCE);
    match nearest {
        Some(nearest) => format!("{name} is not a variable of PP and is ignored; did you mean {nearest}?"),
        None => format!("{name} is not a variable of PP and is ignored"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_named_with_the_nearest_one() {
        for (name, meant) in [
            ("PP_LEESE", "PP_LEASE"),
            ("PP_DATABASE_ULR", "PP_DATABASE_URL"),
            ("PP_GRACE_", "PP_GRACE"),
        ] {
            let expected = format!("{name} is not a variable of PP and is ignored; did you mean {meant}?");
            assert_eq!(warning(name), expected);
        }
        let nothing_like_it = "PP_SOMETHING_ELSE is not a variable of PP and is ignored";
        assert_eq!(warning("PP_SOMETHING_ELSE"), nothing_like_it);
    }
}
