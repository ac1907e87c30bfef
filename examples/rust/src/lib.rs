//! A client of the billing ledger that calls again, with the same key, until it is answered.
//!
//! The ledger carries out an operation once, however often it is called under its key. So a call whose answer was lost is
//! made again; this crate does that. What is left for its user is to choose the key: once for each business event, and
//! before the first call.
//!
//! ```no_run
//! use billing_client::{Failure, Policy, RetryingClient, endpoint, proto::ChargeRequest, work_is_due};
//!
//! # async fn charge() -> Result<(), Box<dyn std::error::Error>> {
//! let replicas = [endpoint("http://billing-0:50051")?, endpoint("http://billing-1:50051")?];
//! let client = RetryingClient::new(replicas, None, Policy::default())?;
//! let request = ChargeRequest {
//!     idempotency_key: "job-4711".into(),
//!     account_id: "acme".into(),
//!     amount_micro_usd: 1_500_000,
//!     ..Default::default()
//! };
//! match client.charge(request).await {
//!     Ok(charged) if work_is_due(charged.since.as_ref()) => println!("charged: do the work"),
//!     Ok(_) => println!("charged before, and refunded since: there is nothing to do"),
//!     Err(Failure::Answered(status)) => println!("no, and it stays no: {}", status.message()),
//!     Err(Failure::Unsettled(status)) => println!("call again later with the same key: {status}"),
//! }
//! # Ok(())
//! # }
//! ```

mod apply;
mod client;
mod retry;
mod spread;
mod work;

pub use client::{RetryingClient, endpoint};
pub use retry::{Failure, Policy, Try, reason, retry};
pub use spread::spread;
pub use work::work_is_due;

/// The messages and the plain client of `proto/billing/v1`.
#[allow(
    missing_docs,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated; documented in the proto"
)]
pub mod proto {
    tonic::include_proto!("billing.v1");
}
