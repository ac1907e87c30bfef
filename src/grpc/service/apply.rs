//! `Apply`: many operations in one call, each by itself.

use std::error::Error as _;

use prost::Message as _;
use tonic::{Code, Request, Response, Status};
use tonic_types::pb;

use super::{BillingService, applied, asked_by, measure};
use crate::{
    access::Caller,
    accounting::{Command, Invalid},
    committer::{SubmitError, Submitted},
    grpc::{
        failure::{Denial, Failure},
        methods::{Rpc, named},
        places::Places,
        proto::{self, operation::Operation, result},
    },
    telemetry::Metrics,
};

/// The most operations of one call.
const OPERATIONS_MAX: usize = 500;

/// An operation that may be carried out: its method, and its place in the queue or why it has none.
type Queued = (&'static str, Result<Submitted, SubmitError>);

impl BillingService {
    /// Carries out a list of operations. Once they are queued they are, whatever becomes of the caller.
    pub(super) async fn apply_all(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<proto::ApplyResponse>, Failure> {
        let caller = request.extensions().get::<Caller>().cloned();
        let places = request.extensions().get::<Places>().cloned();
        let operations = operations(request.into_inner())?;
        // The call itself has the place of the first.
        let places = places.map(|places| places.take(operations.len() - 1)).transpose()?;
        let queued: Vec<_> =
            operations.into_iter().map(|operation| self.enqueue(operation, caller.as_ref())).collect();
        let metrics = self.metrics.clone();
        let taken = places.clone();
        let answered = tokio::spawn(async move {
            let _until_answered = taken;
            let mut answers = Vec::with_capacity(queued.len());
            for queued in queued {
                answers.push(answer(queued, caller.as_ref(), &metrics).await);
            }
            answers
        });
        let answers = answered.await.map_err(|panic| Failure::Panicked(panic.to_string()))?;
        let mut response = response(answers);
        if let Some(places) = places {
            response.extensions_mut().insert(places); // an answer that is not read takes memory
        }
        Ok(response)
    }

    fn enqueue(&self, operation: Operation, caller: Option<&Caller>) -> Result<Queued, Failure> {
        authorize(method(&operation), caller)?;
        let command = asked_by(Command::try_from(operation)?, caller);
        let method = command.fingerprint().method_name();
        Ok((method, self.committer.enqueue(command)))
    }
}

/// The operations of a request. A list that is not whole is refused before anything is begun.
fn operations(request: proto::ApplyRequest) -> Result<Vec<Operation>, Invalid> {
    let count = request.operations.len();
    if !(1..=OPERATIONS_MAX).contains(&count) {
        let problem = format!("must be 1 to {OPERATIONS_MAX}, not {count}");
        return Err(Invalid::field("operations", problem));
    }
    let operations = request.operations.into_iter().enumerate().map(|(index, operation)| {
        operation
            .operation
            .ok_or_else(|| Invalid::field("operations", format!("must all be set, unlike number {index}")))
    });
    operations.collect()
}

/// Fails unless the caller may call a method by itself.
fn authorize(method: &'static str, caller: Option<&Caller>) -> Result<(), Failure> {
    let (Some(caller), Some(Rpc { roles: needed, .. })) = (caller, named(method)) else { return Ok(()) };
    if needed.iter().any(|role| caller.roles.contain(*role)) {
        return Ok(());
    }
    Err(Failure::Denied(Denial::Role { caller: caller.clone(), method, needed }))
}

async fn answer(
    queued: Result<Queued, Failure>,
    caller: Option<&Caller>,
    metrics: &Metrics,
) -> Result<proto::Applied, Status> {
    let (method, submitted) = queued?;
    let answer = match submitted {
        Ok(submitted) => submitted.answer().await,
        Err(error) => Err(error),
    };
    measure(metrics, method, &answer);
    Ok(answer.map_err(Failure::from).and_then(|outcome| applied(outcome, method, caller))?)
}

/// The response to a list. If an operation failed by a fault of the service, the call is logged and counted as such a failure
/// is, although its caller gets a response: once, whatever the number of operations.
fn response(answers: Vec<Result<proto::Applied, Status>>) -> Response<proto::ApplyResponse> {
    let faults = answers.iter().filter_map(|answer| answer.as_ref().err());
    let faults = faults.filter(|status| status.source().is_some());
    let worst = faults.min_by_key(|status| status.code() != Code::Internal).cloned();
    let results = answers.into_iter().map(|answer| {
        let result =
            answer.map_or_else(|status| result::Result::Error(error(&status)), result::Result::Applied);
        proto::Result { result: Some(result) }
    });
    let mut response = Response::new(proto::ApplyResponse { results: results.collect() });
    if let Some(worst) = worst {
        response.extensions_mut().insert(worst);
    }
    response
}

/// A failure as a message, with the details that a call by itself has in its trailers.
fn error(status: &Status) -> pb::Status {
    let details = pb::Status::decode(status.details()).unwrap_or_default().details; // encoded by this service
    pb::Status { code: status.code().into(), message: status.message().to_owned(), details }
}

/// The method that carries out such an operation by itself.
fn method(operation: &Operation) -> &'static str {
    match operation {
        Operation::Credit(_) => "Credit",
        Operation::Charge(_) => "Charge",
        Operation::Refund(_) => "Refund",
        Operation::AdminCredit(_) => "AdminCredit",
        Operation::Reserve(_) => "Reserve",
        Operation::Capture(_) => "Capture",
        Operation::Release(_) => "Release",
        Operation::ExtendReservation(_) => "ExtendReservation",
        Operation::SetAccount(_) => "SetAccount",
        Operation::Reverse(_) => "Reverse",
        Operation::Withdraw(_) => "Withdraw",
    }
}

impl TryFrom<Operation> for Command {
    type Error = Invalid;

    fn try_from(operation: Operation) -> Result<Self, Invalid> {
        match operation {
            Operation::Credit(request) => request.try_into(),
            Operation::Charge(request) => request.try_into(),
            Operation::Refund(request) => request.try_into(),
            Operation::AdminCredit(request) => request.try_into(),
            Operation::Reserve(request) => request.try_into(),
            Operation::Capture(request) => request.try_into(),
            Operation::Release(request) => request.try_into(),
            Operation::ExtendReservation(request) => request.try_into(),
            Operation::SetAccount(request) => request.try_into(),
            Operation::Reverse(request) => request.try_into(),
            Operation::Withdraw(request) => request.try_into(),
        }
    }
}
