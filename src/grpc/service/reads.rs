//! The methods that read: each parses its request, asks the ledger, and renders what is found.

use super::{BillingService, fields, messages, page::Page, page_token};
use crate::{
    accounting::{AccountId, ExternalId, IdempotencyKey, Invalid, NotFound, Timestamp},
    grpc::{
        failure::Failure,
        proto::{self, get_entry_request, get_operation_response},
    },
    ledger::{EntrySpan, OperationView},
};

/// The most accounts on a page: of the longest ids they stay below the size of any other page.
const ACCOUNTS_MAX: usize = 500;
/// The most grants on a page. They are small, and read by one statement: a charge that draws on several shows on all of them or none.
const GRANTS_MAX: usize = 500;

impl BillingService {
    pub(super) async fn entry(&self, request: proto::GetEntryRequest) -> Result<proto::Entry, Failure> {
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

    pub(super) async fn account(&self, request: proto::GetAccountRequest) -> Result<proto::Account, Failure> {
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

    pub(super) async fn entries(
        &self,
        request: proto::ListEntriesRequest,
    ) -> Result<proto::ListEntriesResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let query = fields::entry_query(&request)?;
        let page_size = fields::page_size(request.page_size)?;
        let span = match request.page_token.as_str() {
            "" => {
                let times = fields::times(request.from_time.as_ref(), request.until_time.as_ref())?;
                self.span(&account_id, times).await?
            }
            token => page_token::parse(token, &request)?,
        };
        let (ledger, account_id, query) = (&self.ledger, &account_id, &query);
        let page = Page::read(span, page_size, |span, wanted| async move {
            let read = ledger.entry_list(account_id, span, query, wanted).await?;
            let items = read.entries.iter().map(|entry| (entry.sequence, entry.into())).collect();
            Ok::<_, Failure>((items, read.rest))
        })
        .await?;
        Ok(proto::ListEntriesResponse {
            entries: page.items,
            next_page_token: page.rest.map(|rest| page_token::write(&rest, &request)).unwrap_or_default(),
        })
    }

    pub(super) async fn accounts(
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

    pub(super) async fn statement(
        &self,
        request: proto::GetStatementRequest,
    ) -> Result<proto::GetStatementResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let (from, until) = fields::times(request.from_time.as_ref(), request.until_time.as_ref())?;
        let statement = self.ledger.account_statement(&account_id, from, until).await?;
        Ok(messages::statement(statement.ok_or(Failure::NotFound(NotFound::Account))?)?)
    }

    pub(super) async fn payment(&self, request: proto::FindPaymentRequest) -> Result<proto::Entry, Failure> {
        let external_id = ExternalId::parse("external_id", &request.external_id)?;
        let found = self.ledger.payment_find(&external_id).await?;
        found.map(|entry| (&entry).into()).ok_or(Failure::NotFound(NotFound::Payment))
    }

    pub(super) async fn reservation(
        &self,
        request: proto::GetReservationRequest,
    ) -> Result<proto::Reservation, Failure> {
        let account_id = account_id(&request.account_id)?;
        let reservation_id = IdempotencyKey::parse_of_reservation(&request.reservation_id)?;
        let found = self.ledger.reservation_get(&account_id, &reservation_id).await?;
        found.map(|reservation| (&reservation).into()).ok_or(Failure::NotFound(NotFound::Reservation))
    }

    pub(super) async fn reservations(
        &self,
        request: proto::ListReservationsRequest,
    ) -> Result<proto::ListReservationsResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let state = fields::reservation_state(request.state)?;
        let page_size = fields::page_size(request.page_size)?;
        let span = match request.page_token.as_str() {
            "" => self.span(&account_id, (None, None)).await?,
            token => page_token::parse(token, &request)?,
        };
        let (ledger, account_id) = (&self.ledger, &account_id);
        let page = Page::read(span, page_size, |span, wanted| async move {
            let read = ledger.reservation_list(account_id, span, state, wanted).await?;
            let items = read
                .reservations
                .iter()
                .map(|reservation| (reservation.sequence, reservation.into()))
                .collect();
            Ok::<_, Failure>((items, read.rest))
        })
        .await?;
        Ok(proto::ListReservationsResponse {
            reservations: page.items,
            next_page_token: page.rest.map(|rest| page_token::write(&rest, &request)).unwrap_or_default(),
        })
    }

    pub(super) async fn grants(
        &self,
        request: proto::ListGrantsRequest,
    ) -> Result<proto::ListGrantsResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let page_size = fields::page_size(request.page_size)?.min(GRANTS_MAX);
        let span = match request.page_token.as_str() {
            "" => self.span(&account_id, (None, None)).await?,
            token => page_token::parse(token, &request)?,
        };
        let page = self.ledger.grant_list(&account_id, span, request.only_open, page_size).await?;
        Ok(proto::ListGrantsResponse {
            grants: page.grants.iter().map(Into::into).collect(),
            next_page_token: page.rest.map(|rest| page_token::write(&rest, &request)).unwrap_or_default(),
        })
    }

    pub(super) async fn operation(
        &self,
        request: proto::GetOperationRequest,
    ) -> Result<proto::GetOperationResponse, Failure> {
        let account_id = account_id(&request.account_id)?;
        let key = IdempotencyKey::parse("idempotency_key", &request.idempotency_key)?;
        let outcome = match self.ledger.operation_get(&account_id, &key).await? {
            Some(OperationView::Applied { entry, since, leg_entries }) => {
                let applied = messages::applied(&entry, Some(&since), &leg_entries);
                get_operation_response::Outcome::Applied(applied)
            }
            Some(OperationView::Refused(refusal)) => {
                get_operation_response::Outcome::Refused(refusal.as_ref().into())
            }
            None => return Err(Failure::NotFound(NotFound::Operation)),
        };
        Ok(proto::GetOperationResponse { outcome: Some(outcome) })
    }

    /// The entries of an account between two times.
    async fn span(
        &self,
        account_id: &AccountId,
        (from, until): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<EntrySpan, Failure> {
        let span = self.ledger.entry_span(account_id, from, until).await?;
        span.ok_or(Failure::NotFound(NotFound::Account))
    }
}

fn account_id(text: &str) -> Result<AccountId, Invalid> {
    AccountId::parse("account_id", text)
}
