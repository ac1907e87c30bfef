//! Calls in one line, and what they were answered in a form that is easy to compare.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use billing::grpc::proto::{
    Account, AccountState, AdminCreditRequest, CaptureRequest, ChargeRequest, CreditRequest, Entry,
    EntryType, ExtendReservationRequest, FindPaymentRequest, GetAccountRequest, GetEntryRequest,
    GetOperationRequest, GetReservationRequest, GetStatementRequest, ListAccountsRequest, ListEntriesRequest,
    ListEntriesResponse, ListGrantsRequest, ListReservationsRequest, ListReservationsResponse, RefundRequest,
    Refusal, ReleaseRequest, ReserveRequest, ReverseRequest, SetAccountRequest, Since, WithdrawRequest,
    billing_service_client::BillingServiceClient, get_entry_request, get_operation_response::Outcome,
    refund_request::Charge, reverse_request::Credit as CreditName,
};
use prost_types::Timestamp;
use tokio::{sync::Barrier, task::JoinSet};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{TestBook, on_a_book};

/// A client of the service.
pub type Client = BillingServiceClient<Channel>;

/// Connects to a service that may still be starting.
pub async fn connect(url: &str) -> Client {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    for _ in 0..200 {
        if let Ok(channel) = endpoint.connect().await {
            return Client::new(channel);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing serves at {url}");
}

/// A client that connects when it is first used, and again when it must.
pub fn connect_lazily(url: &str) -> Client {
    Client::new(Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy())
}

/// Runs a test with a client of a service on a fresh book, then checks the book.
pub async fn on_a_service(test: impl AsyncFnOnce(Client)) {
    on_a_served_book(async |_, client| test(client).await).await;
}

/// The same for a test that looks into the book as well.
pub async fn on_a_served_book(test: impl AsyncFnOnce(&TestBook, Client)) {
    on_a_book(async |book| {
        let server = book.serve().await;
        test(book, server.client().await).await;
    })
    .await;
}

/// The answers to so many calls at once, in turn through one of two replicas or the other; in the order of the callers.
pub async fn at_once<T, F>(clients: &[Client; 2], count: usize, call: impl Fn(Client, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let mut calls = JoinSet::new();
    for caller in 0..count {
        let (call, barrier) = (call(clients[caller % 2].clone(), caller), Arc::clone(&barrier));
        calls.spawn(async move {
            barrier.wait().await;
            (caller, call.await)
        });
    }
    let mut answers = calls.join_all().await;
    answers.sort_unstable_by_key(|(caller, _)| *caller);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// A deposit.
pub fn deposit(account: &str, key: &str, micro_usd: i64) -> CreditRequest {
    CreditRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        amount_micro_usd: micro_usd,
        entry_type: EntryType::Deposit.into(),
        ..Default::default()
    }
}

/// A Stripe deposit of a Checkout session.
pub fn stripe_deposit(account: &str, key: &str, micro_usd: i64, session: &str) -> CreditRequest {
    CreditRequest {
        entry_type: EntryType::StripeDeposit.into(),
        external_ids: vec![session.into()],
        ..deposit(account, key, micro_usd)
    }
}

/// A charge.
pub fn charge(account: &str, key: &str, micro_usd: i64) -> ChargeRequest {
    ChargeRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        amount_micro_usd: micro_usd,
        ..Default::default()
    }
}

/// A refund of the charge with a key.
pub fn refund(account: &str, key: &str, micro_usd: i64, charge_key: &str) -> RefundRequest {
    RefundRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        amount_micro_usd: micro_usd,
        charge: Some(Charge::ChargeIdempotencyKey(charge_key.into())),
        ..Default::default()
    }
}

/// A grant.
pub fn grant(account: &str, key: &str, micro_usd: i64) -> AdminCreditRequest {
    AdminCreditRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        amount_micro_usd: micro_usd,
        actor: "ann@example.com".into(),
        reason: "goodwill after an outage".into(),
        ..Default::default()
    }
}

/// A credit that expires.
pub fn expiring(account: &str, key: &str, micro_usd: i64, expire_time: Timestamp) -> CreditRequest {
    CreditRequest {
        entry_type: EntryType::InviteCredit.into(),
        expire_time: Some(expire_time),
        ..deposit(account, key, micro_usd)
    }
}

/// The time so much from now on.
pub fn from_now(later: Duration) -> Timestamp {
    let micros = (SystemTime::now() + later).duration_since(UNIX_EPOCH).unwrap().as_micros();
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    Timestamp { seconds: seconds.try_into().unwrap(), nanos: i32::try_from(micros * 1_000).unwrap() }
}

/// The microsecond before a time.
pub fn right_before(time: Timestamp) -> Timestamp {
    match time.nanos {
        0 => Timestamp { seconds: time.seconds - 1, nanos: 999_999_000 },
        nanos => Timestamp { nanos: nanos - 1_000, ..time },
    }
}

/// Waits until a time has come.
pub async fn until_time(time: Timestamp) {
    let since = Duration::new(time.seconds.try_into().unwrap(), time.nanos.try_into().unwrap());
    let left = (UNIX_EPOCH + since).duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left + Duration::from_millis(2)).await;
}

/// A reversal of the credit with a key.
pub fn reverse(account: &str, key: &str, micro_usd: i64, credit_key: &str) -> ReverseRequest {
    ReverseRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        amount_micro_usd: micro_usd,
        credit: Some(CreditName::CreditIdempotencyKey(credit_key.into())),
        ..Default::default()
    }
}

/// Money that leaves.
pub fn withdraw(account: &str, key: &str, micro_usd: i64) -> WithdrawRequest {
    WithdrawRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        amount_micro_usd: micro_usd,
        ..Default::default()
    }
}

/// A reservation with a lease as by default.
pub fn reserve(account: &str, key: &str, micro_usd: i64) -> ReserveRequest {
    ReserveRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        amount_micro_usd: micro_usd,
        ..Default::default()
    }
}

/// A reservation with a lease of its own.
pub fn reserve_for(ttl: Duration, account: &str, key: &str, micro_usd: i64) -> ReserveRequest {
    ReserveRequest { ttl: Some(ttl.try_into().unwrap()), ..reserve(account, key, micro_usd) }
}

/// A capture of what a reservation holds, or of a part of it.
pub fn capture(account: &str, key: &str, reservation: &str, micro_usd: i64) -> CaptureRequest {
    CaptureRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        reservation_id: reservation.into(),
        amount_micro_usd: micro_usd,
        ..Default::default()
    }
}

/// A release of a reservation.
pub fn release(account: &str, key: &str, reservation: &str) -> ReleaseRequest {
    ReleaseRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        reservation_id: reservation.into(),
        ..Default::default()
    }
}

/// An extension of a reservation by so much money.
pub fn extend(account: &str, key: &str, reservation: &str, additional: i64) -> ExtendReservationRequest {
    ExtendReservationRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        reservation_id: reservation.into(),
        additional_amount_micro_usd: additional,
        ..Default::default()
    }
}

/// A decision about the state of an account.
pub fn set_account(account: &str, key: &str, state: AccountState) -> SetAccountRequest {
    SetAccountRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        state: state.into(),
        actor: "ann@example.com".into(),
        reason: "a dispute".into(),
        ..Default::default()
    }
}

/// A look at an account as it is now.
pub fn get_account(account: &str) -> GetAccountRequest {
    GetAccountRequest { account_id: account.into(), as_of: None }
}

/// The first page of accounts whose ids begin so.
pub fn list_accounts(prefix: &str) -> ListAccountsRequest {
    ListAccountsRequest { account_id_prefix: prefix.into(), ..Default::default() }
}

/// The statement of all that has happened in an account.
pub fn get_statement(account: &str) -> GetStatementRequest {
    GetStatementRequest { account_id: account.into(), ..Default::default() }
}

/// A question for the entry of a payment, by one of its names.
pub fn find_payment(external_id: &str) -> FindPaymentRequest {
    FindPaymentRequest { external_id: external_id.into() }
}

/// A look at one entry.
pub fn get_entry(account: &str, name: get_entry_request::Entry) -> GetEntryRequest {
    GetEntryRequest { account_id: account.into(), entry: Some(name) }
}

/// A look at one reservation.
pub fn get_reservation(account: &str, id: &str) -> GetReservationRequest {
    GetReservationRequest { account_id: account.into(), reservation_id: id.into() }
}

/// The first page of an account's entries.
pub fn list_entries(account: &str) -> ListEntriesRequest {
    ListEntriesRequest { account_id: account.into(), ..Default::default() }
}

/// The first page of an account's reservations.
pub fn list_reservations(account: &str) -> ListReservationsRequest {
    ListReservationsRequest { account_id: account.into(), ..Default::default() }
}

/// A list of an account's grants.
pub fn list_grants(account: &str) -> ListGrantsRequest {
    ListGrantsRequest { account_id: account.into(), ..Default::default() }
}

/// A question for what became of a key.
pub fn get_operation(account: &str, key: &str) -> GetOperationRequest {
    GetOperationRequest { account_id: account.into(), idempotency_key: key.into() }
}

/// A call with a header.
pub fn with_header<T>(name: &'static str, value: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

/// A call with a bearer token.
pub fn with_token<T>(token: &str, message: T) -> Request<T> {
    with_header("authorization", &format!("Bearer {token}"), message)
}

/// An account as it is now.
pub async fn account(client: &mut Client, account: &str) -> Account {
    client.get_account(get_account(account)).await.unwrap().into_inner().account.unwrap()
}

/// An account as it was at a time, or will be.
pub async fn account_as_of(client: &mut Client, account: &str, time: Timestamp) -> Result<Account, Status> {
    let request = GetAccountRequest { as_of: Some(time), ..get_account(account) };
    client.get_account(request).await.map(|answer| answer.into_inner().account.unwrap())
}

/// What is posted in an account, and what may leave it.
pub async fn posted_and_withdrawable(client: &mut Client, account_id: &str) -> (i64, i64) {
    let balance = account(client, account_id).await.balance.unwrap();
    (balance.posted_micro_usd, balance.withdrawable_micro_usd)
}

/// What an account has available.
pub async fn available(client: &mut Client, account: &str) -> i64 {
    self::account(client, account).await.balance.unwrap().available_micro_usd
}

/// What became of a key.
pub async fn outcome(client: &mut Client, account: &str, key: &str) -> Outcome {
    client.get_operation(get_operation(account, key)).await.unwrap().into_inner().outcome.unwrap()
}

/// The entry of a key that was applied, and what has happened since.
pub async fn applied(client: &mut Client, account: &str, key: &str) -> (Entry, Since) {
    match outcome(client, account, key).await {
        Outcome::Applied(applied) => {
            assert!(applied.replayed, "{applied:?}");
            (applied.entry.expect("an entry"), applied.since.expect("what has happened since"))
        }
        Outcome::Refused(refusal) => panic!("{refusal:?}"),
    }
}

/// The answer to a key that was refused.
pub async fn refusal(client: &mut Client, account: &str, key: &str) -> Refusal {
    match outcome(client, account, key).await {
        Outcome::Refused(refusal) => refusal,
        Outcome::Applied(applied) => panic!("{applied:?}"),
    }
}

/// All pages of a list of entries.
pub async fn entry_pages(client: &mut Client, mut request: ListEntriesRequest) -> Vec<ListEntriesResponse> {
    let mut pages = Vec::new();
    loop {
        let page = client.list_entries(request.clone()).await.unwrap().into_inner();
        request.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

/// All pages of a list of reservations.
pub async fn reservation_pages(
    client: &mut Client,
    mut request: ListReservationsRequest,
) -> Vec<ListReservationsResponse> {
    let mut pages = Vec::new();
    loop {
        let page = client.list_reservations(request.clone()).await.unwrap().into_inner();
        request.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

/// An error's code, reason and metadata.
pub fn error<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String, HashMap<String, String>) {
    let status = answer.expect_err("an error");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}")).clone();
    assert_eq!(info.domain, "billing.v1");
    (status.code(), info.reason, info.metadata)
}

/// An error's code and reason.
pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let (code, reason, _) = error(answer);
    (code, reason)
}

/// Fails unless a call is refused with this code and reason. Returns what else it was told.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
) -> HashMap<String, String> {
    let (its_code, its_reason, metadata) = error(answer);
    assert_eq!((its_code, its_reason.as_str()), (code, reason));
    metadata
}

/// The fields that an error says are wrong.
pub fn wrong_fields<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<String> {
    let details = answer.expect_err("an error").get_error_details();
    let violations = details.bad_request().expect("a BadRequest").field_violations.clone();
    violations.into_iter().map(|violation| violation.field).collect()
}

/// A request that is of use for so many milliseconds.
pub fn within<T>(millis: u64, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(millis));
    request
}

/// Fails unless a call ended by its deadline. Tells whether it was the service that said so: tonic's client keeps the same
/// deadline, and may be quicker on a busy machine.
pub fn is_too_late<T: std::fmt::Debug>(answer: Result<T, Status>) -> bool {
    let status = answer.expect_err("a call that ends by its deadline");
    if (status.code(), status.message()) == (Code::Cancelled, "Timeout expired") {
        return false;
    }
    assert_eq!(reason(Err::<T, _>(status)), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    true
}

/// What every answer of a method that moves or holds money has.
pub trait Answer {
    /// The entry, and what has happened since, if it was a replay: no other answer says so.
    fn entry_and_since(self) -> (Entry, Option<Since>);

    /// The entry, and whether it was a replay.
    fn answered(self) -> (Entry, bool)
    where
        Self: Sized,
    {
        let (entry, since) = self.entry_and_since();
        (entry, since.is_some())
    }
}

macro_rules! answers {
    ($($response:ident),+) => {
        $(impl Answer for Result<tonic::Response<billing::grpc::proto::$response>, Status> {
            fn entry_and_since(self) -> (Entry, Option<Since>) {
                let response = self.expect("an answer").into_inner();
                assert_eq!(response.since.is_some(), response.replayed, "{response:?}");
                (response.entry.expect("an entry"), response.since)
            }
        })+
    };
}
answers!(
    CreditResponse,
    ChargeResponse,
    RefundResponse,
    AdminCreditResponse,
    ReserveResponse,
    CaptureResponse,
    ReleaseResponse,
    ExtendReservationResponse,
    SetAccountResponse,
    ReverseResponse,
    WithdrawResponse
);
