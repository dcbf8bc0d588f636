//! Locks the data folder for one process. Two writers of one SQLite file with separate brokers would conflict.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The lock of a data folder, held until it is dropped or the process ends. Dropping removes its file. A file left by a
/// killed process does no harm.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
    path: PathBuf,
}

impl FolderLock {
    /// Creates the folder if it is missing, and locks it. If another process uses it, the error names that process.
    pub fn take(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        std::fs::create_dir_all(folder).with_context(|| format!("PP_DATA_DIR: cannot create the folder {shown}"))?;
        let path = folder.join("pp.lock");
        let cannot_write = || format!("PP_DATA_DIR: cannot write to the folder {shown}");
        let (mut file, locked) = loop {
            let file = open(&path).with_context(cannot_write)?;
            let locked = file.try_lock();
            // A process that just ended may have removed the file in between. A lock on a removed file would exclude no
            // other process.
            if locked.is_err() || is_at(&file, &path) {
                break (file, locked);
            }
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                bail!("PP_DATA_DIR: the folder {shown} is in use by process {}", holder.trim());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("PP_DATA_DIR: cannot lock the folder {shown}"));
            }
        }
        let mut lock = Self { file, path };
        lock.sign().with_context(cannot_write)?;
        Ok(lock)
    }

    /// Writes the process id into the file.
    fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // The file is removed while it is locked, so no other process can have locked it.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// True if the open file is still the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: io::Result<fs::Metadata>| metadata.map(|file| (file.dev(), file.ino())).ok();
    identity(file.metadata()).is_some_and(|file| identity(fs::metadata(path)) == Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_folder_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let lock = FolderLock::take(&path).unwrap();
        let error = FolderLock::take(&path).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("is in use by process {}", std::process::id())),
            "{error}"
        );
        // A file opened before its removal must not yield a lock.
        let before = open(&path.join("pp.lock")).unwrap();
        drop(lock);
        before.try_lock().unwrap();
        assert!(!is_at(&before, &path.join("pp.lock")));
        assert!(!path.join("pp.lock").exists());
        FolderLock::take(&path).unwrap();
    }
}
