//! The connection to Redis: one for all calls, reopened after a break, without long waits.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pp_tls::Trust;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, RedisError, RedisResult, ScriptInvocation,
    TlsCertificates,
};
use tokio::time::timeout;

use crate::cache::{CacheError, Result};
use crate::log_repeated;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time without an acknowledgement of sent bytes after which the connection counts as broken.
const UNHEARD: Duration = Duration::from_secs(2);

pub(super) struct Link {
    client: Client,
    timeout: Duration,
    manager: Mutex<ConnectionManager>,
}

impl Link {
    /// Starts to connect and does not wait for it.
    pub(super) fn to(url: &str, trust: &Trust, timeout: Duration) -> Result<Self> {
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(UNHEARD);
        let info = url.into_connection_info().map_err(|error| said(&error))?;
        let info = info.set_tcp_settings(tcp);
        let client = match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(CacheError::Rejected(
                    "`#insecure` is not supported; name an authority with PP_TLS_CA".to_owned(),
                ));
            }
            ConnectionAddr::TcpTls { .. } => Client::build_with_tls(info, trusting(trust)),
            _ => Client::open(info),
        };
        let client = client.map_err(|error| said(&error))?;
        let manager = begin(&client, timeout).map_err(|error| said(&error))?;
        Ok(Self {
            client,
            timeout,
            manager: Mutex::new(manager),
        })
    }

    /// Runs a script and loads it if the server does not have it yet.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        let mut connection = self.manager().clone();
        self.in_time(async {
            match script.invoke_async(&mut connection).await {
                Err(error) if worth_another_try(&error) => script.invoke_async(&mut connection).await,
                answer => answer,
            }
        })
        .await
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut connection = self.manager().clone();
        self.in_time(async {
            match command.query_async(&mut connection).await {
                Err(error) if worth_another_try(&error) => command.query_async(&mut connection).await,
                answer => answer,
            }
        })
        .await
    }

    async fn in_time<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> Result<T> {
        match timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.leave_after(&error);
                Err(said(&error))
            }
            Err(_) => Err(CacheError::Unavailable(format!(
                "no answer within {}",
                humantime::format_duration(self.timeout)
            ))),
        }
    }

    /// Replaces the manager, which would keep a refusal in the greeting, such as too many clients, for ever.
    fn leave_after(&self, error: &RedisError) {
        if error.is_io_error() {
            return;
        }
        if let Ok(manager) = begin(&self.client, self.timeout) {
            *self.manager() = manager;
        }
    }

    fn manager(&self) -> MutexGuard<'_, ConnectionManager> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The authorities in the form that the library takes.
fn trusting(trust: &Trust) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        root_cert: Some(trust.pem().into_bytes()),
    }
}

/// A manager that connects in the background, because callers may stop waiting before it has a connection.
fn begin(client: &Client, timeout: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(timeout))
        // Each call tries again, so none waits for the end of a pause.
        .set_number_of_retries(0);
    let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
    let mut connecting = manager.clone();
    tokio::spawn(async move {
        match redis::cmd("PING").exec_async(&mut connecting).await {
            Err(error) if pp_tls::is_refused(&error) => {
                log_repeated!(
                    Warn,
                    "PP_CACHE_URL: the cache cannot be used",
                    "{}",
                    pp_tls::words(&error)
                );
            }
            Err(error) => log::debug!("{}", said(&error)),
            Ok(()) => {}
        }
    });
    Ok(manager)
}

/// True if the error came from a broken connection. The next attempt uses a new one. All commands may be repeated.
fn worth_another_try(error: &RedisError) -> bool {
    error.is_io_error() && !error.is_timeout()
}

/// The error without the server's message, which may quote the password.
fn said(error: &RedisError) -> CacheError {
    if error.is_io_error() {
        return CacheError::Unavailable(pp_tls::words(error));
    }
    let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
    CacheError::Rejected(format!("{}{code}", error.category()))
}
