//! The kinds as a process knows them. A task follows the store, so that no request asks it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Declaration, Delivery, KnownKind, Policy, naming};
use crate::broker::AnyBroker;
use crate::broker::queues::NamesOfKind;
use crate::domain::{ByStatus, Fault, Json, KindName, Principal};
use crate::log_repeated;
use crate::runtime::{Retry, supervise};
use crate::store::{AnyStore, Changed, MOST_KINDS, Result};

/// The interval of looks at the store.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two looks for a kind that is unknown here.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// The most concurrent questions and changes.
const CALLS: usize = 4;
/// The most changes of settings that one change may lose against.
const TRIES: usize = 10;
/// The most similar names in an answer.
const MOST_ALIKE: usize = 3;
/// The lowest similarity of such a name, from 0 to 1.
const ALIKE: f64 = 0.7;

/// The kinds of a store as of a second ago. Clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    store: AnyStore,
    broker: AnyBroker,
    known: watch::Sender<Arc<Known>>,
    last_look: Mutex<Option<Look>>,
    calls: Semaphore,
}

/// A reading of the store.
#[derive(Clone, Copy)]
struct Look {
    begun_at: Instant,
    succeeded: bool,
}

/// What a process knows of the kinds.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// `None` until the store has answered.
    revision: Option<i64>,
    kinds: BTreeMap<KindName, Arc<KnownKind>>,
}

/// A change of settings that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// A setting is unknown or out of its bounds; a sentence for the client.
    Invalid(String),
    /// The kind is at another version.
    OtherVersion,
    /// Nobody has declared the kind.
    Missing,
}

/// The reason why arguments are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownKind {
    /// No program has declared the kind. These are similar.
    Undeclared(Vec<KindName>),
    /// The store does not tell its kinds.
    Unloaded,
    /// The arguments have these faults.
    Invalid(Vec<Fault>),
}

impl Registry {
    /// The kinds of this store, none at first. Queues that policies name are told to the broker.
    pub fn new(store: AnyStore, broker: AnyBroker) -> Self {
        Self(Arc::new(Inner {
            store,
            broker,
            known: watch::channel(Arc::default()).0,
            last_look: Mutex::default(),
            calls: Semaphore::new(CALLS),
        }))
    }

    /// Follows the store until `shutdown` is cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let token = shutdown.clone();
        supervise("kinds", None, shutdown, (), move |()| {
            self.clone().refresh_regularly(token.clone()).boxed()
        })
        .await;
    }

    async fn refresh_regularly(self, shutdown: CancellationToken) {
        let mut retry = Retry::new("reading the kinds");
        while !shutdown.is_cancelled() {
            match self.refresh().await {
                Ok(()) => {
                    retry.recovered();
                    shutdown.run_until_cancelled(sleep(INTERVAL)).await;
                }
                Err(error) => {
                    retry.wait(&error, &shutdown).await;
                }
            }
        }
    }

    /// Reads the kinds if they have changed.
    pub async fn refresh(&self) -> Result<()> {
        self.look(&mut *self.0.last_look.lock().await).await
    }

    async fn look(&self, last_look: &mut Option<Look>) -> Result<()> {
        let begun_at = Instant::now();
        let read = self.read().await;
        let succeeded = read.is_ok();
        *last_look = Some(Look { begun_at, succeeded });
        read
    }

    async fn read(&self) -> Result<()> {
        let revision = Some(self.0.store.kinds_revision().await?);
        if self.0.known.borrow().revision == revision {
            return Ok(());
        }
        let rows = self.0.store.kinds().await?;
        let kinds: BTreeMap<KindName, Arc<KnownKind>> = rows
            .into_iter()
            .map(|row| (row.name.clone(), Arc::new(KnownKind::of_row(row))))
            .collect();
        for kind in kinds.values() {
            if let Some(fault) = &kind.fault {
                log_repeated!(
                    Error,
                    format!("what is stored of kind {} is not used", kind.name()),
                    "{fault}"
                );
            }
        }
        let names: Vec<NamesOfKind<'_>> = kinds.values().map(|kind| names(kind)).collect();
        for why in self.0.broker.name_queues(&names) {
            log_repeated!(Error, "a queue keeps its usual name", "{why}");
        }
        self.0.known.send_replace(Arc::new(Known { revision, kinds }));
        Ok(())
    }

    /// Waits until the store has told its kinds with this one among them, so that its queues have their names, or there is
    /// no room for it. Answers `false` if the stop came first.
    pub async fn knows(&self, kind: &KindName, shutdown: &CancellationToken) -> bool {
        let is_known = |known: &Known| known.kinds.contains_key(kind) || known.kinds.len() as i64 >= MOST_KINDS;
        while !is_known(&self.0.known.borrow()) {
            let looking = async {
                if !self.look_again().await {
                    sleep(SHORTEST_INTERVAL).await;
                }
            };
            if shutdown.run_until_cancelled(looking).await.is_none() {
                return false;
            }
        }
        true
    }

    /// All kinds as the store has them now, in the order of their names.
    pub async fn list(&self) -> Result<Vec<KnownKind>> {
        let _call = self.0.calls.acquire().await;
        list(&self.0.store).await
    }

    /// Declares a kind. `None` if there are too many.
    pub async fn declare(
        &self,
        by: &Principal,
        kind: &KindName,
        declaration: &Declaration,
    ) -> Result<Option<KnownKind>> {
        let _call = self.0.calls.acquire().await;
        if self.0.store.declare(by, kind, &declaration.json()).await?.is_none() {
            return Ok(None);
        }
        if declaration.delivery.is_claimed() {
            // What was sent before is claimed from now on.
            self.0.store.release_sent(kind, Duration::ZERO).await?;
        }
        self.after_change(kind).await
    }

    /// Changes an operator's settings of a kind by a JSON merge patch. A given version must match.
    pub async fn set(
        &self,
        by: &Principal,
        kind: &KindName,
        change: &Json,
        version: Option<i64>,
    ) -> Result<std::result::Result<KnownKind, Unchanged>> {
        let _call = self.0.calls.acquire().await;
        if let Err(unchanged) = set_policy(&self.0.store, by, kind, change, version).await? {
            return Ok(Err(unchanged));
        }
        Ok(self.after_change(kind).await?.ok_or(Unchanged::Missing))
    }

    async fn after_change(&self, kind: &KindName) -> Result<Option<KnownKind>> {
        self.refresh().await?;
        let kinds = list(&self.0.store).await?;
        Ok(kinds.into_iter().find(|known| known.name() == kind))
    }

    /// A kind, if the store had it.
    pub fn get(&self, kind: &KindName) -> Option<Arc<KnownKind>> {
        self.0.known.borrow().kinds.get(kind).cloned()
    }

    /// The kinds that may be demanded and whose works are claimed from their rows, in the order of their names.
    pub(crate) fn claimed(&self) -> Vec<KindName> {
        let known = self.0.known.borrow();
        // Nobody but PP makes works of its own kinds, so their queues are not read.
        let claimed = known
            .kinds
            .values()
            .filter(|kind| kind.delivery.is_claimed() && !kind.name().is_own());
        claimed.map(|kind| kind.name().clone()).collect()
    }

    /// The kinds whose works are pushed to a URL, in the order of their names.
    pub fn pushed(&self) -> Vec<KindName> {
        let known = self.0.known.borrow();
        let pushed = known.kinds.values().filter(|kind| kind.delivery == Delivery::Push);
        pushed.map(|kind| kind.name().clone()).collect()
    }

    /// Waits until the pushed kinds are others than these.
    pub async fn pushed_differ_from(&self, kinds: &[KindName]) {
        let mut known = self.0.known.subscribe();
        while self.pushed() == kinds && known.changed().await.is_ok() {}
    }

    /// Tells of changes of the kinds.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Known>> {
        self.0.known.subscribe()
    }

    /// The policy of a worker for a kind with a queue: what it declares itself, under the operator's settings. It follows
    /// both. Its queue is the one in force, where the messages are sent. A kind whose works others claim is paused for it.
    pub fn follow(&self, kind: KindName, declared: Policy) -> watch::Receiver<Policy> {
        self.followed(kind, declared.clone(), move |row| {
            let policy = declared.with(&row.row.overrides).ok()?;
            Some(Policy {
                queue: row.policy.queue.clone(),
                paused: policy.paused || row.delivery != Delivery::Queue,
                ..policy
            })
        })
    }

    /// The policy in force of a pushed kind. It is paused while the kind is not pushed.
    pub fn follow_pushed(&self, kind: KindName) -> watch::Receiver<Policy> {
        let policy_of = |row: &KnownKind| Policy {
            paused: row.policy.paused || row.delivery != Delivery::Push,
            ..row.policy.clone()
        };
        let unknown = Policy {
            paused: true,
            ..Policy::DEFAULT
        };
        let first = self.get(&kind).map_or(unknown, |row| policy_of(&row));
        self.followed(kind, first, move |row| Some(policy_of(row)))
    }

    /// A policy that follows the kind.
    fn followed(
        &self,
        kind: KindName,
        first: Policy,
        policy_of: impl Fn(&KnownKind) -> Option<Policy> + Send + 'static,
    ) -> watch::Receiver<Policy> {
        let mut known = self.0.known.subscribe();
        let (policy, followed) = watch::channel(first);
        tokio::spawn(async move {
            loop {
                let row = known.borrow_and_update().kinds.get(&kind).cloned();
                if let Some(new) = row.and_then(|row| policy_of(&row)) {
                    policy.send_if_modified(|policy| {
                        let differs = *policy != new;
                        *policy = new;
                        differs
                    });
                }
                tokio::select! {
                    changed = known.changed() => if changed.is_err() { return },
                    () = policy.closed() => return,
                }
            }
        });
        followed
    }

    /// Fails unless the kind is declared and takes these arguments. The built-in kind is always there, and checks its
    /// arguments itself.
    pub async fn check(&self, kind: &KindName, args: &Json) -> std::result::Result<(), UnknownKind> {
        if kind.is_add_up_to() {
            return Ok(());
        }
        match self.find(kind).await?.faults(args) {
            faults if faults.is_empty() => Ok(()),
            faults => Err(UnknownKind::Invalid(faults)),
        }
    }

    /// A declared kind.
    pub(crate) async fn find(&self, kind: &KindName) -> std::result::Result<Arc<KnownKind>, UnknownKind> {
        let declared = || self.get(kind).filter(|known| known.is_declared());
        if let Some(known) = declared() {
            return Ok(known);
        }
        if !self.look_again().await {
            return Err(UnknownKind::Unloaded);
        }
        declared().ok_or_else(|| UnknownKind::Undeclared(self.alike(kind)))
    }

    /// Finds a kind whose declaration may have changed a moment ago: reads the kinds again unless `holds` for it.
    pub(crate) async fn find_where(
        &self,
        kind: &KindName,
        holds: impl Fn(&KnownKind) -> bool,
    ) -> std::result::Result<Arc<KnownKind>, UnknownKind> {
        let known = self.find(kind).await?;
        if holds(&known) || !self.look_again().await {
            return Ok(known);
        }
        self.find(kind).await
    }

    /// Reads the kinds, so that all are known that were declared before this call; false if the store does not tell them.
    /// Calls at the same time share a look.
    async fn look_again(&self) -> bool {
        let called_at = Instant::now();
        let mut last_look = self.0.last_look.lock().await;
        match *last_look {
            Some(Look { begun_at, succeeded }) if begun_at >= called_at => return succeeded,
            Some(Look { begun_at, .. }) => sleep_until(begun_at + SHORTEST_INTERVAL).await,
            None => {}
        }
        let looked = self.look(&mut last_look).await;
        if let Err(error) = &looked {
            log::debug!("the kinds were not read: {error}");
        }
        looked.is_ok()
    }

    /// Declared kinds with similar names, the most similar first.
    fn alike(&self, kind: &KindName) -> Vec<KindName> {
        let known = self.0.known.borrow().clone();
        let declared = known.kinds.values().filter(|known| known.is_declared());
        let mut alike: Vec<(f64, &KindName)> = declared
            .map(|known| (strsim::jaro_winkler(known.name().as_str(), kind.as_str()), known.name()))
            .filter(|(similarity, _)| *similarity >= ALIKE)
            .collect();
        alike.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        alike
            .into_iter()
            .take(MOST_ALIKE)
            .map(|(_, name)| name.clone())
            .collect()
    }
}

/// The names of a kind's queues.
fn names(kind: &KnownKind) -> NamesOfKind<'_> {
    NamesOfKind {
        kind: kind.name(),
        demands: kind.policy.queue.as_deref(),
        dead_letters: kind.policy.dead_letter_queue.as_deref(),
    }
}

/// All kinds of a store with the numbers of their works, in the order of their names.
pub async fn list(store: &AnyStore) -> Result<Vec<KnownKind>> {
    let rows = store.kinds().await?;
    let counts = store.kind_counts().await?;
    let mut counts: HashMap<KindName, ByStatus> = counts.into_iter().map(|count| (count.kind, count.works)).collect();
    let counted = rows.into_iter().map(|row| KnownKind {
        works: Some(counts.remove(&row.name).unwrap_or_default()),
        ..KnownKind::of_row(row)
    });
    let mut kinds: Vec<KnownKind> = counted.collect();
    let faults: Vec<Option<String>> = kinds
        .iter()
        .map(|kind| naming::fault(kind.name(), &kind.policy, &kinds))
        .collect();
    for (kind, fault) in kinds.iter_mut().zip(faults) {
        kind.fault = kind.fault.take().or(fault);
    }
    Ok(kinds)
}

/// Changes an operator's settings of a kind by a JSON merge patch (RFC 7396): `null` takes a setting back. A given version
/// must match.
pub async fn set_policy(
    store: &AnyStore,
    by: &Principal,
    kind: &KindName,
    change: &Json,
    version: Option<i64>,
) -> Result<std::result::Result<KnownKind, Unchanged>> {
    for _ in 0..TRIES {
        let kinds: Vec<KnownKind> = store.kinds().await?.into_iter().map(KnownKind::of_row).collect();
        let found = kinds.iter().find(|known| known.name() == kind);
        let Some(known) = found.filter(|known| known.is_declared()) else {
            return Ok(Err(Unchanged::Missing));
        };
        if version.is_some_and(|version| version != known.row.version) {
            return Ok(Err(Unchanged::OtherVersion));
        }
        let overrides = match known.overridden(change) {
            Ok(overrides) => overrides,
            Err(why) => return Ok(Err(Unchanged::Invalid(why))),
        };
        if let Some(why) = known.misnamed(&overrides, &kinds) {
            return Ok(Err(Unchanged::Invalid(why)));
        }
        let read = Some(known.row.version);
        if let Changed::Applied(row) = store.set_overrides(by, kind, &overrides, read).await? {
            return Ok(Ok(KnownKind::of_row(row)));
        }
    }
    Ok(Err(Unchanged::OtherVersion))
}
