//! The health of a process and its parts. `pp_http` serves it as pages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::log_repeated;

/// The time without any task after which a process counts as stuck.
pub const STUCK: Duration = Duration::from_secs(10);

/// The state of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It cannot do anything yet.
    Starting,
    /// It works.
    Up,
    /// It works slowly or in part.
    Degraded,
    /// It does not work.
    Down,
}

/// The health of a process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    stopping: AtomicBool,
    parts: RwLock<Vec<Part>>,
    pulse: Mutex<Option<Pulse>>,
}

/// The last time the workers' runtime ran a task.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    last: Instant,
    /// The maximum age.
    limit: Duration,
}

/// The health of one part of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct Part {
    name: &'static str,
    essential: bool,
    /// The part that makes this one dispensable while it works.
    stand_in: Option<&'static str>,
    condition: Arc<Mutex<(State, &'static str)>>,
}

/// The readiness of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// Every part works.
    Ready,
    /// Some promised calls can be served, or all of them slowly.
    Degraded,
    /// No promised call can be served.
    Unready,
    /// It finishes running requests and accepts no new ones.
    Stopping,
}

/// A snapshot of the health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Report {
    /// The readiness.
    pub status: Readiness,
    /// The parts in the order of their registration.
    pub parts: Vec<PartReport>,
}

/// A snapshot of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PartReport {
    /// The name of the part.
    pub name: &'static str,
    /// The state of the part.
    pub state: State,
    /// The reason for a state other than up, else empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    /// True if nothing can be served without this part.
    pub essential: bool,
}

impl Health {
    /// A health without parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// A health that also watches this runtime. If it runs no task for `limit`, the process is stuck. The health pages
    /// have their own threads, which would continue.
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

    /// The time since the process got stuck, or `None` if it is alive.
    pub fn stuck_for(&self) -> Option<Duration> {
        let pulse = *self.0.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.and_then(|Pulse { last, limit }| Some(last.elapsed()).filter(|age| *age > limit))
    }

    /// The part with this name, registered as starting if it is new. If an `essential` part does not work, no promised
    /// call can be served.
    pub fn part(&self, name: &'static str, essential: bool) -> Part {
        self.register(name, essential, None)
    }

    /// An essential part with a stand-in. While the stand-in works, some promised calls can be served.
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

    /// Marks the process as stopping, so it is not ready.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// A snapshot of all parts.
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
    /// True if requests should be sent to this process.
    pub fn is_ready(&self) -> bool {
        matches!(self.status, Readiness::Ready | Readiness::Degraded)
    }

    /// All reasons in one line, else empty.
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
    /// Marks the part as working.
    pub fn up(&self) {
        self.set(State::Up, "");
    }

    /// Marks the part as degraded, with a reason for the public health page.
    pub fn degraded(&self, reason: &'static str) {
        self.set(State::Degraded, reason);
    }

    /// Marks the part as down, with a reason for the public health page.
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
    fn only_a_down_essential_part_makes_the_process_unready() {
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
    fn a_part_with_a_stand_in_is_missed_only_if_both_are_down() {
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
    fn a_part_reports_its_reason_as_json() {
        let health = Health::new();
        health.part("store", true).up();
        health.part("cache", false).down("gone");
        assert_eq!(
            serde_json::to_string(&health.report()).unwrap(),
            r#"{"status":"degraded","parts":[{"name":"store","state":"up","essential":true},{"name":"cache","state":"down","reason":"gone","essential":false}]}"#
        );
    }
}
