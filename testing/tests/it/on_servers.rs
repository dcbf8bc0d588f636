//! The provided servers answer, and private ones come and go as the tests of faults need it.

mod bench;
mod blocked;
mod browser;
mod cache_outage;
mod catch_up;
mod chaos;
mod counters;
mod dashboard;
mod delivery_limit;
mod demand;
mod doctor;
mod enqueue;
mod isolation;
mod kills;
mod large;
mod metrics;
mod near;
mod newer;
mod outage;
mod outbox;
pub(crate) mod place;
mod policies;
mod pooler;
mod privileges;
mod queue_names;
mod quiet_log;
mod read_only;
mod refresher;
mod retention;
mod sharing;
mod staleness;
mod stop;
mod stranger;
mod tls;
mod unread_log;
mod unwell;
mod up_and_down;
mod without_broker;

use std::fs;
use std::path::Path;
use std::time::Duration;

use pp_testkit::process::{self, ProcessId};
use pp_testkit::programs::Program;
use pp_testkit::servers::{Kind, PrivateServers, answers};
use pp_testkit::{install, launch, wait};

/// How long a single call may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_provided_servers_answer() {
    for kind in Kind::ALL {
        let variable = kind.test_variable();
        let url = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run `make test`"));
        answers(kind, &url).unwrap_or_else(|error| panic!("{kind}: {error:#}"));
    }
}

#[test]
fn a_wrong_password_is_not_an_answer() {
    for kind in [Kind::RabbitMq, Kind::Redis] {
        let url = std::env::var(kind.test_variable()).expect("run `make test`");
        let mut url = url::Url::parse(&url).unwrap();
        url.set_password(Some("wrong")).unwrap();
        assert!(answers(kind, url.as_str()).is_err(), "{kind}");
    }
}

fn left_behind(home: &Path) -> Vec<ProcessId> {
    process::with_variable(launch::MARK, &home.to_string_lossy())
}

/// One test for the whole life, since starting takes seconds.
#[test]
fn private_servers_crash_return_on_the_same_port_and_leave_nothing() {
    install::install(&Kind::ALL.map(Program::from), |_| ()).unwrap();
    let servers = PrivateServers::temporary(&Kind::ALL).unwrap();
    let home = servers.home().to_path_buf();
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let url = servers.url(kind).unwrap();
        let before = servers.process(kind).unwrap();
        all.extend(before.family());

        servers.kill(kind).unwrap();
        assert!(!before.is_alive() && servers.process(kind).is_none(), "{kind}");
        assert!(answers(kind, &url).is_err(), "{kind} answers though it was killed");
        if kind == Kind::RabbitMq {
            // Erlang's tools start a port mapper where there is none, and leave it behind.
            let told = servers.rabbitmqctl(&["status"]).unwrap_err().to_string();
            assert!(told.contains("does not run"), "{told}");
            let is_mapper = |process: &ProcessId| {
                let name = fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
                name.trim() == "epmd"
            };
            assert!(!left_behind(&home).iter().any(is_mapper));
        }

        assert_eq!(
            servers.start(&Kind::ALL).unwrap(),
            [kind],
            "only what is missing is started"
        );
        assert_eq!(servers.url(kind).unwrap(), url, "{kind} has another port now");
        answers(kind, &url).unwrap();

        servers.freeze(kind).unwrap();
        assert!(answers(kind, &url).is_err(), "{kind} answers though it is frozen");
        servers.thaw(kind).unwrap();
        assert!(
            wait::holds_within(Duration::from_secs(20), || answers(kind, &url).is_ok()),
            "{kind} does not thaw"
        );

        let process = servers.process(kind).unwrap();
        all.extend(process.family());
        all.push(process);
    }
    assert!(!left_behind(&home).is_empty(), "the mark finds what runs");
    drop(servers);
    assert!(!all.iter().any(ProcessId::is_alive));
    assert_eq!(left_behind(&home), []);
    assert!(!fs::exists(home).unwrap());
}
