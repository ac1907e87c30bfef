//! The frame of every page: its head, the way around, the box that finds things, and who is signed in.

use maud::{DOCTYPE, Markup, html};

use super::{
    assets::{ICON, SCRIPT, STYLE},
    text,
    viewer::Viewer,
};

/// A page for somebody who has signed in, or for nobody yet.
pub(super) fn page(title: &str, viewer: Option<&Viewer>, body: &Markup) -> Markup {
    framed(title, viewer, "", body)
}

/// A page about an account: names in the box are looked for in it, too.
pub(super) fn page_of(account: &str, title: &str, viewer: &Viewer, body: &Markup) -> Markup {
    framed(title, Some(viewer), account, body)
}

fn framed(title: &str, viewer: Option<&Viewer>, account: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " – billing console" }
                link rel="icon" href=(ICON) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE);
                script src=(SCRIPT) defer {}
            }
            body data-idle=[viewer.map(|viewer| viewer.idle.as_secs())] {
                a class="skip" href="#main" { "Skip to content" }
                header {
                    a class="brand" href="/" { "billing" }
                    @if let Some(viewer) = viewer { (way_around(viewer, account)) }
                }
                main id="main" tabindex="-1" { (body) }
                footer { p { "Times are in UTC. Sums are in USD, to the last micro-USD that matters." } }
            }
        }
    }
}

fn way_around(viewer: &Viewer, account: &str) -> Markup {
    html! {
        nav aria-label="Pages" {
            a href="/" { "Overview" }
            a href="/accounts" { "Accounts" }
        }
        form class="find" role="search" action="/find" method="get" {
            label for="find" { "Find" }
            input id="find" name="q" type="search" required maxlength="512" autocomplete="off" spellcheck="false"
                placeholder="account, payment id, or account and key";
            @if !account.is_empty() { input type="hidden" name="account" value=(account); }
            button { "Find" }
        }
        form class="who" action="/sign-out" method="post" {
            (form_token(viewer))
            span { (text::whole(viewer.actor())) " (" (viewer.roles) ")" }
            button class="quiet" { "Sign out" }
        }
        div id="idle" role="status" class="idle" hidden {
            p { "Nothing has happened for a while. You will be signed out in a minute." }
            button id="stay" { "Stay signed in" }
        }
    }
}

/// What shows that a form is of this session.
pub(super) fn form_token(viewer: &Viewer) -> Markup {
    html! { input type="hidden" name="form_token" value=(viewer.form_token); }
}

/// A table that is scrolled by itself where it is too wide, also by keyboard.
pub(super) fn table(name: &str, content: &Markup) -> Markup {
    html! {
        div class="scroll" role="region" tabindex="0" aria-label=(name) {
            table { (content) }
        }
    }
}

/// Names and what they stand for.
pub(super) fn facts(facts: &[(&str, Option<Markup>)]) -> Markup {
    html! {
        dl {
            @for (name, fact) in facts {
                @if let Some(fact) = fact { div { dt { (name) } dd { (fact) } } }
            }
        }
    }
}
