//! API keys, what they allow, and who does something. The secret of a key is not here, see `crate::access`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::{Json, KindName};

/// The number of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKeyId(pub i64);

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// The name of a key: 1 to 100 bytes of printable text without spaces at its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyLabel(String);

/// A text that is no name of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a key is 1 to {} bytes of printable text", KeyLabel::MAX_LENGTH)]
pub struct KeyLabelError;

impl KeyLabel {
    /// The most bytes of a name.
    pub const MAX_LENGTH: usize = 100;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyLabel {
    type Err = KeyLabelError;

    fn from_str(text: &str) -> Result<Self, KeyLabelError> {
        is_name(text, Self::MAX_LENGTH)
            .then(|| Self(text.to_owned()))
            .ok_or(KeyLabelError)
    }
}

/// True for 1 to `most` bytes of printable text without spaces at its ends.
fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control)
}

impl TryFrom<String> for KeyLabel {
    type Error = KeyLabelError;

    fn try_from(text: String) -> Result<Self, KeyLabelError> {
        text.parse()
    }
}

impl From<KeyLabel> for String {
    fn from(name: KeyLabel) -> Self {
        name.0
    }
}

impl fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a user whom a proxy has signed in: 1 to 200 bytes of printable text without spaces at its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserName(String);

/// A text that is no name of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a user is 1 to {} bytes of printable text", UserName::MAX_LENGTH)]
pub struct UserNameError;

impl UserName {
    /// The most bytes of a name.
    pub const MAX_LENGTH: usize = 200;
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, UserNameError> {
        is_name(text, Self::MAX_LENGTH)
            .then(|| Self(text.to_owned()))
            .ok_or(UserNameError)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that a key allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Reading everything but keys and the audit.
    Read,
    /// Creating works, of this kind or of any.
    Create(Option<KindName>),
    /// Claiming and completing works, of this kind or of any.
    Work(Option<KindName>),
    /// Changing works, kinds and dead letters.
    Operate,
    /// Everything, keys and the audit included.
    Admin,
}

impl Scope {
    /// True if a key with this scope may do what needs `needed`.
    fn allows(&self, needed: &Self) -> bool {
        match (self, needed) {
            (Self::Admin, _) => true,
            (Self::Create(None), Self::Create(_)) | (Self::Work(None), Self::Work(_)) => true,
            (own, needed) => own == needed,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Create(None) => f.write_str("create"),
            Self::Create(Some(kind)) => write!(f, "create:{kind}"),
            Self::Work(None) => f.write_str("work"),
            Self::Work(Some(kind)) => write!(f, "work:{kind}"),
            Self::Operate => f.write_str("operate"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

/// A text that names no scopes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to {} of read, create, create:KIND, work, work:KIND, operate and admin, as in read,create:user.mail",
    Scopes::MOST
)]
pub struct ScopesError;

/// The scopes of a key, as in `read,create:user.mail`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// The most scopes of a key.
    pub const MOST: usize = 50;

    /// The scope that includes all others.
    pub fn admin() -> Self {
        Self(vec![Scope::Admin])
    }

    /// True if the key may do what needs this scope.
    pub fn allow(&self, needed: &Scope) -> bool {
        self.0.iter().any(|scope| scope.allows(needed))
    }

    /// True if the key may create works of at least one kind.
    pub fn allow_some_creation(&self) -> bool {
        self.0
            .iter()
            .any(|scope| matches!(scope, Scope::Create(_) | Scope::Admin))
    }

    /// True if the key may do works of at least one kind.
    pub fn allow_some_work(&self) -> bool {
        self.0
            .iter()
            .any(|scope| matches!(scope, Scope::Work(_) | Scope::Admin))
    }
}

impl FromStr for Scopes {
    type Err = ScopesError;

    fn from_str(text: &str) -> Result<Self, ScopesError> {
        let scope = |text: &str| {
            Some(match text.trim().split_once(':') {
                None => match text.trim() {
                    "read" => Scope::Read,
                    "create" => Scope::Create(None),
                    "work" => Scope::Work(None),
                    "operate" => Scope::Operate,
                    "admin" => Scope::Admin,
                    _ => return None,
                },
                Some(("create", kind)) => Scope::Create(Some(kind.parse().ok()?)),
                Some(("work", kind)) => Scope::Work(Some(kind.parse().ok()?)),
                Some(_) => return None,
            })
        };
        let mut scopes = Vec::new();
        for text in text.split(',') {
            let scope = scope(text).ok_or(ScopesError)?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        (scopes.len() <= Self::MOST).then_some(Self(scopes)).ok_or(ScopesError)
    }
}

impl TryFrom<String> for Scopes {
    type Error = ScopesError;

    fn try_from(text: String) -> Result<Self, ScopesError> {
        text.parse()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{scope}")?;
        }
        Ok(())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The most works that a key may create in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct WorksPerDay(u32);

/// A number that is no bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("works_per_day must be a whole number from 1 to {}", WorksPerDay::MOST)]
pub struct WorksPerDayError;

impl WorksPerDay {
    /// The largest bound.
    pub const MOST: u32 = 1_000_000_000;
}

impl TryFrom<i64> for WorksPerDay {
    type Error = WorksPerDayError;

    fn try_from(number: i64) -> Result<Self, WorksPerDayError> {
        let number = u32::try_from(number).map_err(|_| WorksPerDayError)?;
        (1..=Self::MOST)
            .contains(&number)
            .then_some(Self(number))
            .ok_or(WorksPerDayError)
    }
}

impl From<WorksPerDay> for i64 {
    fn from(bound: WorksPerDay) -> Self {
        bound.0.into()
    }
}

impl FromStr for WorksPerDay {
    type Err = WorksPerDayError;

    fn from_str(text: &str) -> Result<Self, WorksPerDayError> {
        text.parse::<i64>().map_err(|_| WorksPerDayError)?.try_into()
    }
}

impl fmt::Display for WorksPerDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who does something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Principal {
    /// Anybody: no key is asked for.
    #[default]
    Open,
    /// The holder of a key.
    Key {
        /// Its number.
        id: ApiKeyId,
        /// Its name.
        name: KeyLabel,
    },
    /// A user whom a trusted proxy has signed in.
    Proxy(UserName),
    /// A user of the operating system at the command line.
    CommandLine(String),
    /// A service of PP, which acts for nobody.
    Service,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Key { id, name } => write!(f, "key:{id} {name}"),
            Self::Proxy(user) => write!(f, "proxy:{user}"),
            Self::CommandLine(user) => write!(f, "cli:{user}"),
            Self::Service => f.write_str("service"),
        }
    }
}

/// A key as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct KeyInfo {
    /// Its number.
    pub id: ApiKeyId,
    /// Its name, unique among valid keys.
    pub name: KeyLabel,
    /// What it allows.
    pub scopes: Scopes,
    /// The most works that it may create in a day; absent without a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub works_per_day: Option<WorksPerDay>,
    /// When it was made, as a Unix second.
    pub created_on: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was revoked; absent while it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_on: Option<i64>,
}

/// One change and who made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Its number; newer ones have higher numbers.
    pub id: i64,
    /// When it was made, as a Unix second.
    pub created_on: i64,
    /// Who made it.
    pub principal: String,
    /// What was done, as in `work.cancel`.
    pub action: String,
    /// To what, as in `work/7`.
    pub subject: String,
    /// Particulars: a JSON object.
    pub details: Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        text.parse().unwrap()
    }

    fn kind(text: &str) -> Option<KindName> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn admin_includes_the_others_and_they_only_themselves() {
        let all = [
            Scope::Read,
            Scope::Create(None),
            Scope::Work(None),
            Scope::Operate,
            Scope::Admin,
        ];
        for own in &all {
            for needed in &all {
                let allowed = scopes(&own.to_string()).allow(needed);
                assert_eq!(allowed, own == needed || *own == Scope::Admin, "{own} for {needed}");
            }
        }
    }

    #[test]
    fn a_scope_for_a_kind_is_for_no_other() {
        let mail = scopes("read,create:user.mail");
        assert!(mail.allow(&Scope::Create(kind("user.mail"))) && mail.allow_some_creation());
        assert!(!mail.allow(&Scope::Create(kind("user"))) && !mail.allow(&Scope::Create(None)));
        assert!(scopes("create").allow(&Scope::Create(kind("user.mail"))));
        assert!(!scopes("work:user.mail").allow_some_creation());
    }

    #[test]
    fn scopes_are_written_as_they_are_read() {
        assert_eq!(
            scopes("read, create:user.mail,read").to_string(),
            "read,create:user.mail"
        );
        for wrong in ["", "read,", "write", "create:", "create:A", "admin:x", "read create"] {
            assert_eq!(wrong.parse::<Scopes>(), Err(ScopesError), "{wrong}");
        }
        let many: Vec<String> = (0..=Scopes::MOST).map(|number| format!("work:k{number}")).collect();
        assert_eq!(many.join(",").parse::<Scopes>(), Err(ScopesError));
    }

    #[test]
    fn a_name_is_short_and_printable() {
        for wrong in ["", " a", "a\n", &"n".repeat(101)] {
            assert_eq!(wrong.parse::<KeyLabel>(), Err(KeyLabelError), "{wrong:?}");
        }
        for wrong in ["", "alice ", "a\tb", &"n".repeat(201)] {
            assert_eq!(wrong.parse::<UserName>(), Err(UserNameError), "{wrong:?}");
        }
        let user = "Zoë <zoe@example.com>".parse().unwrap();
        assert_eq!(Principal::Proxy(user).to_string(), "proxy:Zoë <zoe@example.com>");
        let name = "the deploy of Mondays".parse().unwrap();
        let id = ApiKeyId(3);
        assert_eq!(Principal::Key { id, name }.to_string(), "key:3 the deploy of Mondays");
    }
}
