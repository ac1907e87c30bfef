//! The mapping of every failure to a gRPC status. The cause stays internal, as the source of the status, for the log.

use std::{collections::HashMap, error::Error as StdError, sync::Arc, time::Duration};

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    accounting::{Invalid, KeyReused, NotFound, Problem, Refusal},
    committer::SubmitError,
    ledger::LedgerError,
};

use super::{
    connection::METADATA_BYTES_MAX,
    failure::{Denial, Failure, names},
};

/// The domain of every reason.
const DOMAIN: &str = "billing.v1";

/// The message of a panic.
#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panic(String);

/// Marks a failure as the caller's fault, with the code for the log and the metrics.
#[derive(Debug, thiserror::Error)]
#[error("the caller did not keep to the protocol")]
struct CallersFault(Code);

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid(invalid) => of_invalid(&invalid),
            Failure::KeyReused(reused) => of_key_reused(&reused),
            Failure::NotFound(not_found) => of_not_found(not_found),
            Failure::Refused(refusal) => of_refusal(&refusal),
            Failure::Submit(error) => of_submit_error(error),
            Failure::Ledger(error) => of_ledger_error(Arc::new(error)),
            Failure::Denied(denial) => of_denial(denial),
            Failure::TooManyCalls => overloaded(),
            Failure::DeadlineExceeded => status(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "the deadline passed, and the outcome is unknown: call again with the same key",
                [],
            ),
            // The status is that of any deadline, but the caller was late, not the service.
            Failure::HalfSent => of_caller(Code::Cancelled, Self::from(Failure::DeadlineExceeded)),
            Failure::BrokenOff => status(Code::Cancelled, "CANCELLED", "the request was broken off", []),
            Failure::RequestTooLarge(bytes_max) => {
                let message = format!("the request is larger than {bytes_max} bytes");
                status(Code::InvalidArgument, "REQUEST_TOO_LARGE", message, [])
            }
            Failure::MetadataTooLarge => {
                let message = format!("the metadata is larger than {METADATA_BYTES_MAX} bytes");
                status(Code::InvalidArgument, "METADATA_TOO_LARGE", message, [])
            }
            Failure::RequestMalformed => status(
                Code::InvalidArgument,
                "REQUEST_MALFORMED",
                "the request cannot be decoded as the message that the method takes",
                [],
            ),
            Failure::CompressionUnsupported => {
                let message = "compressed requests are not taken: send them uncompressed";
                let mut status = status(Code::Unimplemented, "COMPRESSION_UNSUPPORTED", message, []);
                status.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static("identity"));
                status
            }
            // INTERNAL, as the gRPC specification of compression requires.
            Failure::CompressionUndeclared => {
                let message = "the request is flagged as compressed, but there is no grpc-encoding";
                let status = status(Code::Internal, "COMPRESSION_UNDECLARED", message, []);
                of_caller(Code::InvalidArgument, status)
            }
            Failure::Unimplemented => {
                status(Code::Unimplemented, "UNIMPLEMENTED", "there is no such method", [])
            }
            Failure::Panicked(text) => internal(Arc::new(Panic(text))),
        }
    }
}

fn of_invalid(invalid: &Invalid) -> Status {
    let reason = match invalid.problem {
        Problem::KeyRequired => "IDEMPOTENCY_KEY_REQUIRED",
        Problem::KeyMalformed(_) => "IDEMPOTENCY_KEY_MALFORMED",
        Problem::KeyGeneric(_) => "IDEMPOTENCY_KEY_GENERIC",
        Problem::Amount(_) => "INVALID_AMOUNT",
        Problem::Field(_) => "INVALID_FIELD",
    };
    let mut details = error_info(reason, [("field", invalid.field.to_owned())]);
    details.add_bad_request_violation(invalid.field, invalid.problem.to_string());
    Status::with_error_details(Code::InvalidArgument, invalid.to_string(), details)
}

fn of_key_reused(reused: &KeyReused) -> Status {
    let fields = reused.fields.join(",");
    let metadata = [("fields", fields.clone()), ("method", reused.method.to_owned())];
    let mut details = error_info("IDEMPOTENCY_KEY_REUSED", metadata);
    for field in &reused.fields {
        details.add_bad_request_violation(*field, "differs from the request that the key names");
    }
    let message = format!("the key names an earlier {} request, which differs in {fields}", reused.method);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn of_not_found(not_found: NotFound) -> Status {
    let (reason, message) = match not_found {
        NotFound::Account => ("ACCOUNT_NOT_FOUND", "nothing was ever credited to the account"),
        NotFound::Entry => ("ENTRY_NOT_FOUND", "the account has no such entry"),
        NotFound::Payment => ("PAYMENT_NOT_FOUND", "no payment has this id"),
        NotFound::Charge => ("CHARGE_NOT_FOUND", "the account has no such debit"),
        NotFound::Credit => ("CREDIT_NOT_FOUND", "the account has no such credit"),
        NotFound::Operation => ("OPERATION_NOT_FOUND", "nothing has happened under the key"),
        NotFound::Reservation => ("RESERVATION_NOT_FOUND", "the account has no such reservation"),
    };
    status(Code::NotFound, reason, message, [])
}

fn of_refusal(refusal: &Refusal) -> Status {
    let metadata: HashMap<String, String> = refusal.metadata.clone().into_iter().collect();
    let details = ErrorDetails::with_error_info(refusal.reason.as_str(), DOMAIN, metadata);
    Status::with_error_details(Code::FailedPrecondition, refusal.message.as_str(), details)
}

fn of_submit_error(error: SubmitError) -> Status {
    match error {
        SubmitError::Full => overloaded(),
        SubmitError::Closed => again(
            Code::Unavailable,
            "SHUTTING_DOWN",
            "the service is shutting down: call another replica with the same key",
            Duration::from_millis(100),
        ),
        SubmitError::WriterFailed => internal(Arc::new(error)),
        SubmitError::Ledger(error) => of_ledger_error(error),
    }
}

fn of_ledger_error(error: Arc<LedgerError>) -> Status {
    let status = match *error {
        LedgerError::Unavailable(_) => again(
            Code::Unavailable,
            "DATABASE_UNAVAILABLE",
            "the database is unavailable: call again with the same key",
            Duration::from_secs(1),
        ),
        LedgerError::Overloaded => return overloaded(),
        LedgerError::Contention(_) => again(
            Code::Aborted,
            "CONTENTION",
            "others keep the account busy: call again with the same key",
            Duration::from_millis(200),
        ),
        LedgerError::Refused(_) | LedgerError::Corrupt(_) => return internal(error),
    };
    caused_by(error, status)
}

fn of_denial(denial: Denial) -> Status {
    match &denial {
        Denial::NoCredentials
        | Denial::NotBearer
        | Denial::UnknownToken
        | Denial::InvalidCertificate(_)
        | Denial::UnknownCertificate => {
            status(Code::Unauthenticated, "UNAUTHENTICATED", denial.to_string(), [])
        }
        Denial::Role { caller, needed, .. } => {
            let metadata = [
                ("caller", caller.name.to_string()),
                ("roles", caller.roles.to_string()),
                ("needed", names(needed)),
            ];
            let status = status(Code::PermissionDenied, "PERMISSION_DENIED", denial.to_string(), metadata);
            caused_by(Arc::new(denial), status)
        }
    }
}

/// A failure of the caller whose gRPC code looks like a failure of the service. Log and metrics use another code.
fn of_caller(code: Code, status: Status) -> Status {
    caused_by(Arc::new(CallersFault(code)), status)
}

/// The code of a failure for the log and the metrics.
pub(super) fn code_at_fault(failed: &Status) -> Code {
    let fault = failed.source().and_then(|source| source.downcast_ref::<CallersFault>());
    fault.map_or(failed.code(), |fault| fault.0)
}

/// The cause goes to the log, and only there.
fn internal(error: Arc<dyn StdError + Send + Sync>) -> Status {
    let status = status(
        Code::Internal,
        "INTERNAL",
        "something is wrong inside the service; the same key is safe to use again",
        [],
    );
    caused_by(error, status)
}

fn caused_by(cause: Arc<dyn StdError + Send + Sync>, mut status: Status) -> Status {
    status.set_source(cause);
    status
}

fn overloaded() -> Status {
    again(
        Code::ResourceExhausted,
        "OVERLOADED",
        "too much is waiting: call again, with the same key",
        Duration::from_millis(500),
    )
}

fn again(code: Code, reason: &str, message: &str, delay: Duration) -> Status {
    let mut details = error_info(reason, []);
    details.set_retry_info(Some(delay));
    Status::with_error_details(code, message, details)
}

fn status<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    Status::with_error_details(code, message, error_info(reason, metadata))
}

fn error_info<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

/// The names of a code: in the gRPC specification, and in the metrics of other gRPC servers.
fn code_names(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::Ok => ("OK", "OK"),
        Code::Cancelled => ("CANCELLED", "Canceled"),
        Code::Unknown => ("UNKNOWN", "Unknown"),
        Code::InvalidArgument => ("INVALID_ARGUMENT", "InvalidArgument"),
        Code::DeadlineExceeded => ("DEADLINE_EXCEEDED", "DeadlineExceeded"),
        Code::NotFound => ("NOT_FOUND", "NotFound"),
        Code::AlreadyExists => ("ALREADY_EXISTS", "AlreadyExists"),
        Code::PermissionDenied => ("PERMISSION_DENIED", "PermissionDenied"),
        Code::ResourceExhausted => ("RESOURCE_EXHAUSTED", "ResourceExhausted"),
        Code::FailedPrecondition => ("FAILED_PRECONDITION", "FailedPrecondition"),
        Code::Aborted => ("ABORTED", "Aborted"),
        Code::OutOfRange => ("OUT_OF_RANGE", "OutOfRange"),
        Code::Unimplemented => ("UNIMPLEMENTED", "Unimplemented"),
        Code::Internal => ("INTERNAL", "Internal"),
        Code::Unavailable => ("UNAVAILABLE", "Unavailable"),
        Code::DataLoss => ("DATA_LOSS", "DataLoss"),
        Code::Unauthenticated => ("UNAUTHENTICATED", "Unauthenticated"),
    }
}

/// The name of a code in the gRPC specification.
pub(super) fn code_name(code: Code) -> &'static str {
    code_names(code).0
}

/// The name of a code in the metrics of other gRPC servers.
pub(super) fn code_label(code: Code) -> &'static str {
    code_names(code).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Caller, Role};
    use crate::accounting::{AccountId, CallerName, Metadata, MicroUsd, RefusalReason, Timestamp};

    fn refusal(reason: &RefusalReason) -> Failure {
        Failure::Refused(Arc::new(Refusal {
            account_id: AccountId::parse("account_id", "a").unwrap(),
            reason: reason.name().into(),
            message: reason.message(),
            metadata: reason.metadata(),
            create_time: Timestamp::from_unix_micros(0),
        }))
    }

    fn invalid(problem: Problem) -> Failure {
        Failure::Invalid(Invalid { field: "f", problem })
    }

    fn ledger(error: LedgerError) -> Failure {
        Failure::Submit(SubmitError::Ledger(Arc::new(error)))
    }

    #[test]
    fn every_failure_has_its_code_and_reason() {
        use Code::{
            Aborted, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound as Missing,
            PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable, Unimplemented,
        };
        let reused = KeyReused { method: "Credit", fields: vec!["amount_micro_usd", "reference"] };
        let unavailable = || LedgerError::Unavailable("secret".into());
        let insufficient = RefusalReason::InsufficientFunds {
            available: MicroUsd::ZERO,
            held: MicroUsd::ZERO,
            required: MicroUsd::ZERO,
        };
        let name = CallerName::parse("name", "web").unwrap();
        let caller = Caller { name, roles: Role::Reader.into() };
        let role = Denial::Role { caller, method: "Credit", needed: &[Role::Coordinator] };
        let table = [
            (invalid(Problem::KeyRequired), InvalidArgument, "IDEMPOTENCY_KEY_REQUIRED"),
            (invalid(Problem::KeyMalformed("x".into())), InvalidArgument, "IDEMPOTENCY_KEY_MALFORMED"),
            (invalid(Problem::KeyGeneric("x".into())), InvalidArgument, "IDEMPOTENCY_KEY_GENERIC"),
            (invalid(Problem::Amount("x".into())), InvalidArgument, "INVALID_AMOUNT"),
            (invalid(Problem::Field("x".into())), InvalidArgument, "INVALID_FIELD"),
            (Failure::KeyReused(reused), InvalidArgument, "IDEMPOTENCY_KEY_REUSED"),
            (Failure::NotFound(NotFound::Account), Missing, "ACCOUNT_NOT_FOUND"),
            (Failure::NotFound(NotFound::Entry), Missing, "ENTRY_NOT_FOUND"),
            (Failure::NotFound(NotFound::Charge), Missing, "CHARGE_NOT_FOUND"),
            (Failure::NotFound(NotFound::Operation), Missing, "OPERATION_NOT_FOUND"),
            (Failure::NotFound(NotFound::Reservation), Missing, "RESERVATION_NOT_FOUND"),
            (refusal(&RefusalReason::ReservationExpired), FailedPrecondition, "RESERVATION_EXPIRED"),
            (refusal(&insufficient), FailedPrecondition, "INSUFFICIENT_FUNDS"),
            (refusal(&RefusalReason::BalanceOverflow), FailedPrecondition, "BALANCE_OVERFLOW"),
            (Failure::Submit(SubmitError::Full), ResourceExhausted, "OVERLOADED"),
            (Failure::Submit(SubmitError::Closed), Unavailable, "SHUTTING_DOWN"),
            (Failure::Submit(SubmitError::WriterFailed), Internal, "INTERNAL"),
            (ledger(unavailable()), Unavailable, "DATABASE_UNAVAILABLE"),
            (Failure::Ledger(unavailable()), Unavailable, "DATABASE_UNAVAILABLE"),
            (Failure::Ledger(LedgerError::Overloaded), ResourceExhausted, "OVERLOADED"),
            (ledger(LedgerError::Contention("secret".into())), Aborted, "CONTENTION"),
            (ledger(LedgerError::Refused("secret".into())), Internal, "INTERNAL"),
            (ledger(LedgerError::Corrupt("secret".into())), Internal, "INTERNAL"),
            (Failure::Denied(Denial::NoCredentials), Unauthenticated, "UNAUTHENTICATED"),
            (Failure::Denied(Denial::NotBearer), Unauthenticated, "UNAUTHENTICATED"),
            (Failure::Denied(Denial::UnknownToken), Unauthenticated, "UNAUTHENTICATED"),
            (
                Failure::Denied(Denial::InvalidCertificate("expired".into())),
                Unauthenticated,
                "UNAUTHENTICATED",
            ),
            (Failure::Denied(Denial::UnknownCertificate), Unauthenticated, "UNAUTHENTICATED"),
            (Failure::Denied(role), PermissionDenied, "PERMISSION_DENIED"),
            (Failure::TooManyCalls, ResourceExhausted, "OVERLOADED"),
            (Failure::DeadlineExceeded, DeadlineExceeded, "DEADLINE_EXCEEDED"),
            (Failure::HalfSent, DeadlineExceeded, "DEADLINE_EXCEEDED"),
            (Failure::BrokenOff, Code::Cancelled, "CANCELLED"),
            (Failure::CompressionUnsupported, Unimplemented, "COMPRESSION_UNSUPPORTED"),
            (Failure::CompressionUndeclared, Internal, "COMPRESSION_UNDECLARED"),
            (Failure::RequestTooLarge(5), InvalidArgument, "REQUEST_TOO_LARGE"),
            (Failure::MetadataTooLarge, InvalidArgument, "METADATA_TOO_LARGE"),
            (Failure::RequestMalformed, InvalidArgument, "REQUEST_MALFORMED"),
            (Failure::Unimplemented, Unimplemented, "UNIMPLEMENTED"),
            (Failure::Panicked("secret".into()), Internal, "INTERNAL"),
        ];
        for (failure, code, reason) in table {
            let status = Status::from(failure);
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (code, reason, DOMAIN));
            let is_of_all = ["REQUEST_", "METADATA_"].iter().any(|part| reason.starts_with(part));
            let names_a_field = code == InvalidArgument && !is_of_all;
            assert_eq!(details.bad_request().is_some(), names_a_field, "{reason}");
            let retryable = [Unavailable, Aborted, ResourceExhausted].contains(&code);
            assert_eq!(details.retry_info().is_some(), retryable, "{reason}");
            assert!(!status.message().contains("secret"));
        }
    }

    #[test]
    fn a_reused_key_names_the_fields_that_differ() {
        let reused = KeyReused { method: "Credit", fields: vec!["amount_micro_usd", "reference"] };
        let details = Status::from(Failure::KeyReused(reused)).get_error_details();
        let expected: HashMap<_, _> = [("fields", "amount_micro_usd,reference"), ("method", "Credit")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        assert_eq!(details.error_info().unwrap().metadata, expected);
        assert_eq!(details.bad_request().unwrap().field_violations.len(), 2);
    }

    #[test]
    fn the_metadata_of_a_refusal_has_the_figures() {
        let insufficient = RefusalReason::InsufficientFunds {
            available: MicroUsd::new(3),
            held: MicroUsd::ZERO,
            required: MicroUsd::new(5),
        };
        let expected: Metadata =
            [("available_micro_usd", "3"), ("held_micro_usd", "0"), ("required_micro_usd", "5")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        assert_eq!(insufficient.metadata(), expected);
    }
}
