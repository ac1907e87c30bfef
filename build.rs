//! Compiles the contract with protox, so that building needs no protoc.

use std::{env, fs, path::Path};

use prost::Message;

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let descriptors = protox::compile(["billing/v1/billing.proto"], ["proto"])?;
    let out_dir = env::var("OUT_DIR")?;
    fs::write(Path::new(&out_dir).join("billing_descriptor.bin"), descriptors.encode_to_vec())?;
    // Ordered maps make an answer the same bytes every time it is given.
    tonic_prost_build::configure()
        .btree_map(".")
        .build_transport(false)
        .codec_path("crate::grpc::codec::SmallMessages")
        .compile_fds(descriptors)?;
    Ok(())
}
