//! The embedded system under test: one process and its file; and how each fault happens to it.

mod reading;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::disk::Disk;
use super::evidence::{Evidence, Letter};
use super::fault::Fault;
use super::load::{Load, Target};
use super::plan::Round;
use super::system::{DRAIN_LIMIT, PACE, READY_LIMIT, Struck, System, are_declared, drain_limit, frozen, killed};
use super::told::{Attempt, Identity, Told, now};
use super::{calls, handlers, outside};
use pp_testkit::client::Api;
use pp_testkit::service::Service;
use pp_testkit::signals::Stop;
use pp_testkit::{ports, wait};

/// How many requests have to be refused before the disk counts as full.
const REFUSALS: usize = 5;
/// How long that may take, and until requests are answered again.
const FULL_LIMIT: Duration = Duration::from_secs(60);

/// The system. Everything ends with it, the process before its disk.
pub struct Embedded {
    service: Service,
    client: Api,
    /// In Python.
    workers: [Service; 2],
    /// The file of the handlers' calls, never on the disk that is filled.
    calls: PathBuf,
    disk: Option<Disk>,
}

impl Embedded {
    /// Starts the program on a data folder within `folder`; on a disk of `mebibytes`, if given.
    ///
    /// # Errors
    /// When it does not come up, or the disk cannot be mounted.
    pub fn start(folder: &Path, mebibytes: Option<u32>) -> Result<Self> {
        let disk = mebibytes.map(|size| Disk::mount(folder, size)).transpose()?;
        let data = disk.as_ref().map_or(folder, Disk::path).join("data");
        let calls = folder.join("calls");
        let [port] = ports::free()?;
        let variables = vec![
            ("PP_API_BIND", format!("127.0.0.1:{port}")),
            ("PP_DATA_DIR", data.to_string_lossy().into_owned()),
            ("PP_PACE", PACE.to_owned()),
            (handlers::CALLS, calls.display().to_string()),
        ];
        let mut system = Self {
            service: Service::new("pp_standalone", "pp_chaos_standalone", folder, variables)?,
            workers: outside::start(folder, port, &calls)?,
            client: Api::at(port),
            calls,
            disk,
        };
        system.service.start()?;
        system.is_ready()?;
        Ok(system)
    }

    fn is_ready(&mut self) -> Result<()> {
        wait::until_ok("pp_standalone is not ready", READY_LIMIT, || {
            self.service.ensure_running()?;
            ensure!(self.client.is_ready(), "its readiness is not 200");
            Ok(())
        })?;
        are_declared(&self.client)
    }

    fn happen(&mut self, round: &Round, load: &Load, stop: &Stop) -> Result<()> {
        match round.fault {
            Fault::ProgramKilled => self.service.kill()?,
            Fault::ProgramStopped => self.service.stop()?,
            Fault::WorkerKilled => return killed(&mut [&mut self.workers[round.victim]], || stop.pause(round.lasts)),
            Fault::WorkerFrozen => return frozen(&mut [&mut self.workers[round.victim]], || stop.pause(round.lasts)),
            Fault::DiskFull => return self.disk_full(round, load, stop),
            other => bail!("{} is for the distributed system", other.name()),
        }
        stop.pause(round.lasts)?;
        self.service.start()?;
        self.is_ready()
    }

    fn disk_full(&mut self, round: &Round, load: &Load, stop: &Stop) -> Result<()> {
        let disk = self.disk.as_ref().context("there is no disk to be filled")?;
        disk.fill()?;
        let filled = now();
        let refused = attempts_since(load, filled, REFUSALS, stop, |attempt| attempt.refused);
        let waited = stop.pause(round.lasts);
        disk.free()?;
        let freed = now();
        refused.context("the disk is full, and requests are not answered with 503")?;
        waited?;
        attempts_since(load, freed, 1, stop, |attempt| attempt.ok)
            .context("there is room again, and requests are refused")?;
        self.is_ready()
    }

    /// What was acknowledged before `began` and is unfinished now: how many works, and how long until all are finished.
    fn recovery(&self, load: &Load, began: f64, stop: &Stop) -> Result<(usize, Duration)> {
        let id = |identity: &Identity| match identity {
            Identity::Work(id) => Some(*id),
            Identity::Message(_) | Identity::Code(_) => None,
        };
        let before: HashSet<i64> = {
            let told = load.so_far();
            told.acknowledged
                .iter()
                .filter(|one| one.at < began)
                .filter_map(|one| id(&one.identity))
                .collect()
        };
        let (begun, mut recovered) = (Instant::now(), None);
        loop {
            let unfinished = self.unfinished()?.iter().filter(|id| before.contains(id)).count();
            let count = *recovered.get_or_insert(unfinished);
            if unfinished == 0 || begun.elapsed() > DRAIN_LIMIT {
                return Ok((count, begun.elapsed()));
            }
            stop.pause(wait::PAUSE)?;
        }
    }

    /// The ids of works that are pending or running.
    fn unfinished(&self) -> Result<Vec<i64>> {
        let mut ids = Vec::new();
        for status in ["pending", "running"] {
            let works = reading::pages(&self.client, &format!("/work?status={status}"), 0)?;
            ids.extend(works.iter().filter_map(|work| work["id"].as_i64()));
        }
        Ok(ids)
    }
}

impl System for Embedded {
    fn target(&self, round: &Round) -> Target {
        Target {
            client: self.client.clone(),
            queue: None,
            database: None,
            redrives: true,
            demands: true,
            limit: drain_limit(round.fault),
        }
    }

    fn strike(&mut self, round: &Round, load: &Load, stop: &Stop) -> Result<Struck> {
        let began = now();
        self.happen(round, load, stop)?;
        let over = now();
        let recovered = self.recovery(load, began, stop)?;
        Ok(Struck {
            began,
            over,
            recovered: Some(recovered),
        })
    }

    fn missing(&mut self, _told: &Told) -> Result<Option<String>> {
        let unfinished = self.unfinished()?.len();
        Ok((unfinished > 0).then(|| format!("{unfinished} works are unfinished")))
    }

    fn evidence(&mut self, above: i64) -> Result<Evidence> {
        let rows = reading::works(&self.client, above)?;
        let letters = reading::pages(&self.client, "/deadletter?", 0)?;
        let letters = letters.iter().map(|letter| Letter {
            kind: letter["kind"].as_str().unwrap_or_default().to_owned(),
            work_id: letter["work_id"].as_i64(),
            generation: None,
            message_id: letter["message_id"].as_str().map(str::to_owned),
        });
        // The API shows events of works alone; there is no way to see others.
        Ok(Evidence {
            rows,
            letters: letters.collect(),
            calls: calls::read(&self.calls)?,
            shows_deleted: false,
            orphans: 0,
            begun_again: None,
        })
    }

    fn ensure_running(&mut self) -> Result<()> {
        self.service.ensure_running()?;
        self.workers.iter_mut().try_for_each(Service::ensure_running)
    }

    fn keep_logs(&self, _folder: &Path) {}
}

/// Waits until so many requests of this kind were sent since then.
fn attempts_since(load: &Load, since: f64, count: usize, stop: &Stop, is_one: impl Fn(&Attempt) -> bool) -> Result<()> {
    let begun = Instant::now();
    loop {
        let so_far = load
            .so_far()
            .attempts
            .iter()
            .rev()
            .take_while(|one| one.at > since - 60.0)
            .filter(|one| one.at >= since && is_one(one))
            .count();
        if so_far >= count {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < FULL_LIMIT,
            "{so_far} of {count} requests within {} s",
            FULL_LIMIT.as_secs()
        );
        stop.pause(wait::PAUSE)?;
    }
}
