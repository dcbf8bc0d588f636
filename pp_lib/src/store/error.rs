//! Why a call of the store comes to nothing.

use crate::runtime::Trouble;

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached, or not in time. The same call may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It answers, and refuses what it takes when it is well: it is read-only, full or damaged, or somebody changed it.
    /// This says nothing about the call, which may succeed later.
    #[error("the database refuses what it should take: {0}")]
    Unwell(String),
    /// It was found to be damaged. The same call will fail until it is repaired or restored.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// A newer program has changed its schema; this one must not go on.
    #[error("a newer version of PP has changed the database: {0}")]
    Outdated(String),
    /// It refused this very call, while it takes others like it; the same call will fail again.
    #[error("the database refused: {0}")]
    Rejected(String),
}

impl Trouble for StoreError {
    fn told(&self) -> &'static str {
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

/// What the store's methods return.
pub type Result<T> = std::result::Result<T, StoreError>;
