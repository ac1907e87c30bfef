//! `billing books`: lists the books of a ledger, and moves one to another node.

use std::{io, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use tokio::time::sleep;

use super::{execution::carry_out, flags::DatabaseFlags, output, progress::steps, table};
use crate::schema::{BookFacts, list_books, move_book, parse_node, progress};

/// How long entries are counted to tell how many there are in a second.
const RATE_SECONDS: i64 = 3;
/// How often it is looked at how far a move is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) const AFTER_HELP: &str = "\
Examples:
  billing books                                  what each book holds, and how many entries it gets in a second
  billing books move book_01 worker-3:5432       while it is served; Citus only (docs/SCALE.md)";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct BooksFlags {
    #[command(subcommand)]
    command: Option<BooksCommand>,
    #[command(flatten)]
    database: Option<DatabaseFlags>,
}

#[derive(Subcommand)]
enum BooksCommand {
    /// Move a book to another node of Citus, while it is served.
    Move {
        /// The book, by its name in the list.
        book: String,
        /// The node, by its name in the list.
        #[arg(value_parser = node)]
        node: (String, u16),
        #[command(flatten)]
        database: DatabaseFlags,
    },
}

pub(super) fn books(flags: &BooksFlags) -> anyhow::Result<()> {
    match (&flags.command, &flags.database) {
        (Some(BooksCommand::Move { book, node, database }), _) => {
            carry_out(move_to(database, book, node)).context("cannot move the book")
        }
        (None, Some(database)) => carry_out(list(database)).context("cannot list the books"),
        (None, None) => bail!("no --database-url"), // the parser requires it
    }
}

async fn list(database: &DatabaseFlags) -> anyhow::Result<()> {
    let url = database.url()?;
    let before = list_books(&url).await?;
    sleep(Duration::from_secs(RATE_SECONDS.unsigned_abs())).await;
    let now = list_books(&url).await?;
    let cells = |(before, now): (&BookFacts, &BookFacts)| {
        let rate = (now.entries - before.entries) / RATE_SECONDS;
        let figures =
            [now.accounts, now.entries, rate, now.bytes / (1 << 20)].map(|figure| figure.to_string());
        let [accounts, entries, rate, megabytes] = figures;
        [now.name.clone(), now.node.clone(), accounts, entries, rate, megabytes]
    };
    let header = ["BOOK", "NODE", "ACCOUNTS", "ENTRIES", "ENTRIES/S", "MIB"];
    table::write(&mut io::stdout().lock(), header, before.iter().zip(&now).map(cells))
        .context("cannot write to standard output")
}

async fn move_to(database: &DatabaseFlags, book: &str, (host, port): &(String, u16)) -> anyhow::Result<()> {
    let url = database.url()?;
    let steps = steps();
    let watched = async {
        loop {
            sleep(PROGRESS_INTERVAL).await;
            if let Ok((from, to)) = progress(&url).await {
                steps.set_message(format!("{} of {} MiB", to >> 20, from >> 20));
                steps.tick();
            }
        }
    };
    tokio::select! {
        moved = move_book(&url, book, host, *port) => moved?,
        () = watched => bail!("it is watched for ever"),
    }
    steps.finish_and_clear();
    output::say(format_args!(
        "{book} is on {host}:{port} now. Services find it there; restart them to reach it directly."
    ))
}

fn node(text: &str) -> Result<(String, u16), String> {
    parse_node(text).ok_or_else(|| "must be HOST:PORT".to_owned())
}
