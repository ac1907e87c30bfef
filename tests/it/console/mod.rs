//! The operator's console: the built program, the service behind it, and a real browser before it.

mod acting;
mod browser;
mod desk;
mod finding;
mod http;
mod manifest;
mod overview;
mod pages;
mod saving;
mod serving;
mod signing_in;
mod speed;

use crate::support::{TestBook, on_a_book};
use desk::Desk;

/// Runs a test at a desk on a fresh book, then checks the book. `flags` are the console's.
async fn on_a_desk(flags: &[&str], test: impl AsyncFnOnce(&TestBook, &Desk)) {
    on_a_book(async |book| {
        let desk = Desk::set(book, flags);
        test(book, &desk).await;
    })
    .await;
}

/// The same for a test that needs a browser. Without one it is skipped.
async fn in_a_browser(flags: &[&str], test: impl AsyncFnOnce(&TestBook, &Desk)) {
    match browser::missing() {
        Some(why) => println!("skipped: {why}"),
        None => on_a_desk(flags, test).await,
    }
}
