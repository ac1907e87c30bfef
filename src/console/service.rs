//! The calls to the service: each with the operator's token, a deadline, and a request id that the service's log has, too.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::grpc::proto::{self, billing_service_client::BillingServiceClient};

/// How long a page waits for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it takes to find out that nobody is there.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// The name under which the service says whether a commit is possible.
const READINESS: &str = "readiness";

/// Where the service is.
#[derive(Debug, Clone)]
pub struct Target(Endpoint);

/// The calls of one page for one operator.
#[derive(Clone)]
pub(super) struct Service {
    channel: Channel,
    bearer: MetadataValue<Ascii>,
    request_id: String,
}

/// Why a call failed, as the service says it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message} ({request_id})")]
pub(super) struct ServiceError {
    /// The code.
    pub(super) code: Code,
    /// The reason, such as `INSUFFICIENT_FUNDS`; empty if it was not the service that answered.
    pub(super) reason: String,
    /// What the service says to people.
    pub(super) message: String,
    /// The figures and names that belong to the reason.
    pub(super) metadata: BTreeMap<String, String>,
    /// What the call is found by in the service's log.
    pub(super) request_id: String,
}

impl Target {
    /// The service at a URL, whose certificate this authority vouches for, PEM, if the URL begins with `https`.
    ///
    /// # Errors
    /// When it is no such URL, or there is no authority for it, or one too many.
    pub fn new(url: &str, authority: Option<&[u8]>) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
        let is_whole = endpoint.uri().host().is_some() && endpoint.uri().path() == "/";
        let endpoint = match (endpoint.uri().scheme_str(), authority) {
            (Some("http"), None) if is_whole => endpoint,
            (Some("https"), Some(authority)) if is_whole => {
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
                endpoint.tls_config(tls).map_err(|error| error.to_string())?
            }
            (Some("http"), Some(_)) if is_whole => {
                return Err("is not encrypted, so it needs no --target-ca".into());
            }
            (Some("https"), None) if is_whole => {
                return Err("needs --target-ca to know the service by".into());
            }
            _ => return Err("must be a URL such as http://127.0.0.1:50051 or https://billing:50051".into()),
        };
        Ok(Self(endpoint.connect_timeout(CONNECT_PATIENCE).timeout(PATIENCE)))
    }

    /// Whether tokens can be read on the way: it is not encrypted, and leaves this machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let host = self.0.uri().host().unwrap_or_default().trim_matches(['[', ']']);
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.0.uri().scheme_str() == Some("http") && !is_here
    }

    /// The connection, which is made when it is first needed, and again when it must be.
    pub(super) fn connection(&self) -> Channel {
        self.0.connect_lazy()
    }
}

impl Service {
    /// The service for an operator with a token, or nothing if it cannot be a token at all.
    pub(super) fn new(connection: &Channel, token: &str) -> Option<Self> {
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}").parse().ok()?;
        bearer.set_sensitive(true);
        let request_id = format!("console-{:016x}", fastrand::u64(..));
        Some(Self { channel: connection.clone(), bearer, request_id })
    }

    /// What its calls are found by in the service's log.
    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Whether the service says that it can commit.
    pub(super) async fn is_ready(&self) -> Result<bool, ServiceError> {
        let request = self.request(HealthCheckRequest { service: READINESS.into() });
        let answer = HealthClient::new(self.channel.clone()).check(request).await;
        Ok(answer.map_err(|status| self.error(&status))?.into_inner().status() == ServingStatus::Serving)
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(PATIENCE);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        if let Ok(id) = self.request_id.parse() {
            request.metadata_mut().insert("x-request-id", id);
        }
        request
    }

    fn error(&self, status: &Status) -> ServiceError {
        let details = status.get_error_details();
        let info = details.error_info();
        ServiceError {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: status.message().to_owned(),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            request_id: self.request_id.clone(),
        }
    }
}

macro_rules! methods {
    ($($name:ident($request:ident) -> $response:ident;)+) => {
        impl Service {$(
            pub(super) async fn $name(&self, message: proto::$request) -> Result<proto::$response, ServiceError> {
                let answer = BillingServiceClient::new(self.channel.clone()).$name(self.request(message)).await;
                answer.map(Response::into_inner).map_err(|status| self.error(&status))
            }
        )+}
    };
}
methods! {
    get_caller(GetCallerRequest) -> GetCallerResponse;
    get_account(GetAccountRequest) -> GetAccountResponse;
    list_accounts(ListAccountsRequest) -> ListAccountsResponse;
    get_statement(GetStatementRequest) -> GetStatementResponse;
    find_payment(FindPaymentRequest) -> FindPaymentResponse;
    get_entry(GetEntryRequest) -> GetEntryResponse;
    list_entries(ListEntriesRequest) -> ListEntriesResponse;
    get_operation(GetOperationRequest) -> GetOperationResponse;
    get_reservation(GetReservationRequest) -> GetReservationResponse;
    list_reservations(ListReservationsRequest) -> ListReservationsResponse;
    list_grants(ListGrantsRequest) -> ListGrantsResponse;
    admin_credit(AdminCreditRequest) -> AdminCreditResponse;
    refund(RefundRequest) -> RefundResponse;
    reverse(ReverseRequest) -> ReverseResponse;
    set_account(SetAccountRequest) -> SetAccountResponse;
}

/// What may be missing: nothing instead of an error that says so.
pub(super) fn found<T>(answer: Result<T, ServiceError>) -> Result<Option<T>, ServiceError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_encrypted_with_an_authority_or_not_at_all() {
        assert!(Target::new("http://127.0.0.1:50051", None).is_ok());
        for wrong in ["", "127.0.0.1:50051", "localhost", "ftp://h:1", "http://h:1/path", "https://h:1"] {
            assert!(Target::new(wrong, None).is_err(), "{wrong}");
        }
        assert!(Target::new("http://h:1", Some(b"an authority")).is_err());
        for (url, is_exposed) in [
            ("http://127.0.0.2:1", false),
            ("http://localhost:1", false),
            ("http://[::1]:1", false),
            ("http://10.0.0.1:1", true),
            ("http://billing:1", true),
        ] {
            assert_eq!(Target::new(url, None).unwrap().is_exposed(), is_exposed, "{url}");
        }
    }

    #[tokio::test]
    async fn a_token_is_not_shown() {
        let connection = Target::new("http://h:1", None).unwrap().connection();
        let service = Service::new(&connection, "5ecret").unwrap();
        assert!(!format!("{service:?}").contains("5ecret"));
        assert!(Service::new(&connection, "line\nbreak").is_none());
    }
}
