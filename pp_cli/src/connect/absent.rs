//! Stands in for each adapter that is not built in: every call is an error that names the feature.
//!
//! Parsing refuses such an address already, with the same words. Only who makes the address itself comes here.

#[cfg(not(feature = "postgres"))]
pub(super) mod postgres {
    use std::time::Duration;

    use pp_lib::feed::AnyFeed;
    use pp_lib::store::AnyStore;
    use pp_lib::tls::Trust;

    use crate::config::{DatabaseArgs, Secret, not_built_in};
    use crate::connect::{Schema, StartError, wrong};

    pub(in crate::connect) async fn store(
        _url: &Secret,
        _direct: Option<&Secret>,
        _args: &DatabaseArgs,
        _trust: &Trust,
        _schema: Schema,
        _max_wait: Duration,
    ) -> Result<AnyStore, StartError> {
        Err(wrong("PP_DATABASE_URL", not_built_in("postgres")))
    }

    pub(in crate::connect) fn feed(variable: &str, _url: &Secret, _trust: &Trust) -> Result<AnyFeed, StartError> {
        Err(wrong(variable, not_built_in("postgres")))
    }
}

#[cfg(not(feature = "sqlite"))]
pub(super) mod sqlite {
    use pp_lib::store::AnyStore;

    use crate::config::{DatabaseArgs, not_built_in};
    use crate::connect::{Schema, StartError, wrong};

    pub(in crate::connect) async fn store(
        _file: &str,
        _args: &DatabaseArgs,
        _schema: Schema,
    ) -> Result<AnyStore, StartError> {
        Err(wrong("PP_DATABASE_URL", not_built_in("sqlite")))
    }
}

#[cfg(not(feature = "rabbitmq"))]
pub(super) mod rabbitmq {
    use std::time::Duration;

    use pp_lib::broker::AnyBroker;
    use pp_lib::tls::Trust;

    use crate::config::{BrokerArgs, Secret, not_built_in};
    use crate::connect::{StartError, wrong};

    pub(in crate::connect) async fn broker(
        url: &Secret,
        args: &BrokerArgs,
        trust: &Trust,
        _max_wait: Duration,
    ) -> Result<AnyBroker, StartError> {
        broker_when_needed(url, args, trust)
    }

    pub(in crate::connect) fn broker_when_needed(
        _url: &Secret,
        _args: &BrokerArgs,
        _trust: &Trust,
    ) -> Result<AnyBroker, StartError> {
        Err(wrong("PP_BROKER_URL", not_built_in("rabbitmq")))
    }
}

#[cfg(not(feature = "redis"))]
pub(super) mod redis {
    use pp_lib::cache::AnyCache;
    use pp_lib::tls::Trust;

    use crate::config::{CacheArgs, Secret, not_built_in};
    use crate::connect::{StartError, wrong};

    pub(in crate::connect) fn cache(_url: &Secret, _args: &CacheArgs, _trust: &Trust) -> Result<AnyCache, StartError> {
        Err(wrong("PP_CACHE_URL", not_built_in("redis")))
    }
}
