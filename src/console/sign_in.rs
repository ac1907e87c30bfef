//! Signing in with a bearer token, and out again.

use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;
use tonic::Code;

use super::{
    failure::Failure,
    layout::page,
    operator::{Operator, Shared},
    problem::{self, Doing},
    service::{Service, ServiceError},
    session::{Found, Session, Sessions, SignedIn},
};
use crate::grpc::proto::GetCallerRequest;

/// No token is as long: it would not fit into a cookie.
const TOKEN_BYTES_MAX: usize = 1_024;

/// Where to go on, and whether a session is over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Way {
    next: String,
    over: String,
}

/// What is sent by the form.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Credentials {
    token: String,
    next: String,
    form_token: String,
}

/// What is sent to sign out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Farewell {
    form_token: String,
}

/// The form, which is of a session, too, in which nobody has signed in yet.
pub(super) async fn show(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(way): Query<Way>,
) -> Result<Response, Failure> {
    let session = match shared.sessions.find(&headers) {
        Found::Session(session) => session,
        Found::Over | Found::Nothing => Session::begin(None)?,
    };
    let said = (!way.over.is_empty()).then(|| {
        html! {
            div class="problem" role="alert" { p { strong { "You have been signed out" } ": nothing had happened for a while." } }
        }
    });
    let form = form(&shared.sessions, &session, &way.next, said.as_ref());
    Ok(([(header::SET_COOKIE, shared.sessions.cookie(session)?)], form).into_response())
}

/// Signs in, if the service knows the token.
pub(super) async fn sign_in(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(sent): Form<Credentials>,
) -> Result<Response, Failure> {
    let Found::Session(session) = shared.sessions.find(&headers) else { return Err(Failure::Forged) };
    if !shared.sessions.keys.is_of_session(&sent.form_token, &session.id) {
        return Err(Failure::Forged);
    }
    let token = sent.token.trim();
    let service =
        Service::new(&shared.connection, token).filter(|_| (1..=TOKEN_BYTES_MAX).contains(&token.len()));
    let Some(service) = service else {
        return Ok(refused(&shared, &session, &sent.next, &html! { p { "That cannot be a token." } }));
    };
    let caller = match service.get_caller(GetCallerRequest {}).await {
        Ok(caller) => caller,
        Err(error) => return Ok(refused(&shared, &session, &sent.next, &why(&error))),
    };
    let operator = SignedIn { token: token.to_owned(), name: caller.caller, roles: caller.roles.join(",") };
    tracing::info!(caller = operator.name, request_id = service.request_id(), "signed in");
    let cookie = shared.sessions.cookie(Session::begin(Some(operator))?)?; // another session: its forms are new, too
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&own_page(&sent.next))).into_response())
}

/// Signs out.
pub(super) async fn sign_out(
    State(shared): State<Shared>,
    operator: Operator,
    Form(farewell): Form<Farewell>,
) -> Result<Response, Failure> {
    operator.must_have_sent(&farewell.form_token)?;
    Ok(([(header::SET_COOKIE, shared.sessions.no_cookie())], Redirect::to("/sign-in")).into_response())
}

/// A page of this site, whatever was asked for.
fn own_page(next: &str) -> String {
    let is_address = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_own = is_address && next.starts_with('/') && !next.starts_with("//");
    if is_own { next.to_owned() } else { "/".to_owned() }
}

fn why(error: &ServiceError) -> Markup {
    html! {
        @if error.code == Code::Unauthenticated { p { strong { "The service does not know this token." } } }
        (problem::explained(error, Doing::Reading))
    }
}

fn refused(shared: &Shared, session: &Session, next: &str, why: &Markup) -> Response {
    let said = html! { div class="problem" role="alert" { (why) } };
    (StatusCode::UNPROCESSABLE_ENTITY, form(&shared.sessions, session, next, Some(&said))).into_response()
}

fn form(sessions: &Sessions, session: &Session, next: &str, said: Option<&Markup>) -> Markup {
    let body = html! {
        h1 { "Sign in" }
        @if let Some(said) = said { (said) }
        form class="fields" action="/sign-in" method="post" {
            input type="hidden" name="form_token" value=(sessions.keys.form_token(&session.id));
            @if !next.is_empty() { input type="hidden" name="next" value=(next); }
            div {
                label for="token" { "Bearer token" }
                input id="token" name="token" type="password" required autocomplete="current-password" spellcheck="false"
                    aria-describedby="token-hint";
                p class="hint" id="token-hint" {
                    "As " code { "billing token new" } " printed it. Every call is made with it, so you may here what it may."
                }
            }
            button { "Sign in" }
        }
    };
    page("Sign in", None, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_no_other_site() {
        assert_eq!(own_page("/account?id=ann"), "/account?id=ann");
        for other in
            ["", "https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\r\nb", "/\0", "/é"]
        {
            assert_eq!(own_page(other), "/", "{other:?}");
        }
    }
}
