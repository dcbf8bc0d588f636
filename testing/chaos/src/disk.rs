//! A small disk of its own, which can be filled up. It is a file system in memory, so only root can make one, and that
//! not in every container.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// What every run's folder begins with; its process' number follows.
pub const FOLDER: &str = "pp-chaos-";
const NAME: &str = "disk";
const BALLAST: &str = "ballast";

/// Mounted for as long as it lives.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Whether this process may make one: whether it has the kernel's leave to mount (CAP_SYS_ADMIN).
    pub fn is_possible() -> bool {
        const MAY_MOUNT: u64 = 1 << 21;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        capabilities.is_some_and(|hex| u64::from_str_radix(hex.trim(), 16).is_ok_and(|all| all & MAY_MOUNT != 0))
    }

    /// Mounts one within `folder`.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount(folder: &Path, mebibytes: u32) -> Result<Self> {
        unmount_abandoned();
        let path = folder.join(NAME);
        fs::create_dir_all(&path)?;
        let size = format!("size={mebibytes}m,mode=700");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "pp-chaos"])
            .arg(&path))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes until there is no room left.
    ///
    /// # Errors
    /// When writing ends for another reason.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.path.join(BALLAST))?;
        let piece = vec![1; 1 << 20];
        let mut length = piece.len();
        while length > 0 {
            match ballast.write(&piece[..length]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => length /= 2,
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.path.join(BALLAST))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

fn unmount(path: &Path) {
    // Whoever still has a file open there keeps it, but nobody finds it any more.
    if run(Command::new("umount").arg(path)).is_err() {
        let _ = run(Command::new("umount").arg("-l").arg(path));
    }
}

/// What a run left mounted that was killed without mercy.
fn unmount_abandoned() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let paths = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for path in paths.filter(|path| path.ends_with(NAME)) {
        let folder = path
            .parent()
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned());
        let owner = folder
            .as_deref()
            .and_then(|name| name.strip_prefix(FOLDER)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            unmount(path);
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_freed_and_is_gone_in_the_end() {
        if !Disk::is_possible() {
            // Mounting is refused, and in words.
            assert!(Disk::mount(&std::env::temp_dir(), 1).is_err());
            return;
        }
        let folder = std::env::temp_dir().join(format!("{FOLDER}{}-test", std::process::id()));
        let disk = Disk::mount(&folder, 1).unwrap();
        let file = disk.path().join("x");
        disk.fill().unwrap();
        assert!(fs::write(&file, "something").is_err());
        disk.free().unwrap();
        fs::write(&file, "something").unwrap();
        drop(disk);
        assert!(!fs::exists(file).unwrap());
        fs::remove_dir_all(folder).unwrap();
    }
}
