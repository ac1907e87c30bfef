//! The messages and services of `proto/billing/v1`.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::large_enum_variant,
    unreachable_pub,
    reason = "generated; documented in the proto"
)]

tonic::include_proto!("billing.v1");

/// The contract as a descriptor set, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("billing_descriptor");
