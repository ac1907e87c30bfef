//! What can go wrong with a call.

use std::sync::Arc;

use crate::{
    access::{Caller, Role},
    accounting::{Invalid, KeyReused, NotFound, Refusal},
    committer::SubmitError,
    ledger::LedgerError,
};

/// Why a call fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// A field is invalid.
    Invalid(Invalid),
    /// The key belongs to another request.
    KeyReused(KeyReused),
    /// The requested item does not exist.
    NotFound(NotFound),
    /// Refused for a business reason.
    Refused(Arc<Refusal>),
    /// The operation was not carried out, or its outcome is unknown.
    Submit(SubmitError),
    /// The book could not be read.
    Ledger(LedgerError),
    /// The caller is denied access.
    Denied(Denial),
    /// Too many calls are in progress.
    TooManyCalls,
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// The caller's deadline, or the service's own, passed before the whole request had arrived.
    HalfSent,
    /// The caller aborted its request.
    BrokenOff,
    /// The request is larger than so many bytes.
    RequestTooLarge(usize),
    /// The metadata is too large.
    MetadataTooLarge,
    /// The request is not a valid message of the method.
    RequestMalformed,
    /// The request is compressed.
    CompressionUnsupported,
    /// The request is flagged as compressed, but declares no encoding.
    CompressionUndeclared,
    /// The method does not exist.
    Unimplemented,
    /// A handler panicked, with this message.
    Panicked(String),
}

/// Why a caller is denied access.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    /// It sent no credentials.
    #[error(
        "credentials are required: send the metadata `authorization: Bearer <token>`, or use a client certificate"
    )]
    NoCredentials,
    /// Its authorization metadata is malformed.
    #[error("the metadata authorization must be `Bearer <token>`")]
    NotBearer,
    /// The token is unknown.
    #[error("the bearer token is not known")]
    UnknownToken,
    /// Its certificate is not valid.
    #[error("the client certificate is not valid: {0}")]
    InvalidCertificate(String),
    /// None of the names in its certificate is known.
    #[error("no name of the client certificate is known")]
    UnknownCertificate,
    /// It lacks the role.
    #[error("{method} needs the role {}, and {} has {}", names(.needed), .caller.name, .caller.roles)]
    Role {
        /// The caller.
        caller: Caller,
        /// The method.
        method: &'static str,
        /// The roles, one of which it needs.
        needed: &'static [Role],
    },
}

/// The names of roles, for a sentence.
pub(super) fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ")
}

macro_rules! failure_from {
    ($($error:ident => $variant:ident),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}
failure_from!(Invalid => Invalid, SubmitError => Submit, LedgerError => Ledger);
