//! Who changes the works, and who reads them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use pp_lib::domain::{AddUpTo, Principal, WorkId};
use pp_lib::store::postgres::PostgresStore;
use pp_lib::store::{Changed, WorkChanges as _};
use rand::RngExt as _;
use tokio::runtime::Handle;

use super::judge::Judge;
use super::system::System;
use pp_testkit::client::Api;
use pp_testkit::signals::Stop;

/// So many change works at once, each after a pause: about 500 changes a second.
const WRITERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(6);
/// So many read at once, on each API process.
const READERS: usize = 3;

/// Those who change works straight in the database, without telling the change feed: no API knows of it but by the
/// feed's own means.
pub(super) struct Writers<'a> {
    runtime: Handle,
    store: PostgresStore,
    works: &'a [i64],
    judge: &'a Judge,
}

impl<'a> Writers<'a> {
    pub(super) fn new(system: &System, works: &'a [i64], judge: &'a Judge) -> Self {
        Self {
            runtime: system.runtime.handle().clone(),
            store: system.store.clone(),
            works,
            judge,
        }
    }

    pub(super) fn write(&self, changes: u32, stop: &Stop) -> Result<()> {
        let left = AtomicU32::new(changes);
        let writer = async || {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                stop.check()?;
                self.change().await?;
                tokio::time::sleep(PAUSE).await;
            }
            anyhow::Ok(())
        };
        let writers = (0..WRITERS).map(|_| writer());
        self.runtime.block_on(futures_util::future::try_join_all(writers))?;
        Ok(())
    }

    async fn change(&self) -> Result<()> {
        let work = rand::rng().random_range(0..self.works.len());
        let bound = AddUpTo::try_from(rand::rng().random_range(1..=1000_i64)).unwrap_or(AddUpTo::MIN);
        let id = WorkId(self.works[work]);
        match self
            .store
            .update(&Principal::Open, id, &bound.args(), None, Duration::ZERO)
            .await?
        {
            Changed::Applied(changed) => self.judge.acknowledged(work, changed.version),
            other => bail!("work {id} cannot be changed: {other:?}"),
        }
        Ok(())
    }
}

/// Those who read works over the APIs.
pub(super) struct Readers<'a> {
    ports: [u16; 2],
    works: &'a [i64],
    judge: &'a Judge,
    sources: Mutex<BTreeMap<String, u64>>,
}

/// One of them.
pub(super) struct Reader<'a> {
    all: &'a Readers<'a>,
    port: u16,
}

impl<'a> Readers<'a> {
    pub(super) fn new(system: &System, works: &'a [i64], judge: &'a Judge) -> Self {
        Self {
            ports: system.ports,
            works,
            judge,
            sources: Mutex::default(),
        }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Reader<'_>> {
        let ports = self.ports.iter().flat_map(|port| [*port; READERS]);
        ports.map(|port| Reader { all: self, port })
    }

    /// Where the answers came from, in the words of `Cache-Status`.
    pub(super) fn sources(&self) -> BTreeMap<String, u64> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Reader<'_> {
    /// Reads one work after the other until the end.
    pub(super) fn read(&self, ended: &AtomicBool) -> Result<()> {
        let client = Api::at(self.port);
        while !ended.load(Ordering::Relaxed) {
            let work = rand::rng().random_range(0..self.all.works.len());
            let sent = Instant::now();
            let answer = client.try_get(&format!("/work/{}", self.all.works[work]))?;
            ensure!(answer.status == 200, "a read was answered with {answer:?}");
            self.note(match answer.header("cache-status") {
                "" => "none",
                source => source,
            });
            match answer.json()["version"].as_i64() {
                Some(version) => self.all.judge.read(work, version, sent),
                None => bail!("a work without a version: {answer:?}"),
            }
        }
        Ok(())
    }

    fn note(&self, source: &str) {
        let mut sources = self.all.sources.lock().unwrap_or_else(PoisonError::into_inner);
        *sources.entry(source.to_owned()).or_default() += 1;
    }
}
