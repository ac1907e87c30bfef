//! The methods: each parses its request, asks the committer or the ledger (in `reads.rs`), and renders the answer.

mod apply;
mod commands;
mod fields;
mod messages;
mod page;
pub(super) mod page_token;
mod reads;

use tonic::{Request, Response, Status};

use crate::{
    access::{Caller, Role},
    accounting::{Authorities, Authority, Command, Invalid, Outcome, RefusalReason},
    committer::{Committer, SubmitError},
    grpc::{
        failure::{Denial, Failure},
        methods::METHODS,
        proto,
    },
    ledger::Ledger,
    telemetry::{Metrics, OperationResult},
};

/// The methods of `billing.v1.BillingService`.
#[derive(Debug)]
pub(crate) struct BillingService {
    committer: Committer,
    ledger: Ledger,
    metrics: Metrics,
}

impl BillingService {
    pub(crate) fn new(committer: Committer, ledger: Ledger, metrics: Metrics) -> Self {
        for rpc in METHODS.into_iter().filter(|rpc| rpc.writes && !rpc.is_batch) {
            let operation = rpc.name;
            metrics.expect_operation(&OperationResult { operation, result: "key_reused", reason: "" });
        }
        Self { committer, ledger, metrics }
    }

    /// Runs a mutating call.
    async fn post<R>(&self, request: Request<R>) -> Result<proto::Applied, Failure>
    where
        Command: TryFrom<R, Error = Invalid>,
    {
        let caller = request.extensions().get::<Caller>().cloned();
        let command = asked_by(Command::try_from(request.into_inner())?, caller.as_ref());
        let operation = command.fingerprint().method_name();
        let answer = self.committer.submit(command).await;
        measure(&self.metrics, operation, &answer);
        applied(answer?, operation, caller.as_ref())
    }
}

/// The command of a caller.
fn asked_by(command: Command, caller: Option<&Caller>) -> Command {
    let Some(Caller { name, roles }) = caller else { return command };
    let (coordinator, admin) = (roles.contain(Role::Coordinator), roles.contain(Role::Admin));
    command.asked_by(name.clone(), Authorities { coordinator, admin })
}

/// The response to an operation: every method's has the same fields.
fn applied(
    outcome: Outcome,
    method: &'static str,
    caller: Option<&Caller>,
) -> Result<proto::Applied, Failure> {
    match outcome {
        Outcome::Applied { entry, since, leg_entries } => {
            Ok(messages::applied(&entry, since.as_ref(), &leg_entries))
        }
        Outcome::Refused(refusal) | Outcome::Declined(refusal) => Err(Failure::Refused(refusal)),
        Outcome::Forbidden(authority) => Err(Failure::Denied(denial(authority, method, caller))),
        Outcome::Invalid(invalid) => Err(Failure::Invalid(invalid)),
        Outcome::KeyReused(reused) => Err(Failure::KeyReused(reused)),
        Outcome::NotFound(not_found) => Err(Failure::NotFound(not_found)),
    }
}

/// The denial of an operation that another role may ask for. A caller without credentials has every authority.
fn denial(authority: Authority, method: &'static str, caller: Option<&Caller>) -> Denial {
    let needed: &[Role] = match authority {
        Authority::Coordinator => &[Role::Coordinator],
        Authority::Admin => &[Role::Admin],
    };
    caller.map_or(Denial::NoCredentials, |caller| Denial::Role { caller: caller.clone(), method, needed })
}

/// Counts the result of an operation, and adds up the money that it moved.
fn measure(metrics: &Metrics, operation: &'static str, answer: &Result<Outcome, SubmitError>) {
    let (result, reason) = match answer {
        Ok(Outcome::Applied { since: Some(_), .. }) => ("replayed", ""),
        Ok(Outcome::Applied { entry, since: None, leg_entries }) => {
            for entry in [entry].into_iter().chain(leg_entries) {
                metrics.moved(entry.entry_type.name(), entry.amount.get().unsigned_abs());
            }
            ("applied", "")
        }
        Ok(Outcome::Refused(refusal) | Outcome::Declined(refusal)) => {
            ("refused", RefusalReason::known_name(&refusal.reason).unwrap_or("other"))
        }
        Ok(Outcome::Forbidden(_)) => ("forbidden", ""),
        Ok(Outcome::Invalid(_)) => ("invalid", ""),
        Ok(Outcome::KeyReused(_)) => ("key_reused", ""),
        Ok(Outcome::NotFound(_)) => ("not_found", ""),
        Err(_) => ("unanswered", ""),
    };
    metrics.operation(&OperationResult { operation, result, reason });
}

#[tonic::async_trait]
impl proto::billing_service_server::BillingService for BillingService {
    async fn credit(
        &self,
        request: Request<proto::CreditRequest>,
    ) -> Result<Response<proto::CreditResponse>, Status> {
        let proto::Applied { entry, replayed, since, .. } = self.post(request).await?;
        Ok(Response::new(proto::CreditResponse { entry, replayed, since }))
    }

    async fn charge(
        &self,
        request: Request<proto::ChargeRequest>,
    ) -> Result<Response<proto::ChargeResponse>, Status> {
        let proto::Applied { entry, replayed, since, leg_entries } = self.post(request).await?;
        Ok(Response::new(proto::ChargeResponse { entry, replayed, since, leg_entries }))
    }

    async fn refund(
        &self,
        request: Request<proto::RefundRequest>,
    ) -> Result<Response<proto::RefundResponse>, Status> {
        let proto::Applied { entry, replayed, since, leg_entries } = self.post(request).await?;
        Ok(Response::new(proto::RefundResponse { entry, replayed, since, leg_entries }))
    }

    async fn admin_credit(
        &self,
        request: Request<proto::AdminCreditRequest>,
    ) -> Result<Response<proto::AdminCreditResponse>, Status> {
        let proto::Applied { entry, replayed, since, .. } = self.post(request).await?;
        Ok(Response::new(proto::AdminCreditResponse { entry, replayed, since }))
    }

    async fn reserve(
        &self,
        request: Request<proto::ReserveRequest>,
    ) -> Result<Response<proto::ReserveResponse>, Status> {
        let proto::Applied { entry, replayed, since, .. } = self.post(request).await?;
        Ok(Response::new(proto::ReserveResponse { entry, replayed, since }))
    }

    async fn capture(
        &self,
        request: Request<proto::CaptureRequest>,
    ) -> Result<Response<proto::CaptureResponse>, Status> {
        let proto::Applied { entry, replayed, since, leg_entries } = self.post(request).await?;
        Ok(Response::new(proto::CaptureResponse { entry, replayed, since, leg_entries }))
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let proto::Applied { entry, replayed, since, .. } = self.post(request).await?;
        Ok(Response::new(proto::ReleaseResponse { entry, replayed, since }))
    }

    async fn extend_reservation(
        &self,
        request: Request<proto::ExtendReservationRequest>,
    ) -> Result<Response<proto::ExtendReservationResponse>, Status> {
        let proto::Applied { entry, replayed, since, .. } = self.post(request).await?;
        Ok(Response::new(proto::ExtendReservationResponse { entry, replayed, since }))
    }

    async fn set_account(
        &self,
        request: Request<proto::SetAccountRequest>,
    ) -> Result<Response<proto::SetAccountResponse>, Status> {
        let proto::Applied { entry, replayed, since, .. } = self.post(request).await?;
        Ok(Response::new(proto::SetAccountResponse { entry, replayed, since }))
    }

    async fn reverse(
        &self,
        request: Request<proto::ReverseRequest>,
    ) -> Result<Response<proto::ReverseResponse>, Status> {
        let proto::Applied { entry, replayed, since, .. } = self.post(request).await?;
        Ok(Response::new(proto::ReverseResponse { entry, replayed, since }))
    }

    async fn withdraw(
        &self,
        request: Request<proto::WithdrawRequest>,
    ) -> Result<Response<proto::WithdrawResponse>, Status> {
        let proto::Applied { entry, replayed, since, .. } = self.post(request).await?;
        Ok(Response::new(proto::WithdrawResponse { entry, replayed, since }))
    }

    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<proto::ApplyResponse>, Status> {
        Ok(self.apply_all(request).await?)
    }

    async fn list_accounts(
        &self,
        request: Request<proto::ListAccountsRequest>,
    ) -> Result<Response<proto::ListAccountsResponse>, Status> {
        Ok(Response::new(self.accounts(request.into_inner()).await?))
    }

    async fn get_statement(
        &self,
        request: Request<proto::GetStatementRequest>,
    ) -> Result<Response<proto::GetStatementResponse>, Status> {
        Ok(Response::new(self.statement(request.into_inner()).await?))
    }

    async fn find_payment(
        &self,
        request: Request<proto::FindPaymentRequest>,
    ) -> Result<Response<proto::FindPaymentResponse>, Status> {
        let entry = self.payment(request.into_inner()).await?;
        Ok(Response::new(proto::FindPaymentResponse { entry: Some(entry) }))
    }

    async fn get_account(
        &self,
        request: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        let account = self.account(request.into_inner()).await?;
        Ok(Response::new(proto::GetAccountResponse { account: Some(account) }))
    }

    async fn get_entry(
        &self,
        request: Request<proto::GetEntryRequest>,
    ) -> Result<Response<proto::GetEntryResponse>, Status> {
        let entry = self.entry(request.into_inner()).await?;
        Ok(Response::new(proto::GetEntryResponse { entry: Some(entry) }))
    }

    async fn list_entries(
        &self,
        request: Request<proto::ListEntriesRequest>,
    ) -> Result<Response<proto::ListEntriesResponse>, Status> {
        Ok(Response::new(self.entries(request.into_inner()).await?))
    }

    async fn get_operation(
        &self,
        request: Request<proto::GetOperationRequest>,
    ) -> Result<Response<proto::GetOperationResponse>, Status> {
        Ok(Response::new(self.operation(request.into_inner()).await?))
    }

    async fn get_reservation(
        &self,
        request: Request<proto::GetReservationRequest>,
    ) -> Result<Response<proto::GetReservationResponse>, Status> {
        let reservation = self.reservation(request.into_inner()).await?;
        Ok(Response::new(proto::GetReservationResponse { reservation: Some(reservation) }))
    }

    async fn list_reservations(
        &self,
        request: Request<proto::ListReservationsRequest>,
    ) -> Result<Response<proto::ListReservationsResponse>, Status> {
        Ok(Response::new(self.reservations(request.into_inner()).await?))
    }

    async fn list_grants(
        &self,
        request: Request<proto::ListGrantsRequest>,
    ) -> Result<Response<proto::ListGrantsResponse>, Status> {
        Ok(Response::new(self.grants(request.into_inner()).await?))
    }

    async fn get_caller(
        &self,
        request: Request<proto::GetCallerRequest>,
    ) -> Result<Response<proto::GetCallerResponse>, Status> {
        Ok(Response::new(messages::caller(request.extensions().get::<Caller>())))
    }
}
