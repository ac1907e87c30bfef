//! The methods: each parses its request, asks the committer or the ledger, and renders the answer.

mod apply;
mod commands;
mod fields;
mod messages;
mod page;
pub(super) mod page_token;

use tonic::{Request, Response, Status};

use crate::{
    access::{Caller, Role},
    accounting::{
        AccountId, Authorities, Authority, Command, ExternalId, IdempotencyKey, Invalid, NotFound, Outcome,
        RefusalReason,
    },
    committer::{Committer, SubmitError},
    grpc::{
        failure::{Denial, Failure},
        methods::METHODS,
        proto::{self, get_entry_request, get_operation_response},
    },
    ledger::{Ledger, OperationView},
    telemetry::{Metrics, OperationResult},
};
use page::Page;

/// The most accounts on a page: of the longest ids they stay below the size of any other page.
const ACCOUNTS_MAX: usize = 500;

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

    async fn entry(&self, request: proto::GetEntryRequest) -> Result<proto::Entry, Failure> {
        let account_id = account_id(&request.account_id)?;
        let found = match request.entry {
            Some(get_entry_request::Entry::Sequence(sequence)) => {
                self.ledger.entry_get(&account_id, fields::sequence("sequence", sequence)?).await?
            }
            Some(get_entry_request::Entry::IdempotencyKey(key)) => {
                let key = IdempotencyKey::parse("idempotency_key", &key)?;
                match self.ledger.operation_get(&account_id, &key).await? {
                    Some(OperationView::Applied { entry, .. }) => return Ok(entry.as_ref().into()),
                    Some(OperationView::Refused(_)) | None => None,
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
                let as_of = fields::timestamp_floor("as_of", &as_of)?;
                self.ledger.account_get_as_of(&account_id, as_of).await?
            }
            None => self.ledger.account_get(&account_id).await?,
        };
        let account = found.ok_or(Failure::NotFound(NotFound::Account))?;
        Ok(messages::account(&account_id, &account))
    }

    async fn entries(
        &self,
        request: proto::ListEntriesRequest,
    ) -> Result<proto::ListEntriesResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let query = fields::entry_query(&request)?;
        let page_size = fields::page_size(request.page_size)?;
        let span = if request.page_token.is_empty() {
            let (from, until) = fields::times(request.from_time.as_ref(), request.until_time.as_ref())?;
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
            next_page_token: page.rest.map(|rest| page_token::write(&rest, &request)).unwrap_or_default(),
        })
    }

    async fn accounts(
        &self,
        request: proto::ListAccountsRequest,
    ) -> Result<proto::ListAccountsResponse, Failure> {
        let page_size = fields::page_size(request.page_size)?.min(ACCOUNTS_MAX);
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(page_token::parse::<AccountId>(token, &request)?),
        };
        if request.account_id_prefix.contains('\0') {
            return Err(Invalid::field("account_id_prefix", "must not contain NUL characters").into());
        }
        let after = after.as_ref().map_or("", AccountId::as_str);
        let mut found = self.ledger.account_list(&request.account_id_prefix, after, page_size + 1).await?;
        let has_more = found.len() > page_size;
        found.truncate(page_size);
        let last = found.last().filter(|_| has_more);
        Ok(proto::ListAccountsResponse {
            next_page_token: last.map(|(id, _)| page_token::write(id, &request)).unwrap_or_default(),
            accounts: found.iter().map(|(id, account)| messages::account(id, account)).collect(),
        })
    }

    async fn statement(
        &self,
        request: proto::GetStatementRequest,
    ) -> Result<proto::GetStatementResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let (from, until) = fields::times(request.from_time.as_ref(), request.until_time.as_ref())?;
        let statement = self.ledger.account_statement(&account_id, from, until).await?;
        Ok(messages::statement(statement.ok_or(Failure::NotFound(NotFound::Account))?)?)
    }

    async fn payment(&self, request: proto::FindPaymentRequest) -> Result<proto::Entry, Failure> {
        let external_id = ExternalId::parse("external_id", &request.external_id)?;
        let found = self.ledger.payment_find(&external_id).await?;
        found.map(|entry| (&entry).into()).ok_or(Failure::NotFound(NotFound::Payment))
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
        let state = fields::reservation_state(request.state)?;
        let page_size = fields::page_size(request.page_size)?;
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
            next_page_token: page.rest.map(|rest| page_token::write(&rest, &request)).unwrap_or_default(),
        })
    }

    async fn grants(&self, request: proto::ListGrantsRequest) -> Result<proto::ListGrantsResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let page_size = fields::page_size(request.page_size)?;
        let span = if request.page_token.is_empty() {
            let span = self.ledger.entry_span(&account_id, None, None).await?;
            span.ok_or(Failure::NotFound(NotFound::Account))?
        } else {
            page_token::parse(&request.page_token, &request)?
        };
        let mut page = Page::new(span, page_size);
        while let Some((span, wanted)) = page.wants() {
            let read = self.ledger.grant_list(&account_id, span, request.only_open, wanted).await?;
            page.take(read.grants.iter().map(|grant| (grant.sequence, grant.into())), read.rest);
        }
        Ok(proto::ListGrantsResponse {
            grants: page.items,
            next_page_token: page.rest.map(|rest| page_token::write(&rest, &request)).unwrap_or_default(),
        })
    }

    async fn operation(
        &self,
        request: proto::GetOperationRequest,
    ) -> Result<proto::GetOperationResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let key = IdempotencyKey::parse("idempotency_key", &request.idempotency_key)?;
        let outcome = match self.ledger.operation_get(&account_id, &key).await? {
            Some(OperationView::Applied { entry, since, leg_entries }) => {
                get_operation_response::Outcome::Applied(proto::Applied {
                    entry: Some(entry.as_ref().into()),
                    replayed: true,
                    since: Some((&since).into()),
                    leg_entries: leg_entries.iter().map(|entry| entry.as_ref().into()).collect(),
                })
            }
            Some(OperationView::Refused(refusal)) => {
                get_operation_response::Outcome::Refused(refusal.as_ref().into())
            }
            None => return Err(Failure::NotFound(NotFound::Operation)),
        };
        Ok(proto::GetOperationResponse { outcome: Some(outcome) })
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
        Outcome::Applied { entry, since, leg_entries } => Ok(proto::Applied {
            entry: Some(entry.as_ref().into()),
            replayed: since.is_some(),
            since: since.as_ref().map(Into::into),
            leg_entries: leg_entries.iter().map(|entry| entry.as_ref().into()).collect(),
        }),
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

fn account_id(text: &str) -> Result<AccountId, Invalid> {
    AccountId::parse("account_id", text)
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
