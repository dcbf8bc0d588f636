//! The walls that the compiler does not keep: which file may name which library which
//! crate may depend on which, and that folders of `pp_lib` import each other in no circle. Lines are compared as text; a comment is no line of code.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{File, files, none};

/// Names that only some places may use. The last places of a row are tests or measurements that need a client of another
/// maker than the adapter's.
const ONLY_IN: [(&[&str], &[&str]); 7] = [
    (&["metrics_exporter_prometheus::"], &["pp_cli/src/metrics/"]),
    (
        &["diesel::", "diesel_migrations::"],
        &[
            "pp_lib/src/store/",
            "pp_lib/src/enqueue/",
            "pp_storage/",
            // Its user's tests get a connection.
            "pp_lib/src/testing.rs",
            "pp_lib/tests/it/clocks.rs",
        ],
    ),
    (
        &["lapin::", "async_rs::"],
        &[
            "pp_lib/src/broker/rabbitmq/",
            "pp_lib/tests/it/",
            "testing/chaos/src/queues.rs",
            "testing/bench/src/limits/rabbitmq.rs",
            "testing/tests/it/",
        ],
    ),
    (
        &["redis::"],
        &[
            "pp_lib/src/cache/",
            "pp_lib/tests/it/redis.rs",
            "pp_cli/src/connect/",
            "testing/",
        ],
    ),
    (&["moka::"], &["pp_lib/src/cache/memory.rs"]),
    (
        &["tokio_postgres::"],
        &[
            "pp_lib/src/feed/postgres.rs",
            "pp_lib/src/feed/postgres/",
            "testing/",
            "pp_lib/tests/it/",
            "pp_backend_api/tests/",
        ],
    ),
    (
        &["actix_web::", "actix_http::", "actix_server::", "actix_service::"],
        &["pp_backend_api/", "pp_http/", "testing/bench/src/bin/"],
    ),
];

/// What changes the process around a library, whatever path it is called by: logger, recorder, panic hook, signals, limits,
/// variables, folder and end.
const OF_THE_PROCESS: [&str; 18] = [
    "set_global_recorder(",
    "install_recorder(",
    "env_logger",
    "set_logger(",
    "set_boxed_logger(",
    "set_max_level(",
    "set_hook(",
    "take_hook(",
    "SignalKind",
    "ctrl_c(",
    "signal_hook",
    "rlimit::",
    "setrlimit(",
    "set_var(",
    "remove_var(",
    "set_current_dir(",
    "process::exit(",
    "process::abort(",
];

/// The only places for [`OF_THE_PROCESS`]: what programs call, programs for tests, and a test that looks for changes.
const MAY_CHANGE_THE_PROCESS: [&str; 5] = [
    "pp_cli/src/",
    "pp_standalone/src/tests.rs",
    "testing/bench/src/main.rs",
    "testing/chaos/src/handlers.rs",
    "testing/testkit/src/signals.rs",
];

/// The functions of `pp_cli` that change the process. Only a `main` calls them, in `main.rs` or in `program.rs`.
const FOR_MAIN: [&str; 4] = ["logging::init(", "metrics::install(", "on_signal(", "program::run("];

/// What the domain must not name: input and output, the clock, and every library but serde.
const NOT_IN_DOMAIN: [&str; 14] = [
    "crate::broker",
    "crate::cache",
    "crate::feed",
    "crate::store",
    "crate::runtime",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "tokio::",
    "log::",
];

/// What a port must not name: its adapters, and the libraries of others (see [`ONLY_IN`]).
const NOT_IN_PORTS: [&str; 10] = [
    "memory::",
    "postgres::",
    "rabbitmq::",
    "sqlite::",
    "redis::",
    "diesel::",
    "lapin::",
    "moka::",
    "tokio_postgres::",
    "r2d2::",
];

/// Which of our crates each crate may depend on. Nothing may depend on a crate that is in nobody's list.
const MAY_DEPEND: [(&str, &[&str]); 20] = [
    ("pp_tls", &[]),
    ("pp_storage", &["pp_tls"]),
    ("pp_lib", &["pp_storage", "pp_tls"]),
    ("pp_cli", &["pp_lib"]),
    ("pp_http", &["pp_lib"]),
    ("pp_backend_api", &["pp_lib", "pp_cli", "pp_http"]),
    ("task_producer", &["pp_lib", "pp_cli", "pp_http"]),
    ("task_consumer", &["pp_lib", "pp_cli", "pp_http"]),
    ("cli_01", &["pp_lib", "pp_cli"]),
    ("cli_02", &["pp_tls"]),
    (
        "pp_standalone",
        &[
            "pp_lib",
            "pp_cli",
            "pp_http",
            "pp_backend_api",
            "task_producer",
            "task_consumer",
        ],
    ),
    ("add_up_to", &["pp_lib", "pp_standalone"]),
    ("first_kind", &["pp_lib", "pp_standalone"]),
    ("thumbnails", &["pp_lib", "pp_standalone"]),
    ("welcome_email", &["pp_lib", "pp_standalone"]),
    ("pp_testkit", &["pp_tls"]),
    ("pp_chaos", &["pp_lib", "pp_testkit", "pp_standalone", "task_consumer"]),
    ("pp_bench", &["pp_lib", "pp_testkit", "pp_chaos", "task_consumer"]),
    ("pp_tests", &["pp_lib", "pp_cli", "pp_http", "pp_testkit", "pp_chaos"]),
    ("pp_conformance", &["pp_lib"]),
];

/// What any crate's tests may depend on besides, and nothing else may.
const FOR_TESTS: [&str; 2] = ["pp_conformance", "pp_testkit"];

#[test]
fn libraries_are_named_only_where_they_belong() {
    none(&misplaced(&files()));
    let found = |path: &str, text: &str| misplaced(&[File::new(path, text)]).len();
    assert_eq!(found("pp_lib/src/worker/x.rs", "use diesel::prelude::*;"), 1);
    assert_eq!(found("pp_lib/src/store/x.rs", "use diesel::prelude::*;"), 0);
    assert_eq!(found("pp_lib/src/x.rs", "// diesel::x\nuse crate::redis_like;"), 0);
}

#[test]
fn only_programs_change_the_process_around_a_library() {
    none(&process_wide(&files()));
    let found = |path: &str, text: &str| process_wide(&[File::new(path, text)]).len();
    for call in [
        "pp_cli::logging::init(format);",
        "std::panic::set_hook(hook);",
        "rlimit::increase(9);",
    ] {
        assert_eq!(found("task_consumer/src/lib.rs", call), 1, "{call}");
    }
    assert_eq!(found("task_consumer/src/main.rs", "logging::init(format);"), 0);
    assert_eq!(found("task_consumer/src/main.rs", "panic::set_hook(hook);"), 1);
    assert_eq!(found("pp_cli/src/logging/mod.rs", "panic::set_hook(hook);"), 0);
    assert_eq!(found("pp_http/src/server.rs", "let builder = Server::build();"), 1);
    let told = "let builder = Server::build()\n    .shutdown_signal(shutdown);";
    assert_eq!(found("pp_http/src/server.rs", told), 0);
}

#[test]
fn the_domain_and_the_ports_name_nothing_outside_themselves() {
    none(&impure(&files()));
    let found = |path: &str, text: &str| impure(&[File::new(path, text)]).len();
    assert_eq!(found("pp_lib/src/domain/x.rs", "use tokio::time::sleep;"), 1);
    assert_eq!(
        found("pp_lib/src/domain/x.rs", "let now = std::time::Instant::now();"),
        1
    );
    assert_eq!(found("pp_lib/src/broker/mod.rs", "pub use rabbitmq::RabbitMq;"), 1);
    assert_eq!(found("pp_lib/src/domain/x.rs", "use std::fmt;"), 0);
}

#[test]
fn crates_depend_in_one_direction() {
    none(&wrong_ways(&files()));
    let name = "[package]\nname = \"task_consumer\"\n";
    let found = |text: &str| wrong_ways(&[File::new("any/where/Cargo.toml", &format!("{name}{text}"))]).len();
    assert_eq!(found("[dependencies]\npp_lib = { workspace = true }\ntokio = \"1\""), 0);
    assert_eq!(found("[dependencies]\ntask_producer = { workspace = true }"), 1);
    assert_eq!(found("[dev-dependencies]\npp_backend_api = { workspace = true }"), 1);
    assert_eq!(found("[dev-dependencies]\npp_conformance = { workspace = true }"), 0);
    assert_eq!(found("[dependencies]\npp_conformance = { workspace = true }"), 1);
}

#[test]
fn folders_of_the_library_import_each_other_in_no_circle() {
    none(&circles(&files()));
    let file = |path, text| File::new(&format!("pp_lib/src/{path}.rs"), text);
    let two = [
        file("store/a", "use crate::worker::X;"),
        file("worker/b", "use crate::store::Y;"),
    ];
    assert_eq!(circles(&two).len(), 2);
    assert_eq!(circles(&two[..1]).len(), 0);
}

#[test]
fn the_rooms_that_run_do_not_import_each_other() {
    none(&joined(&files()));
    let found = |text: &str| joined(&[File::new("pp_lib/src/worker/x.rs", text)]).len();
    assert_eq!(found("use crate::serving::Read;"), 1);
    assert_eq!(found("use crate::store::AnyStore;"), 0);
}

/// The lines of code, tests of the file included.
fn code(file: &File) -> impl Iterator<Item = &str> {
    file.text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Whether a line uses a name, and not the end of a longer one.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "_:\"".contains(before))
    })
}

fn misplaced(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    // This file names them all.
    let others = files.iter().filter(|file| !file.path.ends_with("tidy/walls.rs"));
    for file in others.filter(|file| file.is_rust()) {
        for (only, places) in ONLY_IN.iter().filter(|(_, places)| !file.is_in(places)) {
            let used = only.iter().find(|name| code(file).any(|line| names(line, name)));
            complaints.extend(used.map(|name| format!("{}: {name} is for {}", file.path, places.join(", "))));
        }
    }
    complaints
}

fn process_wide(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    // This file names them all.
    let others = files.iter().filter(|file| !file.path.ends_with("tidy/walls.rs"));
    for file in others.filter(|file| file.is_rust()) {
        let main = ["src/main.rs", "src/program.rs"]
            .iter()
            .any(|end| file.path.ends_with(end));
        let forbidden = (OF_THE_PROCESS.iter().filter(|_| !file.is_in(&MAY_CHANGE_THE_PROCESS)))
            .chain(FOR_MAIN.iter().filter(|_| !main && !file.is_in(&["pp_cli/src/"])));
        let used = forbidden.filter(|name| code(file).any(|line| line.contains(**name)));
        complaints.extend(used.map(|name| format!("{}: {name} is for programs", file.path)));
        // Without its own signal for the end, actix listens to those of the process.
        if file.text.contains("Server::build()") && !file.text.contains(".shutdown_signal(") {
            complaints.push(format!("{}: its server listens to signals", file.path));
        }
    }
    complaints
}

fn impure(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let forbidden: &[&str] = match file.path.strip_prefix("pp_lib/src/") {
            Some(path) if path.starts_with("domain/") => &NOT_IN_DOMAIN,
            Some("broker/mod.rs" | "cache/mod.rs" | "feed/mod.rs" | "store/mod.rs") => &NOT_IN_PORTS,
            _ => continue,
        };
        let used = forbidden
            .iter()
            .find(|name| code(file).any(|line| line.contains(**name)));
        complaints.extend(used.map(|name| format!("{}: must not name {name}", file.path)));
    }
    complaints
}

fn wrong_ways(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        let mut lines = file.text.lines();
        let name = lines.find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let name = name.unwrap_or_default();
        let Some((_, may)) = MAY_DEPEND.iter().find(|(known, _)| *known == name) else {
            complaints.push(format!("{}: has no row in MAY_DEPEND", file.path));
            continue;
        };
        let mut for_tests = false;
        for line in lines {
            for_tests = if line.starts_with('[') {
                line == "[dev-dependencies]"
            } else {
                for_tests
            };
            let one = line.split([' ', '.', '=']).next().unwrap_or_default();
            // A crate may ask for its own features in its tests.
            let ours = MAY_DEPEND.iter().any(|(known, _)| *known == one) && one != name;
            if ours && !may.contains(&one) && !(for_tests && FOR_TESTS.contains(&one)) {
                complaints.push(format!("{}: may not depend on {one}", file.path));
            }
        }
    }
    complaints
}

/// Which modules of `pp_lib` each of its folders imports.
fn imports(files: &[File]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut leads_to: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let inside = file
            .path
            .strip_prefix("pp_lib/src/")
            .and_then(|path| path.split_once('/'));
        let Some((folder, _)) = inside else { continue };
        let imports = code(file).flat_map(|line| line.split("crate::").skip(1));
        let imported = imports.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
        leads_to
            .entry(folder)
            .or_default()
            .extend(imported.filter(|name| *name != folder));
    }
    leads_to
}

/// The folders of `pp_lib` that lead back to themselves.
fn circles(files: &[File]) -> Vec<String> {
    let leads_to = imports(files);
    let reaches = |from: &str| {
        let mut seen = leads_to[from].clone();
        while let Some(more) = seen
            .iter()
            .flat_map(|name| leads_to.get(name))
            .flatten()
            .find(|name| !seen.contains(*name))
        {
            seen.insert(more);
        }
        seen.contains(from)
    };
    let circular = leads_to.keys().filter(|folder| reaches(folder));
    circular
        .map(|folder| format!("pp_lib/src/{folder}: imports lead back to it"))
        .collect()
}

fn joined(files: &[File]) -> Vec<String> {
    let (rooms, imports) = (["serving", "worker", "maintenance", "streams"], imports(files));
    let pairs = rooms.iter().flat_map(|from| rooms.iter().map(move |to| (from, to)));
    let joined = pairs.filter(|(from, to)| imports.get(*from).is_some_and(|names| names.contains(*to)));
    joined
        .map(|(from, to)| format!("pp_lib/src/{from} imports {to}"))
        .collect()
}
