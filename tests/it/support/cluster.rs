//! One PostgreSQL server for all tests of a run, with a migrated database to copy for each.
//!
//! It is not durable (`fsync = off`): it lives no longer than the run. Tests of durability start their own.

use std::{env, fs, path::Path, sync::LazyLock, thread};

use billing::{ledger, private_postgres::PrivatePostgres};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

const DIR_PREFIX: &str = "billing-tests-";
const TEMPLATE: &str = "template_of_books";

static CLUSTER: LazyLock<PrivatePostgres> = LazyLock::new(start);

/// The server. It is started by the first test that asks, and stops with this process.
pub fn cluster() -> &'static PrivatePostgres {
    &CLUSTER
}

/// Makes a database like the template, with a book in it that is empty, and returns its URL.
pub async fn create_database(name: &str) -> String {
    let postgres = tokio::task::spawn_blocking(cluster).await.unwrap();
    let mut connection = AsyncPgConnection::establish(&postgres.database_url("postgres")).await.unwrap();
    let sql = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log");
    connection.batch_execute(&sql).await.unwrap();
    postgres.database_url(name)
}

/// Makes a database with nothing in it, and returns its URL.
pub async fn create_empty_database(name: &str) -> String {
    let postgres = tokio::task::spawn_blocking(cluster).await.unwrap();
    let mut connection = AsyncPgConnection::establish(&postgres.database_url("postgres")).await.unwrap();
    connection.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    postgres.database_url(name)
}

fn start() -> PrivatePostgres {
    remove_what_earlier_runs_left();
    let dir = env::temp_dir().join(format!("{DIR_PREFIX}{}", std::process::id()));
    let settings = [("fsync", "off"), ("max_connections", "400"), ("shared_buffers", "256MB")];
    let postgres = PrivatePostgres::start(&dir, &settings).unwrap();
    let admin_url = postgres.database_url("postgres");
    let template_url = postgres.database_url(TEMPLATE);
    // A runtime of its own, since the one of the first test ends with that test.
    thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(make_template(&admin_url, &template_url));
    })
    .join()
    .unwrap();
    postgres
}

async fn make_template(admin_url: &str, template_url: &str) {
    let mut admin = AsyncPgConnection::establish(admin_url).await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
    ledger::migrate(&template_url.parse().unwrap()).await.unwrap();
    // Else a session that lingers would keep it from being copied.
    let sql = format!("ALTER DATABASE {TEMPLATE} WITH ALLOW_CONNECTIONS false");
    admin.batch_execute(&sql).await.unwrap();
}

fn remove_what_earlier_runs_left() {
    for dir in fs::read_dir(env::temp_dir()).unwrap().flatten().map(|entry| entry.path()) {
        if belongs_to_an_ended_run(&dir) == Some(true) {
            let _ = fs::remove_dir_all(dir); // another run may be removing it, too
        }
    }
}

fn belongs_to_an_ended_run(dir: &Path) -> Option<bool> {
    let process = dir.file_name()?.to_str()?.strip_prefix(DIR_PREFIX)?;
    Some(!Path::new("/proc").join(process).exists())
}
