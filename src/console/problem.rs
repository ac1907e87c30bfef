//! A call that failed, in plain words: what it means, what the service says, and what the call is found by in its log.

use axum::http::StatusCode;
use maud::{Markup, html};
use tonic::Code;

use super::{layout::facts, money, service::ServiceError, text};

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Reading: nothing can have happened.
    Reading,
    /// Something that moves money or changes an account.
    Acting,
}

/// How sure it is what has become of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing has happened, and the same request fails again.
    Refused,
    /// Nothing has happened, and the same request may be sent again.
    NotYet,
    /// Nobody knows; the same request settles it.
    Unknown,
}

/// What has become of a call that failed.
pub(super) fn outcome(error: &ServiceError) -> Outcome {
    match error.code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Outcome::Refused,
        Code::ResourceExhausted | Code::Aborted => Outcome::NotYet,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Outcome::Unknown,
    }
}

/// The status of the page that shows it.
pub(super) fn http_status(error: &ServiceError) -> StatusCode {
    match error.code {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted | Code::Aborted | Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded | Code::Cancelled => StatusCode::GATEWAY_TIMEOUT,
        Code::Ok | Code::Unknown | Code::Internal | Code::Unimplemented | Code::DataLoss => {
            StatusCode::BAD_GATEWAY
        }
    }
}

/// Its heading.
pub(super) fn title(error: &ServiceError) -> &'static str {
    match error.code {
        Code::NotFound => "There is no such thing",
        Code::PermissionDenied => "You may not do this",
        Code::Unauthenticated => "The service does not know your token",
        Code::ResourceExhausted | Code::Aborted => "The service is busy",
        Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition | Code::OutOfRange => {
            "The service refused this"
        }
        Code::Unimplemented => "The service does not know this call",
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => "The service did not answer",
    }
}

/// What it means, what the service says, and what the call is found by.
pub(super) fn explained(error: &ServiceError, doing: Doing) -> Markup {
    html! {
        div class="problem" role="alert" {
            p { strong { (meaning(error, doing)) } }
            @if !error.message.is_empty() { p { "The service says: " q { (text::whole(&error.message)) } } }
            (facts(&[
                ("Reason", (!error.reason.is_empty()).then(|| html! { code { (error.reason) } })),
                ("Request id", Some(html! { code { (error.request_id) } })),
            ]))
            (figures(&error.metadata))
        }
    }
}

fn meaning(error: &ServiceError, doing: Doing) -> &'static str {
    match (outcome(error), doing) {
        (Outcome::Refused | Outcome::NotYet, Doing::Acting) if error.code == Code::FailedPrecondition => {
            "Nothing has happened. Under its key it stays refused: to try again, open the form anew."
        }
        (Outcome::Refused, Doing::Acting) => "Nothing has happened.",
        (Outcome::Refused, Doing::Reading) => "There is nothing to show.",
        (Outcome::NotYet, Doing::Acting) => {
            "Nothing has happened yet. Send it again in a moment: it is done once at the most."
        }
        (Outcome::NotYet | Outcome::Unknown, Doing::Reading) => {
            "Nothing could be read. Try again in a moment."
        }
        (Outcome::Unknown, Doing::Acting) => {
            "Nobody knows yet whether it has happened. Send it again: it is the same operation, and is done once at the most."
        }
    }
}

/// The figures and names that belong to a reason.
pub(super) fn figures<'a>(metadata: impl IntoIterator<Item = (&'a String, &'a String)>) -> Markup {
    let told_elsewhere = |name: &str| name == "refused_time"; // an operation's page has it
    html! {
        dl {
            @for (name, value) in metadata.into_iter().filter(|(name, _)| !told_elsewhere(name)) {
                div {
                    dt { (name.trim_end_matches("_micro_usd").replace('_', " ")) }
                    dd { (figure(name, value)) }
                }
            }
        }
    }
}

fn figure(name: &str, value: &str) -> Markup {
    match value.parse::<i64>() {
        Ok(micro_usd) if name.ends_with("_micro_usd") => html! { (money::usd(micro_usd)) },
        Ok(_) | Err(_) => text::whole(value),
    }
}
