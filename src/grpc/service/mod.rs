//! The methods: each parses its request, asks the committer or the ledger, and renders the answer.

mod convert;
mod page;
pub(super) mod page_token;

use tonic::{Request, Response, Status};

use crate::{
    access::Caller,
    accounting::{AccountId, Answer, Command, IdempotencyKey, Invalid, NotFound, Outcome, RefusalReason},
    committer::{Committer, SubmitError},
    grpc::{
        failure::Failure,
        methods::METHODS,
        proto::{self, get_entry_request, get_operation_response},
    },
    ledger::Ledger,
    telemetry::{Metrics, OperationResult},
};
use page::Page;

/// The methods of `billing.v1.BillingService`.
#[derive(Debug)]
pub(crate) struct BillingService {
    committer: Committer,
    ledger: Ledger,
    metrics: Metrics,
}

/// The parts of the response to a mutating call.
struct Applied {
    entry: Option<proto::Entry>,
    replayed: bool,
    reservation: Option<proto::Reservation>,
    uncollected: i64,
}

impl BillingService {
    pub(crate) fn new(committer: Committer, ledger: Ledger, metrics: Metrics) -> Self {
        for rpc in METHODS.into_iter().filter(|rpc| rpc.writes) {
            let operation = rpc.name;
            metrics.expect_operation(&OperationResult { operation, result: "key_reused", reason: "" });
        }
        Self { committer, ledger, metrics }
    }

    /// Runs a mutating call.
    async fn post<R>(&self, request: Request<R>) -> Result<Applied, Failure>
    where
        Command: TryFrom<R, Error = Invalid>,
    {
        let caller = request.extensions().get::<Caller>().map(|caller| caller.name.clone());
        let command = Command::try_from(request.into_inner())?.asked_by(caller);
        let operation = command.fingerprint().method_name();
        let answer = self.committer.submit(command).await;
        measure(&self.metrics, operation, &answer);
        match answer? {
            Outcome::Applied { entry, replayed, reservation } => Ok(Applied {
                entry: Some(entry.as_ref().into()),
                replayed,
                reservation: reservation.as_ref().map(Into::into),
                uncollected: entry.reservation.as_ref().map_or(0, |after| after.uncollected.get()),
            }),
            Outcome::Refused(refusal) | Outcome::Declined(refusal) => Err(Failure::Refused(refusal)),
            Outcome::Invalid(invalid) => Err(Failure::Invalid(invalid)),
            Outcome::KeyReused(reused) => Err(Failure::KeyReused(reused)),
            Outcome::NotFound(not_found) => Err(Failure::NotFound(not_found)),
        }
    }

    async fn entry(&self, request: proto::GetEntryRequest) -> Result<proto::Entry, Failure> {
        let account_id = account_id(&request.account_id)?;
        let found = match request.entry {
            Some(get_entry_request::Entry::Sequence(sequence)) => {
                self.ledger.entry_get(&account_id, convert::sequence(sequence)?).await?
            }
            Some(get_entry_request::Entry::IdempotencyKey(key)) => {
                let key = IdempotencyKey::parse("idempotency_key", &key)?;
                match self.ledger.operation_get(&account_id, &key).await? {
                    Some(Answer::Applied(entry)) => return Ok(entry.as_ref().into()),
                    Some(Answer::Refused(_)) | None => None,
                }
            }
            None => return Err(Invalid::field("entry", "is required: sequence or idempotency_key").into()),
        };
        found.map(|entry| (&entry).into()).ok_or(Failure::NotFound(NotFound::Entry))
    }

    async fn account(&self, request: proto::GetAccountRequest) -> Result<proto::Account, Failure> {
        let account_id = account_id(&request.account_id)?;
        let found = match request.as_of {
            Some(as_of) => {
                let as_of = convert::timestamp_floor("as_of", &as_of)?;
                self.ledger.account_get_as_of(&account_id, as_of).await?
            }
            None => self.ledger.account_get(&account_id).await?,
        };
        let account = found.ok_or(Failure::NotFound(NotFound::Account))?;
        Ok(convert::account(&account_id, &account))
    }

    async fn entries(
        &self,
        request: proto::ListEntriesRequest,
    ) -> Result<proto::ListEntriesResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let query = convert::entry_query(&request)?;
        let page_size = convert::page_size(request.page_size)?;
        let span = if request.page_token.is_empty() {
            let (from, until) = convert::times(&request)?;
            let span = self.ledger.entry_span(&account_id, from, until).await?;
            span.ok_or(Failure::NotFound(NotFound::Account))?
        } else {
            page_token::parse(&request.page_token, &request)?
        };
        let mut page = Page::new(span, page_size);
        while let Some((span, wanted)) = page.wants() {
            let read = self.ledger.entry_list(&account_id, span, &query, wanted).await?;
            page.take(read.entries.iter().map(|entry| (entry.sequence, entry.into())), read.rest);
        }
        Ok(proto::ListEntriesResponse {
            entries: page.items,
            next_page_token: page.rest.map(|rest| page_token::write(rest, &request)).unwrap_or_default(),
        })
    }

    async fn reservation(
        &self,
        request: proto::GetReservationRequest,
    ) -> Result<proto::Reservation, Failure> {
        let account_id = account_id(&request.account_id)?;
        let reservation_id = IdempotencyKey::parse_of_reservation(&request.reservation_id)?;
        let found = self.ledger.reservation_get(&account_id, &reservation_id).await?;
        found.map(|reservation| (&reservation).into()).ok_or(Failure::NotFound(NotFound::Reservation))
    }

    async fn reservations(
        &self,
        request: proto::ListReservationsRequest,
    ) -> Result<proto::ListReservationsResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let state = convert::reservation_state(request.state)?;
        let page_size = convert::page_size(request.page_size)?;
        let span = if request.page_token.is_empty() {
            let span = self.ledger.entry_span(&account_id, None, None).await?;
            span.ok_or(Failure::NotFound(NotFound::Account))?
        } else {
            page_token::parse(&request.page_token, &request)?
        };
        let mut page = Page::new(span, page_size);
        while let Some((span, wanted)) = page.wants() {
            let read = self.ledger.reservation_list(&account_id, span, state, wanted).await?;
            let reservations = read.reservations.iter();
            page.take(reservations.map(|reservation| (reservation.sequence, reservation.into())), read.rest);
        }
        Ok(proto::ListReservationsResponse {
            reservations: page.items,
            next_page_token: page.rest.map(|rest| page_token::write(rest, &request)).unwrap_or_default(),
        })
    }

    async fn operation(
        &self,
        request: proto::GetOperationRequest,
    ) -> Result<proto::GetOperationResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let key = IdempotencyKey::parse("idempotency_key", &request.idempotency_key)?;
        let outcome = match self.ledger.operation_get(&account_id, &key).await? {
            Some(Answer::Applied(entry)) => get_operation_response::Outcome::Applied(entry.as_ref().into()),
            Some(Answer::Refused(refusal)) => {
                get_operation_response::Outcome::Refused(refusal.as_ref().into())
            }
            None => return Err(Failure::NotFound(NotFound::Operation)),
        };
        Ok(proto::GetOperationResponse { outcome: Some(outcome) })
    }
}

/// Counts the result of an operation, and adds up the money that it moved.
fn measure(metrics: &Metrics, operation: &'static str, answer: &Result<Outcome, SubmitError>) {
    let (result, reason) = match answer {
        Ok(Outcome::Applied { replayed: true, .. }) => ("replayed", ""),
        Ok(Outcome::Applied { entry, .. }) => {
            metrics.moved(entry.entry_type.name(), entry.amount.get().unsigned_abs());
            ("applied", "")
        }
        Ok(Outcome::Refused(refusal) | Outcome::Declined(refusal)) => {
            ("refused", RefusalReason::known_name(&refusal.reason).unwrap_or("other"))
        }
        Ok(Outcome::Invalid(_)) => ("invalid", ""),
        Ok(Outcome::KeyReused(_)) => ("key_reused", ""),
        Ok(Outcome::NotFound(_)) => ("not_found", ""),
        Err(_) => ("unanswered", ""),
    };
    metrics.operation(&OperationResult { operation, result, reason });
}

fn account_id(text: &str) -> Result<AccountId, Invalid> {
    AccountId::parse("account_id", text)
}

#[tonic::async_trait]
impl proto::billing_service_server::BillingService for BillingService {
    async fn credit(
        &self,
        request: Request<proto::CreditRequest>,
    ) -> Result<Response<proto::CreditResponse>, Status> {
        let Applied { entry, replayed, .. } = self.post(request).await?;
        Ok(Response::new(proto::CreditResponse { entry, replayed }))
    }

    async fn charge(
        &self,
        request: Request<proto::ChargeRequest>,
    ) -> Result<Response<proto::ChargeResponse>, Status> {
        let Applied { entry, replayed, .. } = self.post(request).await?;
        Ok(Response::new(proto::ChargeResponse { entry, replayed }))
    }

    async fn refund(
        &self,
        request: Request<proto::RefundRequest>,
    ) -> Result<Response<proto::RefundResponse>, Status> {
        let Applied { entry, replayed, .. } = self.post(request).await?;
        Ok(Response::new(proto::RefundResponse { entry, replayed }))
    }

    async fn admin_credit(
        &self,
        request: Request<proto::AdminCreditRequest>,
    ) -> Result<Response<proto::AdminCreditResponse>, Status> {
        let Applied { entry, replayed, .. } = self.post(request).await?;
        Ok(Response::new(proto::AdminCreditResponse { entry, replayed }))
    }

    async fn reserve(
        &self,
        request: Request<proto::ReserveRequest>,
    ) -> Result<Response<proto::ReserveResponse>, Status> {
        let Applied { entry, replayed, reservation, .. } = self.post(request).await?;
        Ok(Response::new(proto::ReserveResponse { entry, replayed, reservation }))
    }

    async fn capture(
        &self,
        request: Request<proto::CaptureRequest>,
    ) -> Result<Response<proto::CaptureResponse>, Status> {
        let Applied { entry, replayed, reservation, uncollected } = self.post(request).await?;
        Ok(Response::new(proto::CaptureResponse {
            entry,
            replayed,
            reservation,
            uncollected_micro_usd: uncollected,
        }))
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let Applied { entry, replayed, reservation, .. } = self.post(request).await?;
        Ok(Response::new(proto::ReleaseResponse { entry, replayed, reservation }))
    }

    async fn extend_reservation(
        &self,
        request: Request<proto::ExtendReservationRequest>,
    ) -> Result<Response<proto::ExtendReservationResponse>, Status> {
        let Applied { entry, replayed, reservation, .. } = self.post(request).await?;
        Ok(Response::new(proto::ExtendReservationResponse { entry, replayed, reservation }))
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
}
