//! Integers of 64 bits and more in JSON: as texts, since many readers have only floats for numbers. `ProtoJSON` does the same.

use std::fmt::Display;

use serde::{Serialize, Serializer};

/// Serializes a value as the text that it is displayed as.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// An integer.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub(crate) struct Integer(#[serde(serialize_with = "text")] pub(crate) i64);
