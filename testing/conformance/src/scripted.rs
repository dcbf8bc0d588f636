//! A store of which a test says what becomes of each call: it is passed on, fails, is lost on the way back, waits, panics.
//!
//! In front of a real store, since what a script does not name has to be as it always is. What a call was asked and what
//! it answered is kept as `Debug` writes it.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use pp_lib::domain::{
    ApiKeyId, AuditEntry, CreatedWork, DeadLetter, DeadLetterId, Event, Json, KeyDigest, KeyInfo, KindCounts, KindName,
    LetterGroup, Position, Principal, Progress, Seconds, SigningSecret, Stats, Unique, Work, WorkCode, WorkId,
    WorkerName,
};
use pp_lib::store::{
    Answer, Answered, AnyStore, ApiKeys, AuditFilter, AuditLog, Begin, Begun, Change, ChangeLog, Changed, Claim,
    ClaimedRun, Completed, Completion, Completions, DatabaseInfo, DeadLetters, DeadMessage, DispatchRows, EventLog,
    Extension, HeldRun, IdempotencyKeys, KeyCreated, KeyWorks, KindRow, KindRows, Leases, LetterFilter, NewKey,
    NewWork, Page, Place, Purged, Redriven, RequestKey, Result, Retention, RetentionTimes, RunState, RunningAttempt,
    RunningWork, Runs, Search, Selection, Store, StoreError, UntilDue, Views, WorkChanges, WorkRows, WorkerRow,
    WorksCounted,
};
use tokio::sync::{Semaphore, watch};

/// What makes another answer of one.
type Changing = Box<dyn FnOnce(&mut dyn Any) + Send>;

/// What becomes of a call.
pub enum Step {
    /// The real store answers.
    PassOn,
    /// Nothing is done.
    Fail(StoreError),
    /// The real store does it, and its answer is lost.
    Lose(StoreError),
    /// Nothing is done; the answer, of the type that the method has.
    Answer(Box<dyn Any + Send>),
    /// The real store does it, and its answer becomes another one.
    Change(Changing),
    /// The caller's task panics.
    Panic,
}

type Rule = Arc<dyn Fn(&str) -> Step + Send + Sync>;

#[derive(Default)]
struct Script {
    rule: Option<Rule>,
    gate: Option<Arc<Semaphore>>,
    asked: Vec<String>,
    answered: Vec<String>,
}

/// The store. Without a script everything is passed on.
pub struct ScriptedStore {
    inner: AnyStore,
    scripts: Mutex<HashMap<Call, Script>>,
    arrived: watch::Sender<()>,
}

/// Calls that wait.
pub struct Held(Arc<Semaphore>);

impl Held {
    /// Lets so many of them go on, or of those that come.
    pub fn let_go(&self, calls: usize) {
        self.0.add_permits(calls);
    }

    /// Lets all go on; none waits any more.
    pub fn end(&self) {
        self.0.close();
    }
}

impl ScriptedStore {
    /// In front of this store.
    pub fn new(inner: AnyStore) -> Arc<Self> {
        Arc::new(Self {
            inner,
            scripts: Mutex::default(),
            arrived: watch::Sender::default(),
        })
    }

    /// The store behind it.
    pub fn inner(&self) -> &AnyStore {
        &self.inner
    }

    /// From now on `rule` says what becomes of these calls; it is given the arguments as `Debug` writes a tuple of them.
    pub fn on(&self, calls: &[Call], rule: impl Fn(&str) -> Step + Send + Sync + 'static) {
        let rule: Rule = Arc::new(rule);
        for call in calls {
            self.scripts().entry(*call).or_default().rule = Some(Arc::clone(&rule));
        }
    }

    /// From now on these calls are passed on.
    pub fn pass_on(&self, calls: &[Call]) {
        self.on(calls, |_| Step::PassOn);
    }

    /// From now on these calls fail.
    pub fn fail(&self, calls: &[Call], error: StoreError) {
        self.on(calls, move |_| Step::Fail(error.clone()));
    }

    /// From now on these calls panic.
    pub fn panic(&self, calls: &[Call]) {
        self.on(calls, |_| Step::Panic);
    }

    /// This becomes of so many calls that come next, and the others are passed on.
    pub fn next(&self, call: Call, times: usize, step: impl Fn() -> Step + Send + Sync + 'static) {
        let left = AtomicUsize::new(times);
        self.on(&[call], move |_| {
            let one_less = |left: usize| left.checked_sub(1);
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
                Ok(_) => step(),
                Err(_) => Step::PassOn,
            }
        });
    }

    /// From now on these calls wait before anything else becomes of them.
    pub fn hold(&self, calls: &[Call]) -> Held {
        let gate = Arc::new(Semaphore::new(0));
        for call in calls {
            self.scripts().entry(*call).or_default().gate = Some(Arc::clone(&gate));
        }
        Held(gate)
    }

    /// How often this was called, those that wait included.
    pub fn calls(&self, call: Call) -> usize {
        self.asked(call).len()
    }

    /// What each of these calls was asked.
    pub fn asked(&self, call: Call) -> Vec<String> {
        self.scripts().entry(call).or_default().asked.clone()
    }

    /// What each of these calls that ended answered.
    pub fn answered(&self, call: Call) -> Vec<String> {
        self.scripts().entry(call).or_default().answered.clone()
    }

    /// Waits until this was called so often.
    pub async fn is_called(&self, call: Call, times: usize) {
        let mut arrived = self.arrived.subscribe();
        // The sender is this very store.
        let _ = arrived.wait_for(|()| self.calls(call) >= times).await;
    }

    fn scripts(&self) -> MutexGuard<'_, HashMap<Call, Script>> {
        self.scripts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn play<T: Debug + Send + 'static>(
        &self,
        call: Call,
        asked: String,
        pass_on: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let gate = {
            let mut scripts = self.scripts();
            let script = scripts.entry(call).or_default();
            script.asked.push(asked.clone());
            script.gate.clone()
        };
        self.arrived.send_replace(());
        if let Some(gate) = gate
            && let Ok(permit) = gate.acquire().await
        {
            permit.forget();
        }
        let rule = self.scripts().entry(call).or_default().rule.clone();
        let answer = match rule.map_or(Step::PassOn, |rule| rule(&asked)) {
            Step::PassOn => pass_on.await,
            Step::Fail(error) => Err(error),
            Step::Lose(error) => pass_on.await.and(Err(error)),
            Step::Answer(answer) => match answer.downcast() {
                Ok(answer) => Ok(*answer),
                Err(_) => panic!("{call:?} answers something else"),
            },
            Step::Change(change) => pass_on.await.map(|mut answer| {
                change(&mut answer);
                answer
            }),
            Step::Panic => panic!("{call:?} panics, as the script says"),
        };
        let answered = format!("{answer:?}");
        self.scripts().entry(call).or_default().answered.push(answered);
        answer
    }
}

impl Step {
    /// This answer.
    pub fn answer<T: Send + 'static>(answer: T) -> Self {
        Self::Answer(Box::new(answer))
    }

    /// What the real store answers, changed.
    pub fn change<T: 'static>(change: impl FnOnce(&mut T) + Send + 'static) -> Self {
        Self::Change(Box::new(|answer| match answer.downcast_mut() {
            Some(answer) => change(answer),
            None => panic!("the answer is of another type"),
        }))
    }
}

/// Makes every method of the ports a call that the script is asked about.
macro_rules! every_call {
    ($($port:ident { $($call:ident $method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+ })+) => {
        /// A method of the store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Call {$($(
            #[doc = concat!("[`", stringify!($port), "::", stringify!($method), "`]")]
            $call,
        )+)+}

        impl Call {
            /// All of them.
            pub const ALL: &[Self] = &[$($(Self::$call,)+)+];
        }

        $(#[async_trait]
        impl $port for ScriptedStore {$(
            async fn $method(&self, $($argument: $type),*) -> Result<$answer> {
                let asked = format!("{:?}", ($($argument,)*));
                self.play(Call::$call, asked, self.inner.$method($($argument),*)).await
            }
        )+})+
    };
}

every_call! {
    WorkRows {
        Create create(works: &[NewWork]) -> Vec<Option<CreatedWork>>;
        CreateAll create_all(works: &[NewWork]) -> Option<Vec<CreatedWork>>;
        ByUnique by_unique(kind: &KindName, unique: &Unique, since: i64) -> Option<Work>;
        ByIds by_ids(ids: &[WorkId]) -> Vec<Work>;
        ByCodes by_codes(codes: &[WorkCode]) -> Vec<Work>;
        Search search(search: &Search) -> Vec<Work>;
        Count count(search: &Search, most: u32) -> u32;
    }
    WorkChanges {
        Update update(by: &Principal, id: WorkId, args: &Json, version: Option<i64>, pause: Duration) -> Changed<Work>;
        Cancel cancel(by: &Principal, id: WorkId, version: Option<i64>) -> Changed<Work>;
        Retry retry(by: &Principal, id: WorkId, version: Option<i64>) -> Changed<Work>;
        Delete delete(by: &Principal, id: WorkId, version: Option<i64>) -> Changed<()>;
    }
    ApiKeys {
        CreateKey create_key(by: &Principal, new: &NewKey) -> KeyCreated;
        CreateFirstKey create_first_key(by: &Principal, new: &NewKey) -> bool;
        RevokeKey revoke_key(by: &Principal, id: ApiKeyId) -> Option<KeyInfo>;
        ReadKeys keys() -> Vec<KeyInfo>;
        ValidKeys valid_keys() -> Vec<(KeyDigest, KeyInfo)>;
        KeysRevision keys_revision() -> i64;
        CountWorks count_works(counts: &[KeyWorks]) -> Vec<WorksCounted>;
    }
    AuditLog {
        ReadAudit audit(filter: &AuditFilter, before: Option<i64>, limit: u16) -> Vec<AuditEntry>;
        PurgeAudit purge_audit(kept: Duration, limit: u16) -> u64;
    }
    EventLog {
        EventsAfter events_after(id: WorkId, after: i64, limit: u16) -> Option<Vec<Event>>;
    }
    ChangeLog {
        Head head() -> Position;
        Changes changes(after: &Position, limit: u16) -> Option<Page<Change>>;
        Touched touched(after: &Position, limit: u16) -> Option<Page<WorkId>>;
    }
    DispatchRows {
        Claim claim(skipped: &[KindName], within: Option<Duration>, hold: Duration, limit: u16) -> Vec<Claim>;
        PendingKinds pending_kinds() -> Vec<KindName>;
        MarkSent mark_sent(claims: &[Claim]) -> ();
        GiveBack give_back(claims: &[Claim]) -> ();
        ReleaseSent release_sent(kind: &KindName, longer_than: Duration) -> u64;
        NextDue next_due(skipped: &[KindName]) -> Option<Duration>;
        OldestDue oldest_due() -> Vec<(KindName, Duration)>;
        LoseSent lose_sent(max_lost: i32) -> u64;
        LoseRunning lose_running(max_lost: i32) -> u64;
        Clock clock() -> Duration;
        ShortenWaits shorten_waits(most: Option<u32>) -> u64;
    }
    Completions {
        Complete complete(kind: &KindName, completions: &[Completion]) -> Vec<Completed>;
        ExtendLeases extend_leases(kind: &KindName, attempts: &[RunningAttempt], lease: Duration) -> Vec<bool>;
        ReportProgress report_progress(kind: &KindName, reports: &[(RunningAttempt, Progress)]) -> u64;
        HandBack hand_back(kind: &KindName, attempts: &[RunningAttempt]) -> u64;
        Rescue rescue(max_lost: i32, limit: u16) -> u64;
    }
    DeadLetters {
        AddDeadLetters add_dead_letters(messages: &[DeadMessage]) -> ();
        ReadDeadLetters dead_letters(filter: &LetterFilter, before: Option<DeadLetterId>, limit: u16) -> Vec<DeadLetter>;
        LetterGroups letter_groups(kind: Option<&KindName>, limit: u16) -> Vec<LetterGroup>;
        Redrive redrive(by: &Principal, which: &Selection) -> u64;
        CountRedrivable count_redrivable(which: &Selection) -> u64;
        CountLetters count_letters(which: &Selection) -> u64;
        DropLetters drop_letters(by: &Principal, which: &Selection) -> u64;
        ClaimRedriven claim_redriven(hold: Duration, limit: u16) -> Vec<Redriven>;
        EndRedriven end_redriven(sent: &[Redriven]) -> ();
    }
    IdempotencyKeys {
        Begin begin(requests: &[Begin], hold: Duration, keep: Duration) -> Vec<Begun>;
        KeepAnswers keep_answers(answered: &[Answered]) -> Vec<Option<Answer>>;
        ReleaseKey release_key(key: &RequestKey, seed: &str) -> ();
        ForgetExpired forget_expired(limit: u16) -> u64;
    }
    KindRows {
        Declare declare(by: &Principal, kind: &KindName, declaration: &Json) -> Option<KindRow>;
        SetOverrides set_overrides(by: &Principal, kind: &KindName, overrides: &Json, version: Option<i64>) -> Changed<KindRow>;
        ReadKinds kinds() -> Vec<KindRow>;
        KindsRevision kinds_revision() -> i64;
        SetSecret set_secret(by: &Principal, kind: &KindName, secret: &SigningSecret, keep: Duration) -> Changed<Option<i64>>;
        ReadSecrets secrets(kind: &KindName) -> Vec<SigningSecret>;
        WorkerSeen worker_seen(kinds: &[KindName]) -> u64;
    }
    Leases {
        Hold hold(name: &str, holder: &str, hold: Duration) -> bool;
        Release release(name: &str, holder: &str) -> ();
        Held held(prefix: &str) -> u64;
    }
    Runs {
        ClaimRuns claim_runs(kinds: &[KindName], places: &[Place]) -> Vec<ClaimedRun>;
        UntilDue until_due(kinds: &[KindName]) -> Vec<UntilDue>;
        ExtendRuns extend_runs(extensions: &[Extension]) -> Vec<Option<i64>>;
        RunStates run_states(held: &[HeldRun]) -> Vec<RunState>;
        TellProgress tell_progress(told: &[(HeldRun, Progress)]) -> ();
        WorkersHeard workers_heard(workers: &[(WorkerName, Vec<KindName>)]) -> ();
        Workers workers(limit: u16) -> Vec<WorkerRow>;
        RunningWorks running_works(limit: u16) -> Vec<RunningWork>;
    }
    Views {
        ReadStats stats(kind: Option<&KindName>) -> Stats;
        CountKinds kind_counts() -> Vec<KindCounts>;
        ReadSeconds seconds() -> Seconds;
        RollUp roll_up() -> u64;
        Rebuild rebuild() -> ();
    }
    Retention {
        Purge purge(after: WorkId, times: &RetentionTimes, limit: u16) -> Purged;
    }
    Store {
        Check check() -> ();
        CheckWrites check_writes() -> ();
        About about() -> DatabaseInfo;
    }
}
