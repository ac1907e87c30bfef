//! Invalid requests.

/// The field of a request that is invalid, and why. Such a request is not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field's name in the proto.
    pub field: &'static str,
    /// The problem, for people and for programs.
    pub problem: Problem,
}

/// A problem with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The idempotency key is missing.
    #[error("is required: name the business event, and send the same key when you call again")]
    KeyRequired,
    /// The idempotency key is malformed.
    #[error("{0}")]
    KeyMalformed(String),
    /// The idempotency key is a word that many operations share.
    #[error("{0}")]
    KeyGeneric(String),
    /// The amount is out of range.
    #[error("{0}")]
    Amount(String),
    /// Anything else.
    #[error("{0}")]
    Field(String),
}

impl Invalid {
    /// A field with a general problem.
    pub fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: Problem::Field(problem.into()) }
    }
}
