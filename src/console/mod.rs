//! The operator's console: pages in a browser, and a client of the service like any other. It has no access to the database and
//! decides nothing: each call goes out with the operator's own token, so the service says who may do what, and records it.
//!
//! A request passes `server` (connections, headers) and `operator` (the session), and gets a page: `overview`, `find`, `accounts`,
//! `account`, `entry`, `reservation`, `month`, `operation`. `act` has the forms, `order` the requests that they make, and `review`
//! what is shown before. `service` makes the calls, and `problem` says in plain words why one failed. What callers wrote is shown
//! by `text` alone.

mod account;
mod accounts;
mod act;
mod action;
mod assets;
mod available;
mod chart;
mod download;
mod entry;
mod failure;
mod fields;
mod find;
mod grants;
mod journal;
mod keys;
mod layout;
mod link;
mod money;
mod month;
mod operation;
mod operator;
mod order;
mod overview;
mod problem;
mod related;
mod reservation;
mod review;
mod scrape;
mod server;
mod service;
mod session;
mod sign_in;
mod statement;
mod text;
mod time;
mod viewer;
mod words;

pub use keys::{Keys, NoRandomBytes, SECRET_BYTES_MIN};
pub use scrape::Scraped;
pub use server::{ConsoleSettings, serve, url};
pub use service::Target;
