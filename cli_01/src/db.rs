//! Reads and changes works directly in the database. It checks the schema, never changes it and creates no database.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pp_cli::config::{DatabaseArgs, DurationText};
use pp_cli::connect::{self, Schema};
use pp_lib::access::ApiKey;
use pp_lib::claims;
use pp_lib::domain::{
    ApiKeyId, AuditEntry, DeadLetter, DeadLetterId, Event, Json, KeyInfo, KeyLabel, KindName, Principal, Scopes, Stats,
    Work, WorkId, WorksPerDay,
};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{Declaration, KnownKind, Unchanged, list, set_policy};
use pp_lib::runtime::new_message_id;
use pp_lib::serving::{Actor, CreateWork, StoreHandle, StoreOptions};
use pp_lib::store::{
    AnyStore, AuditFilter, Changed, KeyCreated, LetterFilter, MOST_EVENTS, MOST_KEYS, MOST_KINDS, NewKey, Search,
    Selection, may_have_more_events,
};
use pp_lib::tls::Trust;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::commands::Works;
use crate::failure::Failure;

/// A database with a known schema.
pub(crate) struct Database {
    store: AnyStore,
    runtime: &'static Runtime,
    /// The end of the time limit.
    deadline: Instant,
    timeout: Duration,
}

impl Database {
    /// Opens the selected database, or the default.
    pub(crate) fn open(
        mut args: DatabaseArgs,
        default: &str,
        trust: &Trust,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + timeout;
        let address = args
            .address_or(default)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        // One caller needs one connection.
        args.pool = 1;
        args.timeout = args.timeout.min(timeout);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        // The runtime is leaked, because dropping it would wait for calls to a database that does not answer.
        let runtime = Box::leak(Box::new(runtime.map_err(unavailable)?));
        let opening = connect::store(&address, &args, trust, Schema::Check, timeout);
        let store = runtime.block_on(opening).map_err(unavailable)?;
        Ok(Self {
            store,
            runtime,
            deadline,
            timeout,
        })
    }

    /// A store actor with a feed without listeners. The dispatcher's poll finds due works within a second, while a
    /// notification might not be sent before this process ends.
    fn actor(&self) -> (Actor, StoreHandle) {
        let feed: AnyFeed = Arc::new(MemoryFeed::new());
        StoreHandle::start(&self.store, &feed, StoreOptions::default())
    }

    /// Fails unless the kind is declared and takes these arguments, as the API does.
    fn check(&self, wanted: &CreateWork) -> Result<(), Failure> {
        let CreateWork { kind, args, .. } = wanted;
        let Some(args) = args.as_ref().filter(|_| !kind.is_add_up_to()) else {
            return Ok(());
        };
        let kinds = self.ask(self.store.kinds())?.into_iter().map(KnownKind::of_row);
        let known = kinds.filter(KnownKind::is_declared).find(|known| known.name() == kind);
        let undeclared = || Failure::Usage(format!("nobody has declared a kind {kind}"));
        match known.ok_or_else(undeclared)?.faults(args).first() {
            Some(fault) => Err(Failure::Usage(format!("args{}: {}", fault.pointer, fault.detail))),
            None => Ok(()),
        }
    }

    /// Waits for an answer until the time limit.
    fn ask<T>(&self, question: impl Future<Output = Result<T, impl Display>>) -> Result<T, Failure> {
        let bounded = async { tokio::time::timeout_at(self.deadline.into(), question).await };
        match self.runtime.block_on(bounded) {
            Ok(answer) => answer.map_err(unavailable),
            Err(_) => Err(Failure::Unavailable(format!(
                "the database did not answer within {}",
                DurationText(self.timeout)
            ))),
        }
    }
}

impl Works for Database {
    fn work(&self, id: WorkId) -> Result<Work, Failure> {
        let found = self.ask(self.store.by_ids(&[id]))?;
        found.into_iter().next().ok_or_else(|| no_such_work(id))
    }

    fn search(&self, search: &Search) -> Result<Vec<Work>, Failure> {
        let (mut works, mut part): (Vec<Work>, Search) = (Vec::new(), search.clone());
        loop {
            let found = self.ask(self.store.search(&part))?;
            let more = part.may_have_more(&found);
            works.extend(found);
            part.limit = search
                .limit
                .saturating_sub(u16::try_from(works.len()).unwrap_or(u16::MAX));
            part.before = works.last().map(|work| work.id);
            if !more || part.limit == 0 {
                return Ok(works);
            }
        }
    }

    fn events(&self, id: WorkId) -> Result<Vec<Event>, Failure> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.id);
            let part = self.ask(self.store.events_after(id, after, MOST_EVENTS))?;
            let part = part.ok_or_else(|| no_such_work(id))?;
            let more = may_have_more_events(&part);
            events.extend(part);
            if !more {
                return Ok(events);
            }
        }
    }

    fn create(&self, wanted: CreateWork) -> Result<Work, Failure> {
        self.check(&wanted)?;
        let created = self.ask(async {
            let (_actor, store) = self.actor();
            store.create(wanted, new_message_id()).await
        })?;
        Ok(created.work)
    }

    fn update(&self, id: WorkId, args: &Json) -> Result<Work, Failure> {
        let changed = self.ask(async {
            let (_actor, store) = self.actor();
            store.update(&by(), id, args, None).await
        })?;
        applied(id, changed)
    }

    fn cancel(&self, id: WorkId) -> Result<Work, Failure> {
        applied(id, self.ask(self.store.cancel(&by(), id, None))?)
    }

    fn retry(&self, id: WorkId) -> Result<Work, Failure> {
        applied(id, self.ask(self.store.retry(&by(), id, None))?)
    }

    fn delete(&self, id: WorkId) -> Result<(), Failure> {
        applied(id, self.ask(self.store.delete(&by(), id, None))?)
    }

    fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>, Failure> {
        self.ask(self.store.dead_letters(filter, before, limit))
    }

    fn redrive(&self, which: &Selection, dry_run: bool) -> Result<u64, Failure> {
        match dry_run {
            true => self.ask(self.store.count_redrivable(which)),
            false => self.ask(self.store.redrive(&by(), which)),
        }
    }

    fn drop_letters(&self, which: &Selection, dry_run: bool) -> Result<u64, Failure> {
        match dry_run {
            true => self.ask(self.store.count_letters(which)),
            false => self.ask(self.store.drop_letters(&by(), which)),
        }
    }

    fn kinds(&self) -> Result<Vec<Value>, Failure> {
        let kinds = self.ask(list(&self.store))?;
        Ok(kinds.iter().map(shown).collect())
    }

    fn workers(&self, limit: u16) -> Result<Vec<Value>, Failure> {
        let workers = self.ask(claims::workers(&self.store, limit))?;
        Ok(workers.iter().map(shown).collect())
    }

    fn declare(&self, kind: &KindName, declaration: &Declaration) -> Result<Value, Failure> {
        if kind.is_add_up_to() {
            return Err(Failure::Ended(format!(
                "{kind} is built in, and declared by its workers"
            )));
        }
        let declared = self.ask(self.store.declare(&by(), kind, &declaration.json()))?;
        let full = || Failure::Ended(format!("there are {MOST_KINDS} kinds already"));
        Ok(shown(&KnownKind::of_row(declared.ok_or_else(full)?)))
    }

    fn set_policy(&self, kind: &KindName, change: &Json) -> Result<Value, Failure> {
        match self.ask(set_policy(&self.store, &by(), kind, change, None))? {
            Ok(kind) => Ok(shown(&kind)),
            Err(Unchanged::Invalid(why)) => Err(Failure::Usage(why)),
            Err(Unchanged::Missing) => Err(Failure::NotFound(format!("nobody has declared a kind {kind}"))),
            Err(Unchanged::OtherVersion) => Err(Failure::Ended(format!("kind {kind} keeps changing; try again"))),
        }
    }

    fn create_key(
        &self,
        name: &KeyLabel,
        scopes: &Scopes,
        works_per_day: Option<WorksPerDay>,
    ) -> Result<Value, Failure> {
        let key = ApiKey::random();
        let new = NewKey {
            name: name.clone(),
            scopes: scopes.clone(),
            works_per_day,
            digest: key.digest(),
        };
        match self.ask(self.store.create_key(&by(), &new))? {
            KeyCreated::Created(info) => {
                let mut shown = serde_json::to_value(info).unwrap_or_default();
                shown["key"] = key.secret().into();
                Ok(shown)
            }
            KeyCreated::NameTaken => Err(Failure::Ended(format!("a valid key is named {name}"))),
            KeyCreated::TooMany => Err(Failure::Ended(format!("there are {MOST_KEYS} valid keys already"))),
        }
    }

    fn keys(&self) -> Result<Vec<KeyInfo>, Failure> {
        self.ask(self.store.keys())
    }

    fn revoke_key(&self, id: ApiKeyId) -> Result<(), Failure> {
        let revoked = self.ask(self.store.revoke_key(&by(), id))?;
        revoked
            .map(drop)
            .ok_or_else(|| Failure::NotFound(format!("there is no key {id}")))
    }

    fn audit(&self, filter: &AuditFilter, before: Option<i64>, limit: u16) -> Result<Vec<AuditEntry>, Failure> {
        self.ask(self.store.audit(filter, before, limit))
    }

    fn stats(&self, kind: Option<&KindName>) -> Result<Stats, Failure> {
        self.ask(self.store.stats(kind))
    }

    fn rebuild_stats(&self) -> Result<(), Failure> {
        self.ask(self.store.rebuild())
    }
}

/// The user of this process, as the audit shows it.
fn by() -> Principal {
    let name = |variable| std::env::var(variable).ok();
    let user = name("USER")
        .or_else(|| name("LOGNAME"))
        .unwrap_or_else(|| "unknown".to_owned());
    Principal::CommandLine(user.chars().filter(|c| !c.is_control()).take(64).collect())
}

/// Unwraps a change. No version was given, so the version cannot be wrong.
fn applied<T>(id: WorkId, changed: Changed<T>) -> Result<T, Failure> {
    match changed {
        Changed::Applied(what) => Ok(what),
        Changed::UniqueHeld => Err(Failure::Ended(
            "another work of this kind with the same unique is unfinished".to_owned(),
        )),
        Changed::WrongStatus(status) => Err(Failure::Ended(format!(
            "work {id} is {status}; this status does not allow the command"
        ))),
        Changed::Missing | Changed::OtherVersion => Err(no_such_work(id)),
    }
}

fn shown(one: &impl serde::Serialize) -> Value {
    serde_json::to_value(one).unwrap_or_default()
}

fn no_such_work(id: WorkId) -> Failure {
    Failure::NotFound(format!("there is no work {id}"))
}

fn unavailable(error: impl Display) -> Failure {
    Failure::Unavailable(error.to_string())
}
