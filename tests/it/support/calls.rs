//! Calls in one line, and what they were answered in a form that is easy to compare.

use std::{collections::HashMap, time::Duration};

use billing::grpc::proto::{
    AdminCreditRequest, ChargeRequest, CreditRequest, Entry, EntryType, GetAccountRequest, RefundRequest,
    billing_service_client::BillingServiceClient, refund_request::Charge,
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

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
        external_id: session.into(),
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

/// What an account has available.
pub async fn available(client: &mut Client, account: &str) -> i64 {
    let request = GetAccountRequest { account_id: account.into(), as_of: None };
    let account = client.get_account(request).await.unwrap().into_inner().account.unwrap();
    account.balance.unwrap().available_micro_usd
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

/// The entry of an answer, and whether it was a replay.
pub trait Answer {
    /// Takes them out.
    fn answered(self) -> (Entry, bool);
}

macro_rules! answers {
    ($($response:ident),+) => {
        $(impl Answer for Result<tonic::Response<billing::grpc::proto::$response>, Status> {
            fn answered(self) -> (Entry, bool) {
                let response = self.expect("an answer").into_inner();
                (response.entry.expect("an entry"), response.replayed)
            }
        })+
    };
}
answers!(CreditResponse, ChargeResponse, RefundResponse, AdminCreditResponse);
