//! Packages for Python, each set of versions in an environment of its own that later runs find again.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::install::{self, own_folder, take_turn};
use crate::programs::Program;

/// Makes sure of these packages, one `name==version` a line, and returns the folder of their commands, `python` among
/// them. The package manager takes them from the registry that it is set to.
///
/// # Errors
/// When Python or a package cannot be installed.
pub fn packages(requirements: &str) -> Result<PathBuf> {
    let programs = [Program::Python, Program::Venv];
    install::install(&programs, |_| ())?;
    let folder = own_folder()?;
    let _turn = take_turn(&folder)?;
    let mut hasher = DefaultHasher::new();
    requirements.hash(&mut hasher);
    let environment = folder.join(format!("python-{:016x}", hasher.finish()));
    let done = environment.join("complete");
    if !done.exists() {
        let _ = fs::remove_dir_all(&environment);
        run(Command::new(Program::Python.locate()?)
            .args(["-m", "venv"])
            .arg(&environment))?;
        let list = environment.join("requirements.txt");
        fs::write(&list, requirements)?;
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-r",
        ]);
        run(pip.arg(&list))?;
        fs::write(&done, "")?;
    }
    Ok(environment.join("bin"))
}

fn run(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
