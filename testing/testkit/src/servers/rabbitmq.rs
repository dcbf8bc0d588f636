//! A private RabbitMQ, with a node name, folders, ports and a port mapper of its own.
//!
//! Erlang nodes find each other through `epmd`, which a node starts by itself and leaves behind when it ends. Here it is
//! started first, as a process like the others, so that the node finds it running and it ends when we say so.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::instance::Instance;
use super::{USER, folder};
use crate::launch::{Launch, MARK};
use crate::programs;

pub(super) const STOP: &[(Signal, Duration)] = &[(Signal::SIGTERM, Duration::from_secs(20))];
/// How much memory it may use before it blocks publishers.
pub(super) const MEMORY: &str = "2GB";
pub(super) const STOP_EPMD: &[(Signal, Duration)] = &[(Signal::SIGTERM, Duration::from_secs(5))];

/// Writes the configuration and makes the folders.
pub(super) fn prepare(instance: &Instance) -> Result<()> {
    let Instance {
        folder: base,
        account,
        password,
        ..
    } = instance;
    for name in ["mnesia", "log", "home", "config"] {
        folder::make_for(*account, &base.join(name))?;
    }
    let port = instance.ports[0];
    let listens = match &instance.certificate {
        None => format!("listeners.tcp.1 = 127.0.0.1:{port}"),
        Some(_) => format!(
            "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\nssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\nssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false",
            instance.certificate_file().display(),
            instance.key_file().display()
        ),
    };
    let configuration = format!(
        "{listens}\n\
         default_user = {USER}\n\
         default_pass = {password}\n\
         loopback_users = none\n\
         # Both generous: an alarm that a test did not ask for would block its publishers.\n\
         vm_memory_high_watermark.absolute = {MEMORY}\n\
         disk_free_limit.absolute = 200MB\n\
         log.console = true\n\
         log.console.level = info\n"
    );
    folder::write_for(*account, &base.join("config/rabbitmq.conf"), &configuration)?;
    folder::write_for(*account, &base.join("config/enabled_plugins"), "[].\n")?;
    folder::write_for(*account, &base.join("config/advanced.config"), "[].\n")?;
    // What a node that was killed wrote last about itself is of no use to the next.
    let _ = fs::remove_file(base.join("rabbitmq.pid"));
    Ok(())
}

/// The port mapper, in the foreground and on the loopback interface alone.
pub(super) fn launch_epmd(instance: &Instance) -> Result<Launch> {
    let epmd = programs::in_path("epmd").or_else(newest_epmd);
    let epmd = epmd.ok_or_else(|| anyhow::anyhow!("Erlang's epmd is not installed"))?;
    let port = instance.ports[2].to_string();
    Ok(Launch::server(epmd, instance.account, &instance.folder).args(["-address", "127.0.0.1", "-port", &port]))
}

/// Where Debian keeps it when there is no link in `PATH`.
fn newest_epmd() -> Option<std::path::PathBuf> {
    let mut found: Vec<_> = fs::read_dir("/usr/lib/erlang")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin/epmd"))
        .collect();
    found.retain(|path| path.is_file());
    found.sort();
    found.pop()
}

/// The operator's tool, for this node. Without a port mapper it starts one, which stays behind: it must not be run unless
/// the node runs, and what it starts even so carries the mark of its servers.
pub(super) fn control(instance: &Instance, home: &Path, words: &[&str]) -> Result<Launch> {
    let tool = instance.program.with_file_name("rabbitmqctl");
    anyhow::ensure!(tool.is_file(), "{} is not installed", tool.display());
    let base = &instance.folder;
    Ok(Launch::server(tool, instance.account, base)
        .args(["--node", "pp@localhost"])
        .args(words.iter().copied())
        // Where the node's cookie is.
        .env("HOME", base.join("home"))
        .env("RABBITMQ_CONF_ENV_FILE", base.join("config/rabbitmq-env.conf"))
        .env("ERL_EPMD_PORT", instance.ports[2].to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env(MARK, home))
}

/// The node. The script replaces itself by the Erlang machine, so that the pid is the node's own.
pub(super) fn launch(instance: &Instance) -> Launch {
    let base = &instance.folder;
    Launch::server(&instance.program, instance.account, base)
        // "Input allowed" is the mode in which the script does not stay as a parent; -noinput takes the input away again.
        .env("RABBITMQ_ALLOW_INPUT", "true")
        .arg("-noinput")
        .env("HOME", base.join("home"))
        // The name must resolve on every machine, and need not on the network.
        .env("RABBITMQ_NODENAME", "pp@localhost")
        .env("RABBITMQ_BASE", base)
        .env("RABBITMQ_MNESIA_BASE", base.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", base.join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_CONFIG_FILE", base.join("config/rabbitmq.conf"))
        .env("RABBITMQ_CONFIG_FILES", base.join("config/conf.d"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", base.join("config/advanced.config"))
        .env("RABBITMQ_CONF_ENV_FILE", base.join("config/rabbitmq-env.conf"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", base.join("config"))
        .env("RABBITMQ_SCHEMA_DIR", base.join("config"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", base.join("config/enabled_plugins"))
        .env("RABBITMQ_PID_FILE", base.join("rabbitmq.pid"))
        .env("RABBITMQ_DIST_PORT", instance.ports[1].to_string())
        .env("ERL_EPMD_PORT", instance.ports[2].to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_CRASH_DUMP_SECONDS", "0")
        // Schedulers that spin while they wait would take the cores from the others on a small machine.
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
        )
}
