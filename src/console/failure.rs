//! What keeps a page from being shown, and the page that is shown instead.

use axum::{
    Extension,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use tonic::Code;

use super::{
    keys::NoRandomBytes,
    layout,
    link::link,
    problem::{self, Doing},
    service::ServiceError,
    viewer::Viewer,
};

/// What keeps a page from being shown.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody has signed in, or the session is over.
    SignedOut {
        /// Where it goes on after signing in.
        next: String,
        /// Whether there was a session.
        is_over: bool,
    },
    /// A browser that came from another site kept its cookie to itself; on a second try from here it sends it.
    FromElsewhere {
        /// The page that was asked for.
        here: String,
    },
    /// A form that is not of this session.
    Forged,
    /// There is no such page.
    NoSuchPage,
    /// The address or the form does not say what it must, and why.
    Malformed(String),
    /// The service did not answer as it should.
    Service(Box<ServiceError>),
    /// This process failed.
    Broken(String),
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        Self::Service(Box::new(error))
    }
}

impl From<NoRandomBytes> for Failure {
    fn from(error: NoRandomBytes) -> Self {
        Self::Broken(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::SignedOut { next, is_over } => {
                let over = if is_over { "1" } else { "" };
                Redirect::to(&link("/sign-in", &[("next", &next), ("over", over)])).into_response()
            }
            Self::FromElsewhere { here } => once_more(&here),
            Self::Forged => shown(StatusCode::FORBIDDEN, "This form cannot be used", &forged()),
            Self::NoSuchPage => shown(
                StatusCode::NOT_FOUND,
                "There is no such page",
                &html! { p { a href="/" { "Overview" } } },
            ),
            Self::Malformed(why) => {
                shown(StatusCode::BAD_REQUEST, "This cannot be looked up", &html! { p { (why) } })
            }
            Self::Service(error) => {
                let body = html! {
                    (problem::explained(&error, Doing::Reading))
                    p class="ways" {
                        @if error.code == Code::Unauthenticated { a href="/sign-in" { "Sign in" } }
                        a href="/" { "Overview" }
                    }
                };
                shown(problem::http_status(&error), problem::title(&error), &body)
            }
            Self::Broken(why) => {
                tracing::error!(why, "a page cannot be made");
                let body = html! { p { "The console itself has failed, and its log says why." } };
                shown(StatusCode::INTERNAL_SERVER_ERROR, "This page cannot be made", &body)
            }
        }
    }
}

fn forged() -> Markup {
    html! {
        p { "It is not of this session: the session is over, or the form comes from another site. Nothing has happened." }
        p { a href="/" { "Go on from the overview" } ", and open the form anew." }
    }
}

/// A page that is still to be framed: only what knows the session knows for whom.
#[derive(Debug, Clone)]
pub(super) struct Unframed {
    title: &'static str,
    body: Markup,
}

impl Unframed {
    /// The page, for whoever has signed in.
    pub(super) fn framed(&self, viewer: Option<&Viewer>) -> Markup {
        layout::page(self.title, viewer, &self.body)
    }
}

fn shown(status: StatusCode, title: &'static str, body: &Markup) -> Response {
    let body = html! { h1 { (title) } (body) };
    (status, Extension(Unframed { title, body })).into_response()
}

/// Has the browser ask again from this page, which is of this site.
fn once_more(here: &str) -> Response {
    let mut response = shown(StatusCode::OK, "One moment", &html! { p { a href=(here) { "Go on" } } });
    if let Ok(refresh) = HeaderValue::try_from(format!("0; url={here}")) {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    response
}
