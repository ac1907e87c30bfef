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
    if let Some(why) = browser::missing() {
        return println!("skipped: {why}");
    }
    on_a_book(async |book| {
        let desk = Desk::set(book, flags);
        test(book, &desk).await;
    })
    .await;
}
