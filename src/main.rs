//! The program `billing`.

use std::process::ExitCode;

fn main() -> ExitCode {
    billing::cli::run()
}
