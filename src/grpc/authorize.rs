//! Who may call which method. Comes before anything is read of a request: who may not call learns nothing, not even what
//! an operation was answered before.

use std::{
    convert::Infallible,
    future::Ready,
    task::{Context, Poll},
};

use futures_util::future::Either;
use tonic::{Status, codegen::http};
use tower::{Layer, Service};

use super::{HEALTH, connections::Peer, log::CallerSlot, status::Failure, tls::ClientCertificate};
use crate::{
    access::{Caller, Credentials, Role},
    reload::Reloaded,
};

/// Every method of the ledger, and the least role that may call it.
pub(super) const METHODS: [(&str, Role); 14] = [
    ("Credit", Role::Coordinator),
    ("Charge", Role::Coordinator),
    ("Refund", Role::Coordinator),
    ("AdminCredit", Role::Admin),
    ("Reserve", Role::Coordinator),
    ("Capture", Role::Coordinator),
    ("Release", Role::Coordinator),
    ("ExtendReservation", Role::Coordinator),
    ("GetAccount", Role::Reader),
    ("GetEntry", Role::Reader),
    ("ListEntries", Role::Reader),
    ("GetOperation", Role::Reader),
    ("GetReservation", Role::Reader),
    ("ListReservations", Role::Reader),
];
pub(super) const LEDGER: &str = "/billing.v1.BillingService/";

/// Why a caller is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    /// It sent no credentials.
    #[error(
        "credentials are required: send the metadata `authorization: Bearer <token>`, or use a client certificate"
    )]
    NoCredentials,
    /// What it sent as credentials is something else.
    #[error("the metadata authorization must be `Bearer <token>`")]
    NotBearer,
    /// Nobody has this token.
    #[error("the bearer token is not known")]
    UnknownToken,
    /// Its certificate is not valid.
    #[error("the client certificate is not valid: {0}")]
    InvalidCertificate(String),
    /// Nobody has the names of its certificate.
    #[error("no name of the client certificate is known")]
    UnknownCertificate,
    /// It is known, and may not do this.
    #[error("{method} needs the role {needed}, and {} has the role {}", .caller.name, .caller.role)]
    Role {
        /// Who calls.
        caller: Caller,
        /// The method, or the service, that it calls.
        method: String,
        /// What it would have to be.
        needed: Role,
    },
}

/// Puts [`Authorize`] around a service. Without credentials everybody is let in, and nobody has a name.
#[derive(Debug, Clone)]
pub(super) struct AuthorizeLayer(pub(super) Option<Reloaded<Credentials>>);

/// Lets callers in by their credentials, and names them to the methods.
#[derive(Debug, Clone)]
pub(super) struct Authorize<S> {
    inner: S,
    credentials: Option<Reloaded<Credentials>>,
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { inner, credentials: self.0.clone() }
    }
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for Authorize<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>, Error = Infallible>,
    ResponseBody: Default,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<S::Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<RequestBody>) -> Self::Future {
        if let Some(credentials) = &self.credentials
            && !request.uri().path().starts_with(HEALTH)
        {
            match authorize(&credentials.current(), &request) {
                Ok(caller) => {
                    // What nobody needs from here on, nobody can log.
                    request.headers_mut().remove(http::header::AUTHORIZATION);
                    request.extensions_mut().insert(caller);
                }
                Err(denial) => {
                    let status = Status::from(Failure::Denied(denial));
                    return Either::Right(std::future::ready(Ok(status.into_http())));
                }
            }
        }
        Either::Left(self.inner.call(request))
    }
}

fn authorize<B>(credentials: &Credentials, request: &http::Request<B>) -> Result<Caller, Denial> {
    let peer = request.extensions().get::<Peer>();
    let certificate = peer.map_or(&ClientCertificate::None, |peer| &peer.certificate);
    let caller = authenticate(credentials, request.headers(), certificate)?;
    if let Some(slot) = request.extensions().get::<CallerSlot>() {
        slot.set(&caller.name);
    }
    let (method, needed) = needed(request.uri().path());
    if caller.role < needed {
        let (caller, method) = (caller.clone(), method.to_owned());
        return Err(Denial::Role { caller, method, needed });
    }
    Ok(caller.clone())
}

/// Who calls: by its token if it sent one, else by its certificate.
fn authenticate<'a>(
    credentials: &'a Credentials,
    headers: &http::HeaderMap,
    certificate: &ClientCertificate,
) -> Result<&'a Caller, Denial> {
    if let Some(header) = headers.get(http::header::AUTHORIZATION) {
        let token = header.to_str().ok().and_then(bearer).ok_or(Denial::NotBearer)?;
        return credentials.caller_of_token(token).ok_or(Denial::UnknownToken);
    }
    match certificate {
        ClientCertificate::None => Err(Denial::NoCredentials),
        ClientCertificate::Invalid(why) => Err(Denial::InvalidCertificate(why.clone())),
        ClientCertificate::Valid(names) => {
            credentials.caller_of_certificate(names).ok_or(Denial::UnknownCertificate)
        }
    }
}

/// The token of a header `Bearer <token>`; the scheme in any case (RFC 9110, section 11.1).
pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The method of a path, and who may call it: of what is not the ledger, such as reflection, whoever is known; of what the
/// ledger does not list, nobody but those who may do everything.
fn needed(path: &str) -> (&str, Role) {
    let Some(name) = path.strip_prefix(LEDGER) else { return (path, Role::Reader) };
    METHODS.into_iter().find(|(method, _)| *method == name).unwrap_or((name, Role::Admin))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::grpc::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn every_method_of_the_contract_has_its_role() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let ledger =
            set.file.iter().flat_map(|file| &file.service).find(|service| service.name() == "BillingService");
        let methods: BTreeSet<_> =
            ledger.unwrap().method.iter().map(|method| method.name().to_owned()).collect();
        assert_eq!(methods, METHODS.iter().map(|(method, _)| (*method).to_owned()).collect());
        for (method, role) in METHODS {
            let reads = method.starts_with("Get") || method.starts_with("List");
            assert_eq!(role == Role::Reader, reads, "{method}");
            assert_eq!(needed(&format!("{LEDGER}{method}")), (method, role));
        }
    }

    #[test]
    fn what_is_not_listed_is_for_those_who_may_do_everything() {
        assert_eq!(needed("/billing.v1.BillingService/Mint").1, Role::Admin);
        assert_eq!(needed("/billing.v1.BillingService/credit").1, Role::Admin);
        assert_eq!(needed("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo").1, Role::Reader);
    }

    #[test]
    fn a_header_is_a_scheme_and_a_token() {
        assert_eq!(bearer("Bearer t"), Some("t"));
        assert_eq!(bearer("bEARER  t "), Some("t"));
        for bad in ["", "t", "Basic t", "Bearer", "Bearert"] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }
}
