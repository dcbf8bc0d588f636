//! A private PostgreSQL: its cluster, its settings, how it is stopped.
//!
//! Durability stays on (`fsync`, `synchronous_commit`): what the tests prove would be worth nothing without.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::instance::Instance;
use super::{USER, folder};
use crate::launch::Launch;

/// A "fast" shutdown ends the sessions; an "immediate" one is like a crash, and recovers like one.
pub(super) const STOP: &[(Signal, Duration)] = &[
    (Signal::SIGINT, Duration::from_secs(20)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
];

/// Makes the cluster, with PP's user and its database, unless it is there.
pub(super) fn prepare(instance: &Instance) -> Result<()> {
    let data = instance.folder.join("data");
    if instance.certificate.is_some() {
        folder::write_for(
            instance.account,
            &rules(instance),
            "hostssl all all all scram-sha-256\n",
        )?;
    }
    if data.exists() {
        return Ok(());
    }
    // Made beside and then renamed: an initdb that was interrupted leaves no half cluster behind.
    let unfinished = instance.folder.join("data.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    folder::make_for(instance.account, &unfinished)?;
    let password = unfinished.with_file_name("password");
    folder::write_for(instance.account, &password, &instance.password)?;
    let initdb = Launch::server(
        instance.program.with_file_name("initdb"),
        instance.account,
        &instance.folder,
    )
    .args([
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
        "--username",
        USER,
    ])
    .args([
        "--pwfile".as_ref(),
        password.as_os_str(),
        "--pgdata".as_ref(),
        unfinished.as_os_str(),
    ])
    .run(None);
    fs::remove_file(&password)?;
    initdb?;
    let statement = unfinished.with_file_name("create.sql");
    folder::write_for(instance.account, &statement, &format!("CREATE DATABASE {USER}\n"))?;
    Launch::server(&instance.program, instance.account, &instance.folder)
        .args([
            "--single".as_ref(),
            "-D".as_ref(),
            unfinished.as_os_str(),
            "postgres".as_ref(),
        ])
        .run(Some(&statement))?;
    fs::remove_file(&statement)?;
    fs::rename(&unfinished, &data).context("cannot finish the cluster")
}

/// The file that lets users in with TLS alone.
fn rules(instance: &Instance) -> PathBuf {
    instance.folder.join("tls_hba.conf")
}

/// The server process. It logs to its standard error, which goes to the instance's log file.
pub(super) fn launch(instance: &Instance) -> Launch {
    let mut launch = Launch::server(&instance.program, instance.account, &instance.folder)
        .arg("-D")
        .arg(instance.folder.join("data"))
        // What a database says whose `lc_messages` is not C.
        .env("LANGUAGE", "de")
        // On SIGTERM it would wait for its clients to leave.
        .death_signal(Signal::SIGINT);
    for setting in [
        "listen_addresses=127.0.0.1",
        // The path of a socket is limited to 107 bytes, and a state folder's is not: TCP only.
        "unix_socket_directories=",
        "max_connections=200",
        "max_prepared_transactions=10",
        "shared_buffers=256MB",
        "max_wal_size=2GB",
        "fsync=on",
        "synchronous_commit=on",
        "logging_collector=off",
        "log_line_prefix=%m [%p] %q%a %d ",
    ] {
        launch = launch.arg("-c").arg(setting);
    }
    if instance.certificate.is_some() {
        for (setting, file) in [
            ("ssl_cert_file", instance.certificate_file()),
            ("ssl_key_file", instance.key_file()),
            ("hba_file", rules(instance)),
        ] {
            launch = launch.arg("-c").arg(format!("{setting}={}", file.display()));
        }
        launch = launch.arg("-c").arg("ssl=on");
    }
    launch.arg("-c").arg(format!("port={}", instance.ports[0]))
}
