//! The forms of what an operator can do: filled in, looked at once more with the balance before and after, and sent. The key is
//! made when the form is opened and stands in its address, so going back and pressing again is the same operation.

use axum::{
    Form,
    extract::{Path, Query},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    account,
    action::{self, Action},
    entry,
    failure::Failure,
    fields::{self, About},
    keys::random_name,
    layout::page_of,
    link::{self, link},
    operator::Operator,
    order::{Draft, Order, Wrong, left_of},
    problem::{self, Doing, Outcome},
    review,
    service::{Service, ServiceError},
    viewer::Viewer,
};

/// The reason of a key that was used for something else.
const KEY_REUSED: &str = "IDEMPOTENCY_KEY_REUSED";

/// The form, or what it has been filled in with, to be looked at once more.
pub(super) async fn open(
    Operator { viewer, service, .. }: Operator,
    Path(name): Path<String>,
    Query(draft): Query<Draft>,
) -> Result<Response, Failure> {
    let action = Action::named(&name).ok_or(Failure::NoSuchPage)?;
    if draft.key.is_empty() {
        return Ok(Redirect::to(&begin(action, &service, &draft).await?).into_response());
    }
    let about = about(action, &service, &draft).await?;
    if !is_offered(action, &about, &viewer) {
        return Ok(not_offered(action, &draft, &viewer));
    }
    if draft.review.is_empty() {
        return Ok(form(action, &draft, &about, None, &viewer).into_response());
    }
    Ok(match Order::new(action, &draft, viewer.actor()) {
        Ok(order) => {
            review::page(action, &draft, &about, &order.after(&about.account), &viewer).into_response()
        }
        Err(wrong) => (StatusCode::UNPROCESSABLE_ENTITY, form(action, &draft, &about, Some(&wrong), &viewer))
            .into_response(),
    })
}

/// Has done what a form says, and shows what became of it.
pub(super) async fn send(
    operator: Operator,
    Path(name): Path<String>,
    Form(draft): Form<Draft>,
) -> Result<Response, Failure> {
    operator.must_have_sent(&draft.form_token)?;
    let action = Action::named(&name).ok_or(Failure::NoSuchPage)?;
    let Operator { viewer, service, .. } = operator;
    let order = Order::new(action, &draft, viewer.actor())
        .map_err(|Wrong { field, why }| Failure::Malformed(format!("The {field} {why}.")))?;
    match order.send(&service).await {
        Ok(done) => {
            let said = if done.replayed { "before" } else { "now" };
            let query = [("account", draft.account.as_str()), ("key", &draft.key), ("said", said)];
            Ok(Redirect::to(&link("/operation", &query)).into_response())
        }
        Err(error) => Ok(failed(action, &draft, &error, &viewer)),
    }
}

/// What the service says instead, and the ways on. What was refused is tried anew under another key; what may have been done is
/// sent again under the same.
fn failed(action: Action, draft: &Draft, error: &ServiceError, viewer: &Viewer) -> Response {
    let is_refused = problem::outcome(error) == Outcome::Refused;
    let is_used = error.reason == KEY_REUSED;
    let anew = Draft { key: String::new(), ..draft.clone() };
    let body = html! {
        h1 { (action.title()) ": " (problem::title(error).to_lowercase()) }
        (problem::explained(error, Doing::Acting))
        @if !is_refused { (review::confirm(action, draft, "Send it again", viewer)) }
        p class="ways" {
            a href=(link::account(&draft.account)) { "Account" }
            @if is_used { a href=(link::operation(&draft.account, &draft.key)) { "What was done before" } }
            @else if is_refused { a href=(fields::address(action, &anew)) { "Change the form" } }
        }
    };
    let page = page_of(&draft.account, problem::title(error), viewer, &body);
    (problem::http_status(error), page).into_response()
}

/// The address of a form that has just been opened: with its key, and with what it is about as it is now.
async fn begin(action: Action, service: &Service, draft: &Draft) -> Result<String, Failure> {
    let key = format!("console-{}-{}", action.name(), random_name()?);
    let mut draft = Draft { key, ..draft.clone() };
    if action == Action::Close {
        let account = account::read(service, &draft.account).await?;
        draft.forfeit = account.balance.unwrap_or_default().posted_micro_usd.to_string();
    }
    if action.is_of_entry() && draft.amount.is_empty() {
        let entry = entry::read(service, &draft.account, sequence(&draft)?).await?;
        let since = entry::since(service, &entry).await?;
        draft.amount = left_of(&entry, since.map_or(0, |since| since.undone_micro_usd));
    }
    Ok(fields::address(action, &draft))
}

fn sequence(draft: &Draft) -> Result<i64, Failure> {
    draft.sequence.parse().map_err(|_| Failure::Malformed("An entry has a number.".into()))
}

async fn about(action: Action, service: &Service, draft: &Draft) -> Result<About, Failure> {
    let account = account::read(service, &draft.account).await?;
    if !action.is_of_entry() {
        return Ok(About { account, entry: None, reversed: None });
    }
    let entry = entry::read(service, &draft.account, sequence(draft)?).await?;
    let reversed = match entry.reversed_sequence {
        0 => None,
        sequence => Some(entry::read(service, &draft.account, sequence).await?),
    };
    Ok(About { account, entry: Some(entry), reversed })
}

fn is_offered(action: Action, about: &About, viewer: &Viewer) -> bool {
    match &about.entry {
        Some(entry) => action::of_entry(entry, about.reversed.as_ref(), viewer) == Some(action),
        None => action.is_open_to(viewer),
    }
}

fn not_offered(action: Action, draft: &Draft, viewer: &Viewer) -> Response {
    let body = html! {
        h1 { (action.title()) ": not possible here" }
        p { "It needs another role than yours (" (viewer.roles) "), or there is nothing of this kind to be done." }
        p { a href=(link::account(&draft.account)) { "Account" } }
    };
    (StatusCode::FORBIDDEN, page_of(&draft.account, action.title(), viewer, &body)).into_response()
}

fn form(action: Action, draft: &Draft, about: &About, wrong: Option<&Wrong>, viewer: &Viewer) -> Markup {
    let title = format!("{}, account {}", action.title(), draft.account);
    let body = html! {
        h1 { (action.title()) }
        (fields::form(action, draft, about, wrong))
    };
    page_of(&draft.account, &title, viewer, &body)
}
