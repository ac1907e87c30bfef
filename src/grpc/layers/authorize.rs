//! Authorization: who may call which method. It comes before the request is read, so a caller without the role cannot even
//! replay an operation.

use std::sync::Arc;

use tonic::codegen::http;

use super::log::CallerSlot;
use crate::{
    access::{Caller, Credentials},
    grpc::{
        connection::{ClientCertificate, ClientChain, Peer},
        failure::{Denial, Failure},
        methods::{HEALTH, LEDGER, Rpc, rpc},
    },
    reload::Reloaded,
};

/// Authorizes a call, and attaches the caller to it.
pub(crate) fn authorize<B>(credentials: &Credentials, request: &mut http::Request<B>) -> Result<(), Failure> {
    let path = request.uri().path();
    if path.starts_with(HEALTH) {
        return Ok(());
    }
    let caller = authenticate(credentials, request).map_err(Failure::Denied)?;
    if let Some(slot) = request.extensions().get::<CallerSlot>() {
        slot.set(&caller.name);
    }
    // Reflection, for example, is for any known caller.
    if path.starts_with(LEDGER) {
        // A method without a line in the table is nobody's.
        let Rpc { name: method, roles: needed, .. } = rpc(path).ok_or(Failure::Unimplemented)?;
        if !needed.iter().any(|role| caller.roles.contain(*role)) {
            return Err(Failure::Denied(Denial::Role { caller: caller.clone(), method, needed }));
        }
    }
    // Nothing after this needs the token, so nothing can log it.
    request.headers_mut().remove(http::header::AUTHORIZATION);
    request.extensions_mut().insert(caller.clone());
    Ok(())
}

/// Whether the caller is known, or no credentials are required.
pub(crate) fn is_known<B>(credentials: Option<&Reloaded<Credentials>>, request: &http::Request<B>) -> bool {
    credentials.is_none_or(|credentials| authenticate(&credentials.current(), request).is_ok())
}

/// The caller: by its token if it sent one, else by its certificate.
fn authenticate<'a, B>(
    credentials: &'a Credentials,
    request: &http::Request<B>,
) -> Result<&'a Caller, Denial> {
    if let Some(header) = request.headers().get(http::header::AUTHORIZATION) {
        let token = header.to_str().ok().and_then(bearer).ok_or(Denial::NotBearer)?;
        return credentials.caller_of_token(token).ok_or(Denial::UnknownToken);
    }
    let certificates = request.extensions().get::<Arc<Peer>>().and_then(|peer| peer.certificates.as_ref());
    match certificates.map_or(ClientCertificate::None, ClientChain::judge) {
        ClientCertificate::None => Err(Denial::NoCredentials),
        ClientCertificate::Invalid(why) => Err(Denial::InvalidCertificate(why)),
        ClientCertificate::Valid(names) => {
            credentials.caller_of_certificate(&names).ok_or(Denial::UnknownCertificate)
        }
    }
}

/// The token of a header `Bearer <token>`; the scheme is case-insensitive (RFC 9110, section 11.1).
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_scheme_and_a_token() {
        assert_eq!(bearer("Bearer t"), Some("t"));
        assert_eq!(bearer("bEARER  t "), Some("t"));
        for bad in ["", "t", "Basic t", "Bearer", "Bearert"] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }
}
