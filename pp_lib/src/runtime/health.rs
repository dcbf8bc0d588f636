//! How the parts of a process are doing, for whoever asks whether it can serve. The pages are `pp_http`'s.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::log_repeated;

/// How long a runtime may do nothing until the process counts as stuck.
pub const STUCK: Duration = Duration::from_secs(10);

/// How a part is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not yet able to do anything.
    Starting,
    /// As it should be.
    Up,
    /// It does what it should, but not as well or not all of it.
    Degraded,
    /// It does nothing.
    Down,
}

/// The health of a process; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    stopping: AtomicBool,
    parts: RwLock<Vec<Part>>,
    pulse: Mutex<Option<Pulse>>,
}

/// When the runtime of the workers last ran a task.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    last: Instant,
    /// How old it may get.
    limit: Duration,
}

/// One part of a process, for whoever knows how it does; clones are the same.
#[derive(Clone, Debug)]
pub struct Part {
    name: &'static str,
    essential: bool,
    /// The part without which this one is not essential after all.
    stand_in: Option<&'static str>,
    condition: Arc<Mutex<(State, &'static str)>>,
}

/// Whether the process can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// Everything is as it should be.
    Ready,
    /// Some promised calls can be served, or all of them less well.
    Degraded,
    /// No promised call can be served.
    Unready,
    /// It finishes what it has and takes nothing new.
    Stopping,
}

/// A snapshot of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The sum of it.
    pub status: Readiness,
    /// Every part, in the order they were registered.
    pub parts: Vec<PartReport>,
}

/// A snapshot of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartReport {
    /// Its name.
    pub name: &'static str,
    /// How it is doing.
    pub state: State,
    /// Why it is not up; empty when it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    /// Whether nothing can be served without it.
    pub essential: bool,
}

impl Health {
    /// Without parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, and alive only while this runtime runs its tasks: one that did not for `limit` is stuck. The pages are
    /// served by threads of their own, which would go on.
    pub fn beating(limit: Duration) -> Self {
        let health = Self::new();
        health.beat(limit);
        let registry = Arc::downgrade(&health.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(limit / 10).await;
                let Some(registry) = registry.upgrade() else { return };
                Self(registry).beat(limit);
            }
        });
        health
    }

    fn beat(&self, limit: Duration) {
        let pulse = Pulse {
            last: Instant::now(),
            limit,
        };
        *self.0.pulse.lock().unwrap_or_else(PoisonError::into_inner) = Some(pulse);
    }

    /// For how long the process has been stuck; `None` while it is alive.
    pub fn stuck_for(&self) -> Option<Duration> {
        let pulse = *self.0.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.and_then(|Pulse { last, limit }| Some(last.elapsed()).filter(|age| *age > limit))
    }

    /// The part of this name, registered as starting when it is new. Without an `essential` part that works, no
    /// promised call can be served.
    pub fn part(&self, name: &'static str, essential: bool) -> Part {
        self.register(name, essential, None)
    }

    /// An essential part for which another one stands in: while that one works, some promised call can be served.
    pub fn part_with_stand_in(&self, name: &'static str, stand_in: &'static str) -> Part {
        self.register(name, true, Some(stand_in))
    }

    fn register(&self, name: &'static str, essential: bool, stand_in: Option<&'static str>) -> Part {
        let mut parts = self.0.parts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.iter().find(|part| part.name == name) {
            return part.clone();
        }
        let part = Part {
            name,
            essential,
            stand_in,
            condition: Arc::new(Mutex::new((State::Starting, "it has not started yet"))),
        };
        parts.push(part.clone());
        part
    }

    /// From now on the process is not ready: it is stopping.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// How everything is doing.
    pub fn report(&self) -> Report {
        let parts = self.0.parts.read().unwrap_or_else(PoisonError::into_inner);
        let reports: Vec<_> = parts.iter().map(Part::report).collect();
        let works = |report: &PartReport| matches!(report.state, State::Up | State::Degraded);
        let stood_in_for = |part: &Part| {
            let stand_in = reports.iter().find(|report| Some(report.name) == part.stand_in);
            stand_in.is_some_and(works)
        };
        let is_missing = |(part, report): (&Part, &PartReport)| part.essential && !works(report) && !stood_in_for(part);
        let status = if self.0.stopping.load(Ordering::Relaxed) {
            Readiness::Stopping
        } else if parts.iter().zip(&reports).any(is_missing) {
            Readiness::Unready
        } else if reports.iter().any(|report| report.state != State::Up) {
            Readiness::Degraded
        } else {
            Readiness::Ready
        };
        Report { status, parts: reports }
    }
}

impl Report {
    /// Whether requests should be sent here.
    pub fn is_ready(&self) -> bool {
        matches!(self.status, Readiness::Ready | Readiness::Degraded)
    }

    /// What is wrong, in one line; empty when nothing is.
    pub fn trouble(&self) -> String {
        let mut lines: Vec<_> = self
            .parts
            .iter()
            .filter(|part| part.state != State::Up)
            .map(|part| format!("{}: {}", part.name, part.reason))
            .collect();
        if self.status == Readiness::Stopping {
            lines.insert(0, "the service is stopping".to_owned());
        }
        lines.join("; ")
    }
}

impl Part {
    /// It is as it should be.
    pub fn up(&self) {
        self.set(State::Up, "");
    }

    /// It does less than it should, and why, in words for everybody.
    pub fn degraded(&self, reason: &'static str) {
        self.set(State::Degraded, reason);
    }

    /// It does nothing, and why, in words for everybody.
    pub fn down(&self, reason: &'static str) {
        self.set(State::Down, reason);
    }

    fn set(&self, state: State, reason: &'static str) {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        if *condition == (state, reason) {
            return;
        }
        *condition = (state, reason);
        drop(condition);
        match state {
            State::Up | State::Starting => log_repeated!(Info, format!("{} is up", self.name), ""),
            State::Degraded => log_repeated!(Warn, format!("{} is degraded", self.name), "{reason}"),
            State::Down => log_repeated!(Error, format!("{} is down", self.name), "{reason}"),
        }
    }

    fn report(&self) -> PartReport {
        let (state, reason) = *self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        PartReport {
            name: self.name,
            state,
            reason,
            essential: self.essential,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_essential_part_that_does_nothing_makes_it_unready() {
        let health = Health::new();
        assert_eq!(health.report().status, Readiness::Ready);
        let (store, cache) = (health.part("store", true), health.part("cache", false));
        assert_eq!(health.report().status, Readiness::Unready);
        store.up();
        assert_eq!(health.report().status, Readiness::Degraded);
        cache.up();
        assert_eq!(health.report().status, Readiness::Ready);
        cache.down("the cache is gone");
        store.degraded("slow");
        let report = health.report();
        assert!(report.is_ready());
        assert_eq!(report.status, Readiness::Degraded);
        assert_eq!(report.trouble(), "store: slow; cache: the cache is gone");
        health.part("store", true).down("the database is unavailable");
        assert_eq!(health.report().status, Readiness::Unready);
        store.up();
        health.stopping();
        assert!(!health.report().is_ready());
        assert_eq!(
            health.report().trouble(),
            "the service is stopping; cache: the cache is gone"
        );
    }

    #[test]
    fn a_part_that_another_one_stands_in_for_is_missed_with_both() {
        let health = Health::new();
        let (store, broker) = (
            health.part_with_stand_in("store", "broker"),
            health.part("broker", false),
        );
        assert_eq!(health.report().status, Readiness::Unready);
        broker.up();
        assert_eq!(health.report().status, Readiness::Degraded);
        store.up();
        assert_eq!(health.report().status, Readiness::Ready);
        broker.down("the broker is unavailable");
        assert_eq!(health.report().status, Readiness::Degraded);
        store.down("the database is unavailable");
        assert_eq!(health.report().status, Readiness::Unready);
    }

    #[test]
    fn a_part_is_json_with_its_reason() {
        let health = Health::new();
        health.part("store", true).up();
        health.part("cache", false).down("gone");
        assert_eq!(
            serde_json::to_string(&health.report()).unwrap(),
            r#"{"status":"degraded","parts":[{"name":"store","state":"up","essential":true},{"name":"cache","state":"down","reason":"gone","essential":false}]}"#
        );
    }
}
