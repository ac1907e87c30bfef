//! How to reach PostgreSQL: sessions, pools of them, and what goes wrong with them. Knows no account.
//!
//! * `url` says which servers, and `tls` whom to trust; `connect` opens a session over a `socket` on which
//!   `sqlstate` listens for the codes of errors, which Diesel does not pass on.
//! * `pool` keeps sessions and lends them out; `backend` looks after one that does not answer.
//! * `pipeline` sends statements in one go; `cursor` reads results page by page.

pub(crate) mod backend;
pub(crate) mod connect;
pub(crate) mod cursor;
pub(crate) mod error;
pub(crate) mod pipeline;
pub(crate) mod pool;
mod socket;
pub(crate) mod sqlstate;
mod tls;
mod url;

pub use connect::sessions_closed;
pub use error::{Cause, NoAnswer};
pub use url::{DatabaseUrl, DatabaseUrlError};
