//! One process a data folder: two writers of one SQLite file, each with a broker of its own, would work against each
//! other.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The lock of a data folder, held until this is dropped or the process ends, however it ends. Its file is removed when it
/// is dropped; one that a kill leaves behind is in nobody's way.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
    path: PathBuf,
}

impl FolderLock {
    /// Creates the folder where it is missing, and locks it.
    ///
    /// # Errors
    /// When the folder cannot be written, or another process has it; one line that says which.
    pub fn take(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        std::fs::create_dir_all(folder).with_context(|| format!("PP_DATA_DIR: cannot make the folder {shown}"))?;
        let path = folder.join("pp.lock");
        let cannot_write = || format!("PP_DATA_DIR: cannot write to the folder {shown}");
        let (mut file, locked) = loop {
            let file = open(&path).with_context(cannot_write)?;
            let locked = file.try_lock();
            // One that ends may have removed the file in between: then this lock keeps nobody out.
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

    /// Writes down who holds it.
    fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // While it is still locked: nobody else can have it.
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

/// Whether the file is the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: io::Result<fs::Metadata>| metadata.map(|file| (file.dev(), file.ino())).ok();
    identity(file.metadata()).is_some_and(|file| identity(fs::metadata(path)) == Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_says_which() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let lock = FolderLock::take(&path).unwrap();
        let error = FolderLock::take(&path).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("is in use by process {}", std::process::id())),
            "{error}"
        );
        // Whoever opened the file before it was removed does not get a lock that keeps nobody out.
        let before = open(&path.join("pp.lock")).unwrap();
        drop(lock);
        before.try_lock().unwrap();
        assert!(!is_at(&before, &path.join("pp.lock")));
        assert!(!path.join("pp.lock").exists());
        FolderLock::take(&path).unwrap();
    }
}
