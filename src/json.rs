//! Integers of 64 bits and more in JSON: as strings, since many parsers read numbers as floats. `ProtoJSON` does the same.

use std::fmt::Display;

use serde::{Serialize, Serializer};

/// Serializes a value as its `Display` text.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// An integer.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub(crate) struct Integer(#[serde(serialize_with = "text")] pub(crate) i64);
