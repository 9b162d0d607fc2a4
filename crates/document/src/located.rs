//! A value and the place where it stands.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::de::LOCATED;
use crate::error::DocumentError;

/// A value with its line and column, both from 1; 0 says that the place is unknown.
///
/// Filled by [`crate::from_yaml`] and [`crate::from_json`]; other deserialisers, and serde's
/// buffers behind `flatten`, `untagged` and internally tagged enums, leave the place unknown.
/// Serialised, compared and hashed as the value alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The line, from 1; 0 if unknown.
    pub line: u32,
    /// The column in characters, from 1; 0 if unknown.
    pub column: u32,
}

impl<T> Located<T> {
    /// A value that stands nowhere.
    #[must_use]
    pub const fn unknown(value: T) -> Self {
        Self { value, line: 0, column: 0 }
    }

    /// Another value at the same place.
    #[must_use]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: f(self.value), line: self.line, column: self.column }
    }

    /// `policy.yaml:31:5`, or the name alone if the place is unknown.
    #[must_use]
    pub fn place_in(&self, source_name: &str) -> String {
        if self.line == 0 {
            source_name.to_owned()
        } else {
            format!("{source_name}:{}:{}", self.line, self.column)
        }
    }

    /// An error at this place.
    #[must_use]
    pub fn error(&self, source_name: &str, message: impl AsRef<str>) -> DocumentError {
        DocumentError::at(source_name, self.line, self.column, message)
    }
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self::unknown(value)
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: PartialOrd> PartialOrd for Located<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for Located<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl<T: Hash> Hash for Located<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(LOCATED, LocatedVisitor(PhantomData))
    }
}

struct LocatedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    /// Every deserialiser but ours comes here.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        T::deserialize(inner).map(Located::unknown)
    }

    /// Ours: line, column, value.
    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let missing = || A::Error::custom("a located value has a line, a column and a value");
        Ok(Located {
            line: parts.next_element()?.ok_or_else(missing)?,
            column: parts.next_element()?.ok_or_else(missing)?,
            value: parts.next_element()?.ok_or_else(missing)?,
        })
    }
}
