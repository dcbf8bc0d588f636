//! Where the programs are on this machine that tests need beside PP's own, and the accounts that servers run as.
//!
//! Only looks; installing is in [`crate::install`], starting in [`crate::servers`].

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::unistd::{Gid, Uid, User};

use crate::servers::Kind;

/// A program that a package brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A server.
    Server(Kind),
    /// PgBouncer, a connection pooler before PostgreSQL.
    Pooler,
    /// Prometheus, which collects metrics, with `promtool`, which checks its files.
    Prometheus,
    /// Chromium, a browser.
    Browser,
    /// `wrk`, which measures how many HTTP requests a server answers.
    LoadGenerator,
    /// Python 3.
    Python,
    /// What makes an environment for packages of Python.
    Venv,
    /// Node.js.
    Node,
    /// npm, which fetches packages for Node.js.
    Npm,
    /// The module psycopg2 of Python, a client of PostgreSQL.
    Psycopg,
}

impl From<Kind> for Program {
    fn from(kind: Kind) -> Self {
        Self::Server(kind)
    }
}

impl Program {
    /// What tests start themselves, beside servers.
    pub const OF_TESTS: [Self; 8] = [
        Self::Pooler,
        Self::Prometheus,
        Self::Browser,
        Self::Python,
        Self::Venv,
        Self::Node,
        Self::Npm,
        Self::Psycopg,
    ];

    /// The Debian package.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Server(kind) => kind.package(),
            Self::Pooler => "pgbouncer",
            Self::Prometheus => "prometheus",
            Self::Browser => "chromium",
            Self::LoadGenerator => "wrk",
            Self::Python => "python3",
            Self::Venv => "python3-venv",
            Self::Node => "nodejs",
            Self::Npm => "npm",
            Self::Psycopg => "python3-psycopg2",
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn locate(self) -> Result<PathBuf> {
        match self {
            Self::Server(kind) => locate(kind),
            Self::Pooler => in_path("pgbouncer").context("pgbouncer is not installed"),
            Self::Prometheus => in_path("prometheus").context("prometheus is not installed"),
            Self::Browser => in_path("chromium").context("chromium is not installed"),
            Self::LoadGenerator => in_path("wrk").context("wrk is not installed"),
            // The system's own is the one that has the system's modules.
            Self::Python => executable("/usr/bin/python3")
                .or_else(|| in_path("python3"))
                .context("python3 is not installed"),
            Self::Venv => ensurepip().context("the module ensurepip of python3 is not installed"),
            Self::Node => in_path("node").context("node is not installed"),
            Self::Npm => in_path("npm").context("npm is not installed"),
            Self::Psycopg => {
                let module = PathBuf::from("/usr/lib/python3/dist-packages/psycopg2/__init__.py");
                module
                    .is_file()
                    .then_some(module)
                    .context("the module psycopg2 is not installed")
            }
        }
    }
}

/// The program that starts the server `kind`.
///
/// # Errors
/// When it is not installed.
pub fn locate(kind: Kind) -> Result<PathBuf> {
    let found = match kind {
        Kind::Postgres => newest_postgres().or_else(|| in_path("postgres")),
        // The script in Debian's /usr/sbin switches users and prepares /var/lib; the one behind it does neither.
        Kind::RabbitMq => executable("/usr/lib/rabbitmq/bin/rabbitmq-server").or_else(|| in_path("rabbitmq-server")),
        Kind::Redis => in_path("redis-server"),
    };
    found.with_context(|| format!("{kind} is not installed"))
}

/// The program `name` from `PATH` or from the folders that an ordinary user's `PATH` leaves out.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find_map(executable)
}

fn executable(path: impl AsRef<Path>) -> Option<PathBuf> {
    let path = path.as_ref();
    let metadata = path.metadata().ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then(|| path.to_path_buf())
}

/// Debian has the module in a package of its own; elsewhere it comes with Python.
fn ensurepip() -> Option<PathBuf> {
    let python = Program::Python.locate().ok()?;
    let found = std::process::Command::new(&python)
        .args(["-c", "import ensurepip"])
        .output()
        .ok()?;
    found.status.success().then_some(python)
}

/// Debian keeps one folder per major version, outside of `PATH`.
fn newest_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |path: &PathBuf| {
        path.file_name()
            .and_then(OsStr::to_str)
            .and_then(|name| name.parse::<u32>().ok())
    };
    let mut folders: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    folders.sort_by_key(version);
    let complete = |folder: PathBuf| {
        executable(folder.join("bin/initdb"))?;
        executable(folder.join("bin/postgres"))
    };
    folders.into_iter().rev().find_map(complete)
}

/// Whom a server runs as. PostgreSQL refuses root, and the other two have no need for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Whether the account differs from the one this process has.
    pub switch: bool,
}

impl Account {
    /// The system user of `kind`, or `nobody`, when this process is root; else this process' own user.
    ///
    /// # Errors
    /// When this process is root and there is no unprivileged account at all.
    pub fn of(kind: Kind) -> Result<Self> {
        let euid = Uid::effective();
        if !euid.is_root() {
            return Ok(Self {
                uid: euid.as_raw(),
                gid: Gid::effective().as_raw(),
                switch: false,
            });
        }
        for name in [kind.system_user(), "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Self {
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                    switch: true,
                });
            }
        }
        anyhow::bail!(
            "{kind} must not run as root, and there is neither a user {} nor nobody",
            kind.system_user()
        )
    }

    /// Whether this account may pass through every folder from the root down to `folder`, which need not exist yet.
    pub fn reaches(&self, folder: &Path) -> bool {
        folder.ancestors().filter(|step| step.exists()).all(|step| {
            let Ok(metadata) = step.metadata() else { return false };
            let passage = if metadata.uid() == self.uid {
                0o100
            } else if metadata.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            metadata.mode() & passage != 0
        })
    }
}
