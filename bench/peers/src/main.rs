//! Measures two other Rust ledgers over PostgreSQL, `cala-ledger` and `sqlx-ledger`, posting the credit which
//! the benchmark of `billing` posts.
//!
//! Both are libraries, so they are called in process: no gRPC, no serialization, nothing between the loop and
//! the ledger but its own code. Each creates its schema in an empty database, a journal, customers, and the
//! cash accounts that double entry needs on the other side of every deposit. Then a fixed number of tasks post
//! one credit after another to random customers. One line of JSON on standard output says how it went.

mod cala;
mod load;
mod sqlx_ledger;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::load::{Load, Peer, Report};

/// Measures another ledger posting the same credit.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The ledger to measure.
    #[arg(value_enum)]
    ledger: Ledger,

    /// An existing, empty database: `postgres://user@/name?host=%2Fsocket%2Fdirectory&port=5432`.
    #[arg(long)]
    database_url: String,

    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,

    /// How long to post before anything is counted.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,

    /// Calls under way at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,

    /// Customers; each posting goes to a random one.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    accounts: u32,

    /// Cash accounts over which the other side of the deposits is spread.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    counter_accounts: u32,

    /// Connections of the ledger's pool, of which cala keeps some to listen for its own events.
    // Both ledgers may ask for a second connection while they hold one.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(4..))]
    connections: u32,

    /// Postings in one call, all or none (cala only).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// Let cala keep the balances of the cash accounts behind the postings, in its own job, instead of with each
    /// of them (cala only).
    #[arg(long)]
    eventual_counters: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ledger {
    Cala,
    Sqlx,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    if cli.ledger == Ledger::Sqlx {
        ensure!(cli.batch == 1, "sqlx-ledger has no call which posts more than one transaction");
        ensure!(!cli.eventual_counters, "sqlx-ledger keeps every balance with the posting");
    }

    let options: PgConnectOptions = with_a_host(&cli.database_url).parse().context("--database-url")?;
    let pool = PgPoolOptions::new()
        .max_connections(cli.connections)
        // Tasks beyond the pool's size queue for a connection: that wait is part of what they measure.
        .acquire_timeout(Duration::from_mins(1))
        // The pool would ask the server whether a connection lives before each posting: a round trip that is none
        // of the ledger's doing.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .context("connecting to PostgreSQL")?;

    let report = match cli.ledger {
        Ledger::Cala => {
            let peer =
                cala::Cala::prepare(pool, cli.accounts, cli.counter_accounts, cli.eventual_counters).await?;
            let report = measure(peer.clone(), &cli).await?;
            if cli.eventual_counters {
                eprintln!("events the cash balances are behind: {}", peer.rollup_lag().await?);
            }
            report
        }
        Ledger::Sqlx => {
            measure(sqlx_ledger::Sqlx::prepare(pool, cli.accounts, cli.counter_accounts).await?, &cli).await?
        }
    };

    println!("{}", serde_json::to_string(&report)?);
    ensure!(report.operations > 0, "no posting succeeded");
    Ok(())
}

async fn measure(peer: impl Peer, cli: &Cli) -> Result<Report> {
    let load = Load {
        in_flight: cli.in_flight,
        batch: cli.batch,
        warm_up: Duration::from_secs(cli.warm_up),
        measured: Duration::from_secs(cli.seconds),
    };
    load.run(peer).await
}

/// The URL with a host named where it has a user but no host, as `postgres://user@/name?host=%2Fsocket`: libpq
/// takes that, the URL parser of sqlx does not. The `host` of the query, a socket's directory, wins over it.
fn with_a_host(url: &str) -> String {
    url.replacen("@/", "@localhost/", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_user_and_a_socket_directory_is_understood() {
        let url = with_a_host("postgres://billing@/ledger?host=%2Frun%2Fsome%20where&port=5433");
        let options: PgConnectOptions = url.parse().unwrap();
        assert_eq!(options.get_socket().unwrap().to_str(), Some("/run/some where"));
        assert_eq!(options.get_username(), "billing");
        assert_eq!(options.get_database(), Some("ledger"));
        assert_eq!(options.get_port(), 5433);
    }

    #[test]
    fn a_url_with_a_host_is_left_as_it_is() {
        let url = "postgres://billing:secret@db.example:5432/ledger";
        assert_eq!(with_a_host(url), url);
    }
}
