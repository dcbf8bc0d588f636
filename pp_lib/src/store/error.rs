//! Errors of the store.

use crate::runtime::Trouble;

/// An error of the store.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be reached, or not in time. The same call may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database answers but takes no writes: it is read-only, full or damaged, or was changed by hand. This says
    /// nothing about the call, which may succeed later.
    #[error("the database refuses what it should take: {0}")]
    Unwell(String),
    /// The database is damaged. The same call fails until it is repaired or restored.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// A newer program has changed the schema; this one must not go on.
    #[error("a newer version of PP has changed the database: {0}")]
    Outdated(String),
    /// The database refused this call and takes others like it. The same call will fail again.
    #[error("the database refused: {0}")]
    Rejected(String),
}

impl Trouble for StoreError {
    fn summary(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "the database is unavailable",
            Self::Unwell(_) => {
                "the database refuses what it should take: it is read-only, full or damaged, or was changed"
            }
            Self::Damaged(_) => "the database is damaged: it has to be repaired or restored",
            Self::Outdated(_) => "a newer version of PP has changed the database",
            Self::Rejected(_) => "the database refused",
        }
    }
}

/// The result of a call of the store.
pub type Result<T> = std::result::Result<T, StoreError>;
