//! Requests that carry a key take effect once, however often they are sent: one executes, all get its answer.
//!
//! Within this process they are joined; between processes, and between today and tomorrow, the store decides. What an
//! execution does is made of a seed that stays the same until the key expires, so that an execution after one that
//! died does nothing twice. How a key is written in a request is the shell's business.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::MessageId;
use crate::log_repeated;
use crate::runtime::new_message_id;
use crate::serving::single_flight;
use crate::serving::{ActorError, StoreHandle, Works};
use crate::store::{Answer, Answered, AnyStore, Begin, Begun, Changed, RequestKey};

/// How long a request waits for another process that works on its key.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const POLL: Duration = Duration::from_millis(100);
/// How often expired keys are removed, and how many in one statement.
const CLEANING: Duration = Duration::from_secs(60);
const CLEANED_AT_ONCE: u16 = 1000;

/// Where a key holds: the same key elsewhere is another one.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The request's method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// Whatever tells who asks; only a hash of it is kept.
    pub credentials: Option<&'a [u8]>,
}

impl Scope<'_> {
    /// A client's key where it holds.
    pub(super) fn request_key(&self, key: String) -> RequestKey {
        let Scope { method, path, .. } = self;
        let principal = self.credentials.map(hex_digest).unwrap_or_default();
        let scope = format!("{method} {path} {principal}");
        RequestKey { scope, key }
    }
}

/// A request with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The key where it holds.
    pub key: RequestKey,
    /// A hash of what is asked for.
    pub fingerprint: Vec<u8>,
}

impl KeyedRequest {
    /// The client's `key` in its scope; `query` and `body` are what it asks for.
    pub fn new(scope: Scope<'_>, key: String, query: &str, body: &[u8]) -> Self {
        let mut asked = Sha256::new();
        asked.update(query.len().to_be_bytes());
        asked.update(query);
        asked.update(body);
        Self {
            key: scope.request_key(key),
            fingerprint: asked.finalize().to_vec(),
        }
    }
}

fn hex_digest(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// An answer, and whether it is that of an earlier request or of another one at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The answer.
    pub answer: Answer,
    /// Whether this request was executed for somebody else.
    pub replayed: bool,
}

/// Why a request with a key has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key belongs to a request that asked for something else.
    #[error("the key belongs to another request")]
    OtherRequest,
    /// Another process works on it still.
    #[error("a request with this key is under way")]
    InFlight,
    /// The work does not allow the change, and why; nothing was done.
    #[error("the work does not allow the change")]
    Refused(Changed<()>),
    /// It was not executed, or nobody knows; with the same key it may be sent again.
    #[error(transparent)]
    Actor(#[from] ActorError),
}

/// What came of a request.
type Outcome = Result<Given, KeyError>;
/// Requests under way, with the hash of what they ask for.
type Flights = single_flight::SingleFlight<RequestKey, Vec<u8>, Outcome>;
type Flight = single_flight::Flight<Vec<u8>, Outcome>;
type Lead = single_flight::Lead<RequestKey, Vec<u8>, Outcome>;

/// The requests of this process that carry a key.
#[derive(Clone)]
pub struct IdempotentRequests {
    store: StoreHandle,
    flights: Flights,
    tasks: TaskTracker,
    runtime: Handle,
    stopping: CancellationToken,
}

impl IdempotentRequests {
    /// Keys in the store of these works; requests are executed on the runtime this is called from.
    pub fn new(works: &Works) -> Self {
        Self::over(works.store().clone())
    }

    /// Keys in this store.
    pub fn over(store: StoreHandle) -> Self {
        Self {
            store,
            flights: Flights::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            stopping: CancellationToken::new(),
        }
    }

    /// The answer to a request. `execute` is called at most once, with the seed of whatever it makes, and goes on when
    /// the caller does not wait any more; its answer is kept, its error is not.
    pub async fn answer<E, F>(&self, request: KeyedRequest, execute: E) -> Outcome
    where
        E: FnOnce(MessageId) -> F + Send + 'static,
        F: Future<Output = Result<Answer, KeyError>> + Send + 'static,
    {
        loop {
            let (flight, lead) = self.flights.enter(&request.key, request.fingerprint.clone(), |_| true);
            if let Some(lead) = lead {
                self.tasks
                    .spawn_on(self.clone().execute(request, lead, execute), &self.runtime);
                return outcome(flight).await;
            }
            if flight.note == request.fingerprint {
                let replayed = |given| Given {
                    replayed: true,
                    ..given
                };
                return outcome(flight).await.map(replayed);
            }
            // Only what succeeds has the key for good.
            if outcome(flight).await.is_ok() {
                return Err(KeyError::OtherRequest);
            }
        }
    }

    /// Waits until no request is under way any more; none may come meanwhile. Keys that could not be let go by then are
    /// not waited for.
    pub async fn finished(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn execute<E, F>(self, request: KeyedRequest, lead: Lead, execute: E)
    where
        E: FnOnce(MessageId) -> F + Send + 'static,
        F: Future<Output = Result<Answer, KeyError>> + Send + 'static,
    {
        let outcome = match self.begin(&request).await {
            Ok(Begun::Mine { seed }) => self.execute_mine(&request.key, seed, execute).await,
            Ok(Begun::Answered(answer)) => Ok(Given { answer, replayed: true }),
            Ok(Begun::InFlight) => Err(KeyError::InFlight),
            Ok(Begun::OtherRequest) => Err(KeyError::OtherRequest),
            Err(error) => Err(error.into()),
        };
        lead.end(outcome);
    }

    /// Begins it, as soon as no other process works on it.
    async fn begin(&self, request: &KeyedRequest) -> Result<Begun, ActorError> {
        let begin = Begin {
            key: request.key.clone(),
            fingerprint: request.fingerprint.clone(),
            seed: new_message_id().to_string(),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.store.begin(begin.clone()).await {
                Ok(Begun::InFlight) if Instant::now() < deadline => sleep(POLL).await,
                Err(error) => {
                    // It may have begun all the same.
                    self.let_go(&begin.key, begin.seed);
                    return Err(error);
                }
                begun => return begun,
            }
        }
    }

    async fn execute_mine<E, F>(&self, key: &RequestKey, seed: String, execute: E) -> Outcome
    where
        E: FnOnce(MessageId) -> F,
        F: Future<Output = Result<Answer, KeyError>>,
    {
        let message_id = MessageId::try_from(seed.clone()).map_err(|_| ActorError::Failed)?;
        let kept = match execute(message_id).await {
            Ok(answer) => self.keep(key, &seed, answer).await.map_err(KeyError::from),
            Err(error) => Err(error),
        };
        if kept.is_err() {
            self.let_go(key, seed);
        }
        kept
    }

    /// Keeps an answer; the one that counts, which another process may have given while this one was slow.
    async fn keep(&self, key: &RequestKey, seed: &str, answer: Answer) -> Result<Given, ActorError> {
        let answered = Answered {
            key: key.clone(),
            seed: seed.to_owned(),
            answer: answer.clone(),
        };
        let counts = self.store.keep_answer(answered).await?.unwrap_or(answer);
        Ok(Given {
            answer: counts,
            replayed: false,
        })
    }

    /// Lets go of a key in the background, so that the next try need not wait until it is taken over.
    fn let_go(&self, key: &RequestKey, seed: String) {
        let (store, key, stopping) = (self.store.clone(), key.clone(), self.stopping.clone());
        let trying = async move {
            let let_go = || store.let_go(&key, &seed);
            if let Err(error) = let_go.retry(ExponentialBuilder::default()).await {
                log::debug!("a key was not let go, and is free when it may be taken over: {error}");
            }
        };
        let letting_go = async move { stopping.run_until_cancelled(trying).await };
        self.tasks.spawn_on(letting_go, &self.runtime);
    }
}

/// Removes expired keys, each minute, until the shutdown.
pub async fn forget_expired_keys(store: AnyStore, shutdown: CancellationToken) {
    let cleaning = async {
        let mut pauses = interval(CLEANING);
        loop {
            pauses.tick().await;
            while let Ok(forgotten) = forget(&store).await
                && forgotten == u64::from(CLEANED_AT_ONCE)
            {}
        }
    };
    shutdown.run_until_cancelled(cleaning).await;
}

async fn forget(store: &AnyStore) -> crate::store::Result<u64> {
    let forgotten = store.forget_expired(CLEANED_AT_ONCE).await;
    forgotten.inspect_err(|error| log_repeated!(Warn, "expired idempotency keys stay for another minute", "{error}"))
}

async fn outcome(flight: Flight) -> Outcome {
    flight
        .outcome()
        .await
        .unwrap_or(Err(KeyError::Actor(ActorError::Failed)))
}
