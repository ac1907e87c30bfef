//! The generated client with several replicas behind it, credentials, and tries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue, errors::InvalidMetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Error},
};

use crate::{
    apply::apply,
    proto::{self, billing_service_client::BillingServiceClient},
    retry::{Failure, Policy, Try, retry},
};

/// A replica by its URL, set so that a connection that is dead is noticed. For TLS, call
/// [`tls_config`](Endpoint::tls_config) on what it returns.
///
/// # Errors
/// When it is no URL.
pub fn endpoint(url: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .tcp_nodelay(true);
    Ok(endpoint)
}

/// The largest answer: that of a list of replays can be larger than tonic accepts by default.
const ANSWER_BYTES_MAX: usize = 20 * 1024 * 1024;

type Replica = BillingServiceClient<InterceptedService<Channel, Credentials>>;

/// A client that makes each call until it is answered, on another replica each time one fails. Clones share connections.
///
/// Every method but `apply` takes a request as the contract has it. The same request goes out with each try, its key included.
#[derive(Debug, Clone)]
pub struct RetryingClient {
    replicas: Arc<Rotation<Replica>>,
    policy: Policy,
}

impl RetryingClient {
    /// A client of these replicas, which share a database. It connects when it is first used, and again when it must. A
    /// `token` is sent as the credential of each call.
    ///
    /// # Errors
    /// When the token has characters that none has.
    ///
    /// # Panics
    /// Without any replica.
    pub fn new(
        replicas: impl IntoIterator<Item = Endpoint>,
        token: Option<&str>,
        policy: Policy,
    ) -> Result<Self, InvalidMetadataValue> {
        let credentials = Credentials::new(token)?;
        let connect = |replica: Endpoint| {
            BillingServiceClient::with_interceptor(replica.connect_lazy(), credentials.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX)
        };
        Ok(Self { replicas: Arc::new(Rotation::new(replicas.into_iter().map(connect).collect())), policy })
    }

    async fn call<M, R, F>(
        &self,
        message: M,
        method: impl Fn(Replica, Request<M>) -> F + Send + Sync,
    ) -> Result<R, Failure>
    where
        M: Clone + Send,
        F: Future<Output = Result<Response<R>, Status>> + Send,
    {
        retry(&self.policy, |this_try| self.attempt(this_try, message.clone(), &method)).await
    }

    async fn attempt<M, R, F>(
        &self,
        this_try: Try,
        message: M,
        method: impl FnOnce(Replica, Request<M>) -> F + Send,
    ) -> Result<R, Status>
    where
        M: Send,
        F: Future<Output = Result<Response<R>, Status>> + Send,
    {
        let (at, replica) = self.replicas.current();
        let mut request = Request::new(message);
        request.set_timeout(this_try.timeout); // so that the service, too, gives up in time
        let answer = method(replica, request).await;
        if answer.is_err() {
            self.replicas.leave(at);
        }
        answer.map(Response::into_inner)
    }

    /// Carries out up to 500 operations, each by itself, and sends those again whose outcome is not known, with the same keys.
    /// What became of each, in the order of the list.
    pub async fn apply(&self, operations: &[proto::Operation]) -> Vec<Result<proto::Applied, Failure>> {
        let send = |this_try, operations| {
            let request = proto::ApplyRequest { operations };
            self.attempt(
                this_try,
                request,
                |mut replica, request| async move { replica.apply(request).await },
            )
        };
        apply(&self.policy, operations, send).await
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $response:ident;)+) => {
        impl RetryingClient {
            $($(#[$doc])*
            ///
            /// # Errors
            /// See [`Failure`].
            pub async fn $name(&self, request: proto::$request) -> Result<proto::$response, Failure> {
                self.call(request, |mut replica, request| async move { replica.$name(request).await }).await
            })+
        }
    };
}
methods! {
    /// Adds money to an account.
    credit(CreditRequest) -> CreditResponse;
    /// Takes money at once.
    charge(ChargeRequest) -> ChargeResponse;
    /// Gives back all or part of a debit: a charge, a capture, a withdrawal or a reversal.
    refund(RefundRequest) -> RefundResponse;
    /// Grants money by decision of an operator.
    admin_credit(AdminCreditRequest) -> AdminCreditResponse;
    /// Holds money for work in progress.
    reserve(ReserveRequest) -> ReserveResponse;
    /// Charges the used part of a reservation.
    capture(CaptureRequest) -> CaptureResponse;
    /// Frees what a reservation holds.
    release(ReleaseRequest) -> ReleaseResponse;
    /// Raises a hold, renews a lease, or says what becomes of the hold when it expires.
    extend_reservation(ExtendReservationRequest) -> ExtendReservationResponse;
    /// Freezes, reopens or closes an account, or gives it a debt limit of its own.
    set_account(SetAccountRequest) -> SetAccountResponse;
    /// Takes back all or part of a credit.
    reverse(ReverseRequest) -> ReverseResponse;
    /// Takes money that leaves the account for good.
    withdraw(WithdrawRequest) -> WithdrawResponse;
    /// The balance of an account.
    get_account(GetAccountRequest) -> GetAccountResponse;
    /// A page of all accounts.
    list_accounts(ListAccountsRequest) -> ListAccountsResponse;
    /// The statement of an account over a period.
    get_statement(GetStatementRequest) -> GetStatementResponse;
    /// The entry of a payment.
    find_payment(FindPaymentRequest) -> FindPaymentResponse;
    /// One entry of an account's journal.
    get_entry(GetEntryRequest) -> GetEntryResponse;
    /// A page of an account's journal.
    list_entries(ListEntriesRequest) -> ListEntriesResponse;
    /// What became of an operation.
    get_operation(GetOperationRequest) -> GetOperationResponse;
    /// One reservation.
    get_reservation(GetReservationRequest) -> GetReservationResponse;
    /// A page of an account's reservations.
    list_reservations(ListReservationsRequest) -> ListReservationsResponse;
    /// Who the caller is.
    get_caller(GetCallerRequest) -> GetCallerResponse;
}

/// The bearer token that goes with each call, if there is one.
#[derive(Debug, Clone)]
struct Credentials(Option<MetadataValue<Ascii>>);

impl Credentials {
    fn new(token: Option<&str>) -> Result<Self, InvalidMetadataValue> {
        let header = token.map(|token| format!("Bearer {token}").parse()).transpose()?;
        let header = header.map(|mut header: MetadataValue<Ascii>| {
            header.set_sensitive(true); // is not shown by Debug
            header
        });
        Ok(Self(header))
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// Some replicas, of which one is in use until a call fails there.
#[derive(Debug)]
struct Rotation<T> {
    all: Vec<T>,
    current: AtomicUsize,
}

impl<T: Clone> Rotation<T> {
    /// Begins anywhere, so that many clients do not all begin at the same one.
    fn new(all: Vec<T>) -> Self {
        assert!(!all.is_empty(), "a client needs a replica");
        Self { current: AtomicUsize::new(fastrand::usize(..all.len())), all }
    }

    fn current(&self) -> (usize, T) {
        let at = self.current.load(Ordering::Relaxed);
        (at, self.all[at].clone())
    }

    /// Goes on to the next, unless another call that failed has already done so.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.all.len();
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_fail_together_leave_a_replica_once() {
        let replicas = Rotation::new(vec!['a', 'b', 'c']);
        let (at, first) = replicas.current();
        replicas.leave(at);
        let (_, second) = replicas.current();
        replicas.leave(at);
        assert_eq!(replicas.current().1, second);
        assert_ne!(first, second);
        for _ in 0..2 {
            replicas.leave(replicas.current().0);
        }
        assert_eq!(replicas.current().1, first, "all have had their turn");
    }

    #[test]
    fn a_token_is_sent_and_not_shown() {
        let mut credentials = Credentials::new(Some("billing_secret")).unwrap();
        assert!(!format!("{credentials:?}").contains("secret"));
        let request = credentials.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer billing_secret");
        assert!(Credentials::new(Some("a\nb")).is_err());
    }
}
