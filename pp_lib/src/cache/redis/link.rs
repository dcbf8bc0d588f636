//! The way to the server: one connection for all, made anew when it breaks, and no call that waits for long.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo as _, RedisError, RedisResult, ScriptInvocation};
use tokio::time::timeout;

use crate::cache::{CacheError, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long what was sent may go without a sign of its arrival, until the connection counts as broken.
const UNHEARD: Duration = Duration::from_secs(2);

pub(super) struct Link {
    client: Client,
    timeout: Duration,
    manager: Mutex<ConnectionManager>,
}

impl Link {
    /// Begins to connect, and does not wait for it.
    pub(super) fn to(url: &str, timeout: Duration) -> Result<Self> {
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(UNHEARD);
        let info = url.into_connection_info().map_err(|error| said(&error))?;
        let client = Client::open(info.set_tcp_settings(tcp)).map_err(|error| said(&error))?;
        let manager = begin(&client, timeout).map_err(|error| said(&error))?;
        Ok(Self {
            client,
            timeout,
            manager: Mutex::new(manager),
        })
    }

    /// Runs a script, which is there afterwards if it was not yet.
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

    /// Asks one command.
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

    /// A manager keeps for good what a server answered to its greeting, such as that it has too many clients.
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

/// A manager that connects by itself: those who ask may lose patience before a connection is there.
fn begin(client: &Client, timeout: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(timeout))
        // Each call tries again, so that none waits for a pause to end.
        .set_number_of_retries(0);
    let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
    let mut connecting = manager.clone();
    tokio::spawn(async move {
        if let Err(error) = redis::cmd("PING").exec_async(&mut connecting).await {
            log::debug!("{}", said(&error));
        }
    });
    Ok(manager)
}

/// A broken connection was noticed by this call, or by one long ago; the next try is on a new one. All that is asked may
/// be asked twice.
fn worth_another_try(error: &RedisError) -> bool {
    error.is_io_error() && !error.is_timeout()
}

/// Without what the server said in its own words: it may repeat the password in them.
fn said(error: &RedisError) -> CacheError {
    if error.is_io_error() {
        return CacheError::Unavailable(error.to_string());
    }
    let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
    CacheError::Rejected(format!("{}{code}", error.category()))
}
