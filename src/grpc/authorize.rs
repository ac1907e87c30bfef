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

use super::{
    HEALTH,
    connections::Peer,
    log::CallerSlot,
    status::Failure,
    tls::{ClientCertificate, ClientChain},
};
use crate::{
    access::{Caller, Credentials, Role},
    reload::Reloaded,
};

const ANY_ROLE: &[Role] = &[Role::Reader, Role::Coordinator, Role::Admin];
const COORDINATOR: &[Role] = &[Role::Coordinator];
const ADMIN: &[Role] = &[Role::Admin];

/// Every method of the ledger, and the roles any one of which is enough to call it.
pub(super) const METHODS: [(&str, &[Role]); 14] = [
    ("Credit", COORDINATOR),
    ("Charge", COORDINATOR),
    ("Refund", COORDINATOR),
    ("AdminCredit", ADMIN),
    ("Reserve", COORDINATOR),
    ("Capture", COORDINATOR),
    ("Release", COORDINATOR),
    ("ExtendReservation", COORDINATOR),
    ("GetAccount", ANY_ROLE),
    ("GetEntry", ANY_ROLE),
    ("ListEntries", ANY_ROLE),
    ("GetOperation", ANY_ROLE),
    ("GetReservation", ANY_ROLE),
    ("ListReservations", ANY_ROLE),
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
    #[error("{method} needs the role {}, and {} has {}", names(.needed), .caller.name, .caller.roles)]
    Role {
        /// Who calls.
        caller: Caller,
        /// The method that it calls.
        method: &'static str,
        /// The roles one of which it would need.
        needed: &'static [Role],
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
                Err(failure) => {
                    let status = Status::from(failure);
                    return Either::Right(std::future::ready(Ok(status.into_http())));
                }
            }
        }
        Either::Left(self.inner.call(request))
    }
}

fn authorize<B>(credentials: &Credentials, request: &http::Request<B>) -> Result<Caller, Failure> {
    let caller = authenticate(credentials, request).map_err(Failure::Denied)?;
    if let Some(slot) = request.extensions().get::<CallerSlot>() {
        slot.set(&caller.name);
    }
    let Some(name) = request.uri().path().strip_prefix(LEDGER) else {
        return Ok(caller.clone()); // such as reflection: for whoever is known
    };
    // A method without a line in the table is nobody's.
    let (method, needed) = method(name).ok_or(Failure::Unimplemented)?;
    if !needed.iter().any(|role| caller.roles.contain(*role)) {
        return Err(Failure::Denied(Denial::Role { caller: caller.clone(), method, needed }));
    }
    Ok(caller.clone())
}

/// Whether a call is from a caller who is known, or everybody may call.
pub(super) fn is_known<B>(credentials: Option<&Reloaded<Credentials>>, request: &http::Request<B>) -> bool {
    credentials.is_none_or(|credentials| authenticate(&credentials.current(), request).is_ok())
}

/// Who calls: by its token if it sent one, else by its certificate.
fn authenticate<'a, B>(
    credentials: &'a Credentials,
    request: &http::Request<B>,
) -> Result<&'a Caller, Denial> {
    if let Some(header) = request.headers().get(http::header::AUTHORIZATION) {
        let token = header.to_str().ok().and_then(bearer).ok_or(Denial::NotBearer)?;
        return credentials.caller_of_token(token).ok_or(Denial::UnknownToken);
    }
    let certificates = request.extensions().get::<Peer>().and_then(|peer| peer.certificates.as_ref());
    match certificates.map_or(ClientCertificate::None, ClientChain::judge) {
        ClientCertificate::None => Err(Denial::NoCredentials),
        ClientCertificate::Invalid(why) => Err(Denial::InvalidCertificate(why)),
        ClientCertificate::Valid(names) => {
            credentials.caller_of_certificate(&names).ok_or(Denial::UnknownCertificate)
        }
    }
}

/// The token of a header `Bearer <token>`; the scheme in any case (RFC 9110, section 11.1).
pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// A method of the ledger, by its name, and the roles that may call it.
pub(super) fn method(name: &str) -> Option<(&'static str, &'static [Role])> {
    METHODS.into_iter().find(|(method, _)| *method == name)
}

/// The names of roles, as in a sentence.
pub(super) fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ")
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
        for (name, roles) in METHODS {
            let reads = name.starts_with("Get") || name.starts_with("List");
            assert_eq!(roles == ANY_ROLE, reads, "{name}");
            assert_eq!(method(name), Some((name, roles)));
        }
        for unknown in ["Mint", "credit", "", "Credit/"] {
            assert_eq!(method(unknown), None, "{unknown}");
        }
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
