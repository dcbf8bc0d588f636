//! A private Redis: a cache and nothing else.
//!
//! It keeps nothing on disk: PP's truth is in PostgreSQL, and a cache that comes back empty is a case that PP must handle
//! anyway. Memory is bounded; beyond the bound the keys used least lately go first, as they would in production.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::folder;
use super::instance::Instance;
use crate::launch::Launch;

pub(super) const STOP: &[(Signal, Duration)] = &[(Signal::SIGTERM, Duration::from_secs(5))];

/// Writes the configuration; the password stands in a file because a command line is everybody's to read.
pub(super) fn prepare(instance: &Instance) -> Result<()> {
    let data = instance.folder.join("data");
    folder::make_for(instance.account, &data)?;
    let port = instance.ports[0];
    let listens = match &instance.certificate {
        None => format!("port {port}"),
        Some(_) => format!(
            "port 0\ntls-port {port}\ntls-auth-clients no\ntls-cert-file \"{}\"\ntls-key-file \"{}\"",
            instance.certificate_file().display(),
            instance.key_file().display()
        ),
    };
    let configuration = format!(
        "bind 127.0.0.1\nprotected-mode yes\n{listens}\ndaemonize no\nlogfile \"\"\ndir \"{}\"\n\
         requirepass {}\nsave \"\"\nappendonly no\nmaxmemory 256mb\nmaxmemory-policy allkeys-lru\n",
        data.display(),
        instance.password
    );
    folder::write_for(instance.account, &instance.folder.join("redis.conf"), &configuration)
}

/// The server process.
pub(super) fn launch(instance: &Instance) -> Launch {
    Launch::server(&instance.program, instance.account, &instance.folder).arg(instance.folder.join("redis.conf"))
}
