//! One short method for each call: parse, ask, render.

use tonic::{Request, Response, Status};

use super::{
    convert,
    page_token::PageToken,
    proto::{self, get_entry_request, get_operation_response},
    status::Failure,
};
use crate::{
    accounting::{AccountId, Answer, Command, IdempotencyKey, Invalid, NotFound, Outcome},
    committer::Committer,
    ledger::Ledger,
};

/// The methods of `billing.v1.BillingService`.
#[derive(Debug)]
pub(super) struct BillingService {
    committer: Committer,
    ledger: Ledger,
}

impl BillingService {
    pub(super) fn new(committer: Committer, ledger: Ledger) -> Self {
        Self { committer, ledger }
    }

    /// Carries out a mutating call. Returns its entry, and whether an earlier call wrote it.
    async fn post<R>(&self, request: R) -> Result<(proto::Entry, bool), Failure>
    where
        Command: TryFrom<R, Error = Invalid>,
    {
        match self.committer.submit(request.try_into()?).await? {
            Outcome::Applied { entry, replayed } => Ok((entry.as_ref().into(), replayed)),
            Outcome::Refused(refusal) => Err(Failure::Refused(refusal)),
            Outcome::KeyReused(reused) => Err(Failure::KeyReused(reused)),
            Outcome::NotFound(not_found) => Err(Failure::NotFound(not_found)),
        }
    }

    async fn entry(&self, request: proto::GetEntryRequest) -> Result<proto::Entry, Failure> {
        let account_id = account_id(&request.account_id)?;
        let found = match request.entry {
            Some(get_entry_request::Entry::Sequence(sequence)) => {
                self.ledger.entry_get(&account_id, sequence).await?
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
            let from = convert::timestamp_ceiling("create_time_after", request.create_time_after.as_ref())?;
            let until =
                convert::timestamp_ceiling("create_time_before", request.create_time_before.as_ref())?;
            let span = self.ledger.entry_span(&account_id, from, until).await?;
            span.ok_or(Failure::NotFound(NotFound::Account))?
        } else {
            PageToken::parse(&request.page_token, &request)?
        };
        let page = self.ledger.entry_list(&account_id, span, &query, page_size).await?;
        Ok(proto::ListEntriesResponse {
            entries: page.entries.iter().map(Into::into).collect(),
            next_page_token: page.rest.map(|rest| PageToken::write(rest, &request)).unwrap_or_default(),
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

fn account_id(text: &str) -> Result<AccountId, Invalid> {
    AccountId::parse("account_id", text)
}

#[tonic::async_trait]
impl proto::billing_service_server::BillingService for BillingService {
    async fn credit(
        &self,
        request: Request<proto::CreditRequest>,
    ) -> Result<Response<proto::CreditResponse>, Status> {
        let (entry, replayed) = self.post(request.into_inner()).await?;
        Ok(Response::new(proto::CreditResponse { entry: Some(entry), replayed }))
    }

    async fn charge(
        &self,
        request: Request<proto::ChargeRequest>,
    ) -> Result<Response<proto::ChargeResponse>, Status> {
        let (entry, replayed) = self.post(request.into_inner()).await?;
        Ok(Response::new(proto::ChargeResponse { entry: Some(entry), replayed }))
    }

    async fn refund(
        &self,
        request: Request<proto::RefundRequest>,
    ) -> Result<Response<proto::RefundResponse>, Status> {
        let (entry, replayed) = self.post(request.into_inner()).await?;
        Ok(Response::new(proto::RefundResponse { entry: Some(entry), replayed }))
    }

    async fn admin_credit(
        &self,
        request: Request<proto::AdminCreditRequest>,
    ) -> Result<Response<proto::AdminCreditResponse>, Status> {
        let (entry, replayed) = self.post(request.into_inner()).await?;
        Ok(Response::new(proto::AdminCreditResponse { entry: Some(entry), replayed }))
    }

    async fn reserve(
        &self,
        _: Request<proto::ReserveRequest>,
    ) -> Result<Response<proto::ReserveResponse>, Status> {
        Err(Failure::Unimplemented("Reserve").into())
    }

    async fn capture(
        &self,
        _: Request<proto::CaptureRequest>,
    ) -> Result<Response<proto::CaptureResponse>, Status> {
        Err(Failure::Unimplemented("Capture").into())
    }

    async fn release(
        &self,
        _: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        Err(Failure::Unimplemented("Release").into())
    }

    async fn extend_reservation(
        &self,
        _: Request<proto::ExtendReservationRequest>,
    ) -> Result<Response<proto::ExtendReservationResponse>, Status> {
        Err(Failure::Unimplemented("ExtendReservation").into())
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
        _: Request<proto::GetReservationRequest>,
    ) -> Result<Response<proto::GetReservationResponse>, Status> {
        Err(Failure::Unimplemented("GetReservation").into())
    }

    async fn list_reservations(
        &self,
        _: Request<proto::ListReservationsRequest>,
    ) -> Result<Response<proto::ListReservationsResponse>, Status> {
        Err(Failure::Unimplemented("ListReservations").into())
    }
}
