//! What the clients asked for and what they were told: the one side of the account. The other side is [`super::evidence`].

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use pp_lib::domain::KindName;

use super::asks::Ask;

/// Seconds since 1970, by the clock of this machine, which is the database's as well.
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// By what a demand is known to its client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The id of the work, from the API's answer.
    Work(i64),
    /// The message id, which the client made; it is one within the kind.
    Message(String),
    /// The code that was promised for the work.
    Code(String),
}

/// A demand that was acknowledged.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// Which one.
    pub identity: Identity,
    /// What it asked for, unless the bound of a sum was left to the API.
    pub ask: Option<Ask>,
    /// When the client had its answer, in seconds since 1970.
    pub at: f64,
}

impl Acknowledged {
    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        self.ask.map_or(KindName::ADD_UP_TO, Ask::kind)
    }
}

/// What a client asks of a work that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Other arguments.
    To(Ask),
    /// That it is cancelled.
    Cancel,
    /// That it starts over, failed or cancelled.
    Retry,
    /// Its end.
    Gone,
}

/// What a client asked of its own work, one thing after the other, until one was not answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The arguments that it was acknowledged to be given, in order.
    pub given: Vec<Ask>,
    /// How often it was acknowledged to be cancelled.
    pub cancels: usize,
    /// Whether its deletion was acknowledged.
    pub deleted: bool,
    /// What was not answered: it may have taken effect or not.
    pub open: Option<Change>,
}

impl Changes {
    /// Whether the work need not be there any more.
    pub fn may_be_gone(&self) -> bool {
        self.deleted || self.open == Some(Change::Gone)
    }
}

/// One request, answered well or not.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// When it was sent, in seconds since 1970.
    pub at: f64,
    /// Whether the answer was 200.
    pub ok: bool,
    /// Whether it was answered that it cannot be done now: 503, or 409.
    pub refused: bool,
}

/// Everything that the clients of one round, or of a whole run, were told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Demands that must be done.
    pub acknowledged: Vec<Acknowledged>,
    /// Message ids of confirmed messages that nobody can read: each must become one dead letter.
    pub unreadable: Vec<String>,
    /// Demands that may exist or not: sent once, without a key, and not answered.
    pub indeterminate: Vec<Option<Ask>>,
    /// The codes of works that an application put in and rolled back.
    pub rolled_back: Vec<String>,
    /// What was asked of works by those who created them, by id.
    pub changes: HashMap<i64, Changes>,
    /// Every request for works.
    pub attempts: Vec<Attempt>,
    /// How many dead letters the operator was told are redriven, and how many works their owners that they start over.
    pub redriven: u64,
    /// Requests to redrive or to start over that were not answered: they may have taken effect.
    pub redrives_unanswered: u64,
    /// Works that started over, as the operator or their owner was told, once for each time.
    pub redriven_works: Vec<i64>,
    /// Calls with one key that were told of different works, and works that were found though they had been deleted.
    pub twice: Vec<String>,
    /// Demands whose retries were never answered.
    pub given_up: Vec<String>,
    /// Answers that should not be, such as 500.
    pub odd: Vec<String>,
}

impl Told {
    /// Takes over what another one has.
    pub fn extend(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unreadable.extend(other.unreadable);
        self.indeterminate.extend(other.indeterminate);
        self.rolled_back.extend(other.rolled_back);
        self.changes.extend(other.changes);
        self.attempts.extend(other.attempts);
        self.redriven += other.redriven;
        self.redrives_unanswered += other.redrives_unanswered;
        self.redriven_works.extend(other.redriven_works);
        self.twice.extend(other.twice);
        self.given_up.extend(other.given_up);
        self.odd.extend(other.odd);
    }

    /// Kinds and message ids of demands that have no other identity.
    pub fn messages(&self) -> (Vec<&'static str>, Vec<&str>) {
        let messages = self.acknowledged.iter().filter_map(|one| match &one.identity {
            Identity::Message(id) => Some((one.kind(), id.as_str())),
            Identity::Work(_) | Identity::Code(_) => None,
        });
        messages.unzip()
    }

    /// The codes that were promised.
    pub fn codes(&self) -> Vec<String> {
        let codes = self.acknowledged.iter().filter_map(|one| match &one.identity {
            Identity::Code(code) => Some(code.clone()),
            Identity::Work(_) | Identity::Message(_) => None,
        });
        codes.collect()
    }
}
