//! A request that can never be carried out as it is.

/// Which field of a request is wrong, and how. Nothing is remembered of such a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field's name in the proto.
    pub field: &'static str,
    /// What is wrong with it, for people, and of which sort it is, for programs.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no idempotency key.
    #[error("is required: name the business event, and send the same key when you call again")]
    KeyRequired,
    /// The idempotency key has the wrong form.
    #[error("{0}")]
    KeyMalformed(String),
    /// The idempotency key is a word that many operations share.
    #[error("{0}")]
    KeyGeneric(String),
    /// The amount is not one that can move.
    #[error("{0}")]
    Amount(String),
    /// Anything else.
    #[error("{0}")]
    Field(String),
}

impl Invalid {
    /// A field with a problem of the general sort.
    pub fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: Problem::Field(problem.into()) }
    }
}
