//! The operator who asks for a page: known by the session, and by a form's token where something is sent.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, Method, request::Parts},
};

use super::{
    failure::Failure,
    scrape::Scraped,
    service::Service,
    session::{Found, Sessions},
    viewer::Viewer,
};
use tonic::transport::Channel;

/// What all pages share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) connection: Channel,
    pub(super) sessions: Arc<Sessions>,
    pub(super) metrics: Option<Scraped>,
}

/// An operator who has signed in.
pub(super) struct Operator {
    /// As pages know it.
    pub(super) viewer: Viewer,
    /// The service for this operator, for one page.
    pub(super) service: Service,
    session: String,
    sessions: Arc<Sessions>,
}

impl Operator {
    /// Fails unless a form is of this operator's session.
    pub(super) fn must_have_sent(&self, form_token: &str) -> Result<(), Failure> {
        let is_of_session = self.sessions.keys.is_of_session(form_token, &self.session);
        if is_of_session { Ok(()) } else { Err(Failure::Forged) }
    }
}

impl<S> FromRequestParts<S> for Operator
where
    S: Send + Sync,
    Shared: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Shared { connection, sessions, .. } = Shared::from_ref(state);
        let is_over = match sessions.find(&parts.headers) {
            Found::Session(session) => {
                let token = session.operator.as_ref().map(|operator| operator.token.as_str());
                let service = token.and_then(|token| Service::new(&connection, token));
                if let (Some(viewer), Some(service)) = (sessions.viewer(&session), service) {
                    return Ok(Self { viewer, service, session: session.id, sessions });
                }
                false
            }
            Found::Nothing => false,
            Found::Over => true,
        };
        Err(signed_out(parts, is_over))
    }
}

fn signed_out(parts: &Parts, is_over: bool) -> Failure {
    if parts.method != Method::GET {
        return Failure::Forged;
    }
    let here = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    if !is_over && comes_from_elsewhere(&parts.headers) {
        return Failure::FromElsewhere { here };
    }
    Failure::SignedOut { next: here, is_over }
}

/// Whether a link of another site led here: then the browser does not send a strict cookie, whether or not it has one.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}
