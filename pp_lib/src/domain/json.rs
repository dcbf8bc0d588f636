//! JSON that is kept as it came: arguments and results.
//!
//! The text is never read into numbers or maps and written again, so `1.10`, a number of 40 digits and the order of keys
//! survive. One scanner checks what comes from outside.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value as text, without space around it. A clone shares the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

/// The reason why a text is not accepted as JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// JSON pointer (RFC 6901) to the value at fault; empty for the whole text.
    pub pointer: String,
    /// The reason.
    pub fault: JsonFault,
}

/// A broken rule for JSON from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonFault {
    /// The text is not JSON; the parser's words.
    Syntax(String),
    /// A text contains U+0000, which PostgreSQL cannot search or compare.
    Nul,
    /// A text contains half of a surrogate pair, which is no character.
    LoneSurrogate,
    /// Two members of an object have one name, and readers disagree about which one counts.
    DuplicateName,
    /// Arrays and objects are nested in more than [`Json::MAX_DEPTH`] levels.
    TooDeep,
    /// The text is longer than this many bytes.
    TooLong(usize),
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => f.write_str(why),
            Self::Nul => f.write_str("a text contains the character U+0000"),
            Self::LoneSurrogate => f.write_str("a text contains half of a surrogate pair"),
            Self::DuplicateName => f.write_str("two members of an object have one name"),
            Self::TooDeep => write!(f, "more than {} levels of arrays and objects", Json::MAX_DEPTH),
            Self::TooLong(limit) => write!(f, "longer than {limit} bytes"),
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => self.fault.fmt(f),
            pointer => write!(f, "{} at {pointer}", self.fault),
        }
    }
}

impl std::error::Error for JsonError {}

impl Json {
    /// The maximum nesting of arrays and objects.
    pub const MAX_DEPTH: usize = 64;

    /// The usual limit of arguments and of a result, 64 KiB.
    pub const USUAL_LIMIT: usize = 64 << 10;

    /// The largest limit that can be set, 1 MiB.
    pub const LARGEST_LIMIT: usize = 1 << 20;

    /// Accepts a text from outside, of at most `limit` bytes.
    ///
    /// # Errors
    /// The text is too long, no JSON, or breaks one of the rules of [`JsonFault`].
    pub fn parse(text: &[u8], limit: usize) -> Result<Self, JsonError> {
        let whole = |fault| JsonError {
            pointer: String::new(),
            fault,
        };
        let text = std::str::from_utf8(text).map_err(|error| whole(JsonFault::Syntax(error.to_string())))?;
        let value: &RawValue = serde_json::from_str(text).map_err(|error| whole(syntax(&error)))?;
        if value.get().len() > limit {
            return Err(whole(JsonFault::TooLong(limit)));
        }
        let mut pointer = String::new();
        match scan(value, 0, &mut pointer) {
            Ok(()) => Ok(Self(value.get().into())),
            Err(fault) => Err(JsonError { pointer, fault }),
        }
    }

    /// A text that was accepted before, as the store and the caches return it.
    pub fn accepted(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length of the text.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Reads the value.
    ///
    /// # Errors
    /// It has another form.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self(number.to_string().into())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

/// Takes any JSON, without the rules of [`JsonFault`].
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|value| Self(value.get().into()))
    }
}

/// Checks a value and all values in it. After an error `pointer` leads to the value at fault.
fn scan(value: &RawValue, depth: usize, pointer: &mut String) -> Result<(), JsonFault> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => scan_text(text),
        Some(b'[' | b'{') if depth == Json::MAX_DEPTH => Err(JsonFault::TooDeep),
        Some(b'[') => {
            let Items(items) = serde_json::from_str(text).map_err(|error| syntax(&error))?;
            for (index, item) in items.into_iter().enumerate() {
                scan_at(&index.to_string(), item, depth + 1, pointer)?;
            }
            Ok(())
        }
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).map_err(|error| syntax(&error))?;
            let mut names = HashSet::with_capacity(members.len());
            for (name, item) in members {
                let quoted = name.get();
                scan_text(quoted)?;
                let name: String = serde_json::from_str(quoted).map_err(|error| syntax(&error))?;
                let token = name.replace('~', "~0").replace('/', "~1");
                if !names.insert(name) {
                    pointer.push('/');
                    pointer.push_str(&token);
                    return Err(JsonFault::DuplicateName);
                }
                scan_at(&token, item, depth + 1, pointer)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn scan_at(token: &str, value: &RawValue, depth: usize, pointer: &mut String) -> Result<(), JsonFault> {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(token);
    scan(value, depth, pointer)?;
    pointer.truncate(length);
    Ok(())
}

/// Checks a text in quotes. Only an escape can stand for what is forbidden.
fn scan_text(quoted: &str) -> Result<(), JsonFault> {
    if !quoted.contains("\\u") {
        return Ok(());
    }
    match serde_json::from_str::<String>(quoted) {
        Ok(text) if text.contains('\0') => Err(JsonFault::Nul),
        Ok(_) => Ok(()),
        Err(_) => Err(JsonFault::LoneSurrogate),
    }
}

fn syntax(error: &serde_json::Error) -> JsonFault {
    let mut why = error.to_string();
    why.truncate(why.floor_char_boundary(200));
    JsonFault::Syntax(why)
}

/// The items of an array.
struct Items<'a>(Vec<&'a RawValue>);

/// The members of an object, in their order. Names are kept in quotes.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;

        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = array.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }

        deserializer.deserialize_seq(ItemsVisitor)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Json, (String, JsonFault)> {
        Json::parse(text.as_bytes(), Json::USUAL_LIMIT).map_err(|error| (error.pointer, error.fault))
    }

    #[test]
    fn a_text_is_kept_byte_for_byte() {
        let long = "1234567890".repeat(4);
        let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
        for text in [
            "null",
            "1.10",
            "1e400",
            "-0",
            "\"🧾\"",
            r#""😀""#,
            &long,
            &deep,
            r#"{"b":1,"a":[true, 2 , {"~/":"\/"}]}"#,
        ] {
            let json = parse(text).unwrap();
            assert_eq!(json.as_str(), text);
            assert_eq!(serde_json::to_string(&json).unwrap(), text);
            assert_eq!(serde_json::from_str::<Json>(text).unwrap(), json);
        }
        assert_eq!(parse(" \n{} ").unwrap().as_str(), "{}");
    }

    #[test]
    fn what_readers_disagree_about_is_refused_with_its_place() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&deep(64)).is_ok());
        let (pointer, fault) = parse(&deep(65)).unwrap_err();
        assert_eq!((pointer, fault), ("/0".repeat(64), JsonFault::TooDeep));
        for (text, pointer, fault) in [
            (r#"{"a":{"b":["x","\u0000"]}}"#, "/a/b/1", JsonFault::Nul),
            (r#"["\ud800"]"#, "/0", JsonFault::LoneSurrogate),
            (r#"["\udc00\ud800"]"#, "/0", JsonFault::LoneSurrogate),
            (r#"{"a":1,"a":2}"#, "/a", JsonFault::DuplicateName),
            (r#"{"x":{"a/b":1,"a\u002fb":2}}"#, "/x/a~1b", JsonFault::DuplicateName),
            (r#"{"\ud800":1}"#, "", JsonFault::LoneSurrogate),
        ] {
            assert_eq!(parse(text), Err((pointer.to_owned(), fault)), "{text}");
        }
        for text in ["", "{", "[1,]", "nul", "01", "\"\u{1}\"", "1 2", "{'a':1}"] {
            assert!(matches!(parse(text), Err((_, JsonFault::Syntax(_)))), "{text}");
        }
        assert!(matches!(
            Json::parse(b"\"\xff\"", 10),
            Err(JsonError {
                fault: JsonFault::Syntax(_),
                ..
            })
        ));
        assert_eq!(Json::parse(b"\"1234\"", 5).unwrap_err().fault, JsonFault::TooLong(5));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[^\0]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map("[^\0]{0,4}", inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn all_other_json_is_accepted(value in any_json()) {
            let text = serde_json::to_string(&value).unwrap();
            let json = parse(&text).unwrap();
            prop_assert_eq!(json.as_str(), text);
        }
    }
}
