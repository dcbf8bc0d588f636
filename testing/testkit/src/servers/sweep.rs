//! Removes what temporary servers left behind whose owner was killed without mercy.
//!
//! Private servers end with their owner by themselves; what remains of them is a folder. Containers remain as they were.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::folder;
use crate::compose::Project;
use crate::launch::MARK;
use crate::process::{self, ProcessId};

/// Looks through all places for temporary folders. What cannot be removed stays for the next time.
pub(super) fn abandoned() {
    for parent in folder::temporary_parents() {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(folder::TEMPORARY) && is_abandoned(&entry.path()) {
                remove(&entry.path());
            }
        }
    }
}

fn is_abandoned(home: &Path) -> bool {
    let is_own = fs::symlink_metadata(home).is_ok_and(|metadata| metadata.uid() == nix::unistd::geteuid().as_raw());
    let owner = || serde_json::from_str::<ProcessId>(&fs::read_to_string(home.join(folder::OWNER)).ok()?).ok();
    is_own && owner().is_some_and(|owner| !owner.is_alive())
}

fn remove(home: &Path) {
    if let Some(containers) = Project::abandoned(home.to_path_buf()) {
        drop(containers);
        return;
    }
    for process in process::with_variable(MARK, &home.to_string_lossy()) {
        let _ = process.end(&[]);
    }
    let _ = fs::remove_dir_all(home);
}
