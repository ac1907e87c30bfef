//! `billing token`: bearer tokens for callers.

use std::io;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::output;
use crate::{
    access::{Roles, Token},
    accounting::CallerName,
};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token. Prints the token on standard error, for the caller, and its line for the credentials file on standard output;
    /// the line has only a hash. `billing token new checkout coordinator >> credentials`.
    New(TokenFlags),
}

#[derive(Debug, Args)]
pub(super) struct TokenFlags {
    /// Name of the caller, kept with each entry that it asks for: 1 to 64 visible ASCII characters.
    #[arg(value_parser = caller_name)]
    name: CallerName,
    /// What the caller may do: reader, coordinator or admin, or several separated by commas.
    #[arg(value_name = "ROLE[,ROLE]")]
    roles: Roles,
}

/// Makes a token: its line for the credentials file, and the token itself.
pub(super) fn new_token(flags: &TokenFlags) -> anyhow::Result<()> {
    if output::is_lost(io::stdout())? != output::is_lost(io::stderr())? {
        bail!(
            "standard output or standard error is closed or /dev/null: half of what belongs together would be lost"
        );
    }
    let token = Token::random().context("the operating system has no random bytes")?;
    // The line first: a token whose line is not in the file is worth nothing, so nobody is shown it.
    output::say(format_args!("{} {} {}", flags.name, flags.roles, token.credential()))?;
    output::reveal(token.reveal())
}

fn caller_name(text: &str) -> Result<CallerName, String> {
    match CallerName::parse("the name", text) {
        Ok(name) if !text.contains('#') => Ok(name),
        Ok(_) => Err("the name must have no #, which begins a comment in the credentials file".into()),
        Err(invalid) => Err(invalid.to_string()),
    }
}
