//! What the tests stand on: a real PostgreSQL, a fresh book for each test, servers, clients, and the check of the book.

pub mod address;
pub mod authority;
pub mod book;
pub mod books;
pub mod calls;
pub mod cases;
pub mod check;
pub mod check_grants;
pub mod citus;
pub mod cluster;
pub mod console;
pub mod dir;
pub mod guarded;
pub mod health;
pub mod installed;
pub mod measured;
pub mod posting;
pub mod process;
pub mod roles;
pub mod server;
pub mod shell;
pub mod standby;
pub mod waiting;
pub mod wire;

pub use book::{TestBook, on_a_book};
pub use books::migrate;
pub use calls::*;
pub use posting::PostBatch;
