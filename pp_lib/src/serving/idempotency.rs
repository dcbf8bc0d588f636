//! Idempotent requests: requests with the same key take effect once, and all get the same answer.
//!
//! Single flight joins requests within this process; the store coordinates processes and later requests. An execution
//! derives everything it creates from a seed, which stays the same until the key expires. So an execution that follows
//! a crashed one repeats nothing. Parsing keys from HTTP requests is not done here.

use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{MessageId, Principal};
use crate::log_repeated;
use crate::runtime::new_message_id;
use crate::serving::{ActorError, StoreHandle, Works, single_flight};
use crate::store::{Answer, Answered, AnyStore, Begin, Begun, Changed, RequestKey};

/// The maximum wait for another process that executes a request with the same key.
const KEY_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between polls during that wait.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// The interval between removals of expired keys, and the number removed by one statement.
const CLEANING: Duration = Duration::from_secs(60);
const CLEANING_BATCH: u16 = 1000;

/// The scope of a key. The same key in another scope is a different key.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The request's path.
    pub path: &'a str,
    /// Who sends it.
    pub principal: &'a Principal,
}

impl Scope<'_> {
    /// A client's key in this scope.
    pub(super) fn request_key(&self, key: String) -> RequestKey {
        let Scope {
            method,
            path,
            principal,
        } = self;
        // Keys of the time before there were principals belong to nobody.
        let scope = match principal {
            Principal::Open => format!("{method} {path} "),
            principal => format!("{method} {path} {principal}"),
        };
        RequestKey { scope, key }
    }
}

/// A request with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The key with its scope.
    pub key: RequestKey,
    /// The hash of the request's query and body.
    pub fingerprint: Vec<u8>,
}

impl KeyedRequest {
    /// A request with the client's `key`, fingerprinted by its `query` and `body`.
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

/// The answer to a request with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedAnswer {
    /// The answer.
    pub answer: Answer,
    /// True if the answer is that of an earlier or concurrent request with the same key.
    pub replayed: bool,
}

/// A reason why a request with a key has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key belongs to a request with other content.
    #[error("the key belongs to another request")]
    OtherRequest,
    /// Another process is still executing a request with this key.
    #[error("a request with this key is under way")]
    InFlight,
    /// The work does not allow the change, for this reason. Nothing was changed.
    #[error("the work does not allow the change")]
    Refused(Changed<()>),
    /// The request was not executed, or its outcome is unknown. It may be sent again with the same key.
    #[error(transparent)]
    Actor(#[from] ActorError),
}

type Outcome = Result<KeyedAnswer, KeyError>;
/// Requests under way, with their fingerprints.
type Flights = single_flight::SingleFlight<RequestKey, Vec<u8>, Outcome>;
type Flight = single_flight::Flight<Vec<u8>, Outcome>;
type Lead = single_flight::Lead<RequestKey, Vec<u8>, Outcome>;

/// Executes the requests of this process that carry a key.
#[derive(Clone)]
pub struct IdempotentRequests {
    store: StoreHandle,
    flights: Flights,
    tasks: TaskTracker,
    runtime: Handle,
    stopping: CancellationToken,
}

impl IdempotentRequests {
    /// Keeps keys in the store of these works. Requests are executed on the current runtime.
    pub fn new(works: &Works) -> Self {
        Self::over(works.store().clone())
    }

    /// Keeps keys in this store.
    pub fn over(store: StoreHandle) -> Self {
        Self {
            store,
            flights: Flights::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            stopping: CancellationToken::new(),
        }
    }

    /// Answers a request. `execute` is called at most once, with the seed for everything it creates. It continues if
    /// the caller stops waiting. Its answer is stored, its error is not.
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
                let replayed = |given| KeyedAnswer {
                    replayed: true,
                    ..given
                };
                return outcome(flight).await.map(replayed);
            }
            // Only a success keeps the key.
            if outcome(flight).await.is_ok() {
                return Err(KeyError::OtherRequest);
            }
        }
    }

    /// Waits until no request is under way. No request may begin meanwhile. Pending releases of keys are abandoned.
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
            Ok(Begun::Answered(answer)) => Ok(KeyedAnswer { answer, replayed: true }),
            Ok(Begun::InFlight) => Err(KeyError::InFlight),
            Ok(Begun::OtherRequest) => Err(KeyError::OtherRequest),
            Err(error) => Err(error.into()),
        };
        lead.end(outcome);
    }

    /// Begins the request once no other process executes one with the same key.
    async fn begin(&self, request: &KeyedRequest) -> Result<Begun, ActorError> {
        let begin = Begin {
            key: request.key.clone(),
            fingerprint: request.fingerprint.clone(),
            seed: new_message_id().to_string(),
        };
        let deadline = Instant::now() + KEY_TIMEOUT;
        loop {
            match self.store.begin(begin.clone()).await {
                Ok(Begun::InFlight) if Instant::now() < deadline => sleep(POLL_PAUSE).await,
                Err(error) => {
                    // It may have begun despite the error.
                    self.release(&begin.key, begin.seed);
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
            self.release(key, seed);
        }
        kept
    }

    /// Stores an answer and returns the valid one. That of another process wins if this one was too slow.
    async fn keep(&self, key: &RequestKey, seed: &str, answer: Answer) -> Result<KeyedAnswer, ActorError> {
        let answered = Answered {
            key: key.clone(),
            seed: seed.to_owned(),
            answer: answer.clone(),
        };
        let valid = self.store.keep_answer(answered).await?.unwrap_or(answer);
        Ok(KeyedAnswer {
            answer: valid,
            replayed: false,
        })
    }

    /// Releases a key in the background, so that the next try need not wait until its hold runs out.
    fn release(&self, key: &RequestKey, seed: String) {
        let (store, key, stopping) = (self.store.clone(), key.clone(), self.stopping.clone());
        let trying = async move {
            let release = || store.release_key(&key, &seed);
            if let Err(error) = release.retry(ExponentialBuilder::default()).await {
                log::debug!("a key was not released, and is free once its hold runs out: {error}");
            }
        };
        let releasing = async move { stopping.run_until_cancelled(trying).await };
        self.tasks.spawn_on(releasing, &self.runtime);
    }
}

/// Removes expired keys every minute until the shutdown.
pub async fn forget_expired_keys(store: AnyStore, shutdown: CancellationToken) {
    let cleaning = async {
        let mut pauses = interval(CLEANING);
        loop {
            pauses.tick().await;
            while let Ok(forgotten) = forget(&store).await
                && forgotten == u64::from(CLEANING_BATCH)
            {}
        }
    };
    shutdown.run_until_cancelled(cleaning).await;
}

async fn forget(store: &AnyStore) -> crate::store::Result<u64> {
    let forgotten = store.forget_expired(CLEANING_BATCH).await;
    forgotten.inspect_err(|error| log_repeated!(Warn, "expired idempotency keys stay for another minute", "{error}"))
}

async fn outcome(flight: Flight) -> Outcome {
    flight
        .outcome()
        .await
        .unwrap_or(Err(KeyError::Actor(ActorError::Failed)))
}
