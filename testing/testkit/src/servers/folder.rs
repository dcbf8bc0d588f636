//! Where servers keep their data: a folder that their accounts can reach, and the password they share.
//!
//! A clone may lie where no other user may go, `/root` for example. The data is then put under `/var/tmp`, and a file in
//! the state folder tells where.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::distr::Alphanumeric;

use super::Kind;
use crate::process::ProcessId;
use crate::programs::Account;

/// The file in a state folder that names the folder with the data.
const LOCATION: &str = "location";

/// Others may pass through, but not list.
const PASSAGE: u32 = 0o711;

/// The folder for the servers' data that belongs to the state folder `state`, made when it does not exist.
pub(crate) fn of_state(state: &Path) -> Result<PathBuf> {
    make(state, PASSAGE)?;
    let state = state.canonicalize()?;
    let note = state.join(LOCATION);
    if let Ok(location) = fs::read_to_string(&note) {
        let location = PathBuf::from(location.trim_end());
        make(&location, PASSAGE)?;
        return Ok(location);
    }
    let inside = state.join("servers");
    let location = if is_reachable(&inside)? {
        inside
    } else {
        let outside = PathBuf::from("/var/tmp").join(format!("pp-{}", fingerprint(&state)));
        ensure!(
            is_reachable(&outside)?,
            "no folder that the servers' accounts can reach, not even {}",
            outside.display()
        );
        outside
    };
    make(&location, PASSAGE)?;
    fs::write(&note, format!("{}\n", location.display()))?;
    Ok(location)
}

/// A short name for a path.
pub(crate) fn fingerprint(path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// A new folder for servers that live only for a while.
pub(crate) fn temporary() -> Result<PathBuf> {
    for parent in temporary_parents() {
        let folder = parent.join(format!("{TEMPORARY}{}", random_text(10)));
        if is_reachable(&folder)? && DirBuilder::new().mode(PASSAGE).create(&folder).is_ok() {
            write_secret(
                &folder.join(OWNER),
                &serde_json::to_string(&ProcessId::of(std::process::id())?)?,
            )?;
            return Ok(folder);
        }
    }
    anyhow::bail!("no temporary folder that the servers' accounts can reach")
}

/// Where temporary folders may be, the preferred place first.
pub(crate) fn temporary_parents() -> [PathBuf; 3] {
    [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
}

/// The file in a temporary folder that says which process it belongs to.
pub(crate) const OWNER: &str = "owner.json";

/// What the names of temporary folders begin with.
pub(crate) const TEMPORARY: &str = "pp-servers-";

fn is_reachable(folder: &Path) -> Result<bool> {
    for kind in Kind::ALL {
        if !Account::of(kind)?.reaches(folder) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a folder of this user. One that exists must be this user's own: `/var/tmp` is everybody's.
pub(crate) fn make(folder: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let owner = fs::symlink_metadata(folder)?.uid();
    ensure!(
        owner == nix::unistd::geteuid().as_raw(),
        "{} belongs to another user",
        folder.display()
    );
    Ok(())
}

/// Makes a folder that only `account` may use.
pub(crate) fn make_for(account: Account, folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    chown(folder, Some(account.uid), Some(account.gid))
        .with_context(|| format!("cannot give away {}", folder.display()))
}

/// Writes a file that only `account` may read.
pub(crate) fn write_for(account: Account, file: &Path, text: &str) -> Result<()> {
    write_secret(file, text)?;
    chown(file, Some(account.uid), Some(account.gid)).with_context(|| format!("cannot give away {}", file.display()))
}

/// Writes a file that only this user may read.
pub(crate) fn write_secret(file: &Path, text: &str) -> Result<()> {
    // A file that exists would keep its mode and owner.
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let opened = OpenOptions::new().create_new(true).write(true).mode(0o600).open(file);
    opened
        .with_context(|| format!("cannot write {}", file.display()))?
        .write_all(text.as_bytes())?;
    Ok(())
}

/// The password of the servers in `home`: drawn once, then kept, because their data knows it.
pub(crate) fn password(home: &Path) -> Result<String> {
    let file = home.join("password");
    if let Ok(password) = fs::read_to_string(&file) {
        return Ok(password);
    }
    let password = random_text(24);
    write_secret(&file, &password)?;
    Ok(password)
}

/// Letters and digits alone: nothing to escape in a URL, a configuration file or a shell.
fn random_text(length: usize) -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(length)
        .map(char::from)
        .collect()
}
