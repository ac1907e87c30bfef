//! What was answered is on disk, whatever the server is told while the service runs.

use std::time::Duration;

use billing::{
    accounting::{
        AccountId, Amount, Command, Credit, CreditKind, ExternalIds, IdempotencyKey, Note, Operation,
    },
    ledger::Ledger,
    private_postgres::PrivatePostgres,
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use crate::support::{
    PostBatch as _,
    book::{limits, number, on_a_book},
    check::check_book,
    dir::Dir,
    migrate,
    waiting::until,
};

fn credit(key: &str) -> Command {
    let amount = Amount::parse("amount_micro_usd", 1).unwrap();
    let account_id = AccountId::parse("account_id", "ann").unwrap();
    let key = IdempotencyKey::parse_of_operation(key).unwrap();
    let operation =
        Operation::Credit(Credit::new(amount, CreditKind::Deposit, ExternalIds::default(), None).unwrap());
    Command::new(account_id, key, operation, Note::default())
}

/// An operator with a server of their own, which they reconfigure while it runs.
struct Operator {
    session: AsyncPgConnection,
}

impl Operator {
    async fn set(&mut self, setting: &str, value: &str) {
        self.session.batch_execute(&format!("ALTER SYSTEM SET {setting} = {value}")).await.unwrap();
        self.session.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let is_known = format!("SELECT (current_setting('{setting}') = '{value}')::int");
        until(&is_known, async || (number(&mut self.session, &is_known).await == 1).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(200)).await; // each session learns of it by itself
    }
}

async fn with_a_server(test: impl AsyncFnOnce(&str, &mut Operator)) {
    let dir = Dir::new();
    let postgres = PrivatePostgres::start(&dir.path().join("data"), &[("wal_writer_delay", "10s")]).unwrap();
    let url = postgres.database_url("billing");
    migrate(&url).await;
    let session = AsyncPgConnection::establish(&url).await.unwrap();
    test(&url, &mut Operator { session }).await;
    check_book(&url).await;
    postgres.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_waits_for_the_disk_even_if_the_server_is_told_later_that_none_should() {
    with_a_server(async |url, operator| {
        let ledger = Ledger::connect(&url.parse().unwrap(), 1, 1, limits()).await.unwrap();
        ledger.post_batch(&[credit("order-0")]).await.unwrap();
        for value in ["off", "local"] {
            operator.set("synchronous_commit", value).await;
            let mut on_disk = 0;
            for n in 0..20 {
                let before = "SELECT pg_current_wal_insert_lsn() - '0/0'";
                let before = number(&mut operator.session, before).await;
                ledger.post_batch(&[credit(&format!("{value}-{n}"))]).await.unwrap();
                let flushed = format!("SELECT (pg_current_wal_flush_lsn() - '0/0' > {before})::int");
                on_disk += number(&mut operator.session, &flushed).await;
            }
            assert_eq!(on_disk, 20, "synchronous_commit = {value}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_begins_to_be_unsafe_is_noticed_while_the_service_runs() {
    with_a_server(async |url, operator| {
        let ledger = Ledger::connect(&url.parse().unwrap(), 1, 1, limits()).await.unwrap();
        let allowed = ledger.clone().allow_unsafe_database(true);
        for (setting, unsafe_value, safe_value) in [
            ("fsync", "off", "on"),
            ("full_page_writes", "off", "on"),
            ("zero_damaged_pages", "on", "off"),
            ("ignore_checksum_failure", "on", "off"),
        ] {
            ledger.prove_commit().await.unwrap();
            operator.set(setting, unsafe_value).await;
            let refused =
                std::error::Error::source(&ledger.prove_commit().await.unwrap_err()).unwrap().to_string();
            assert!(refused.contains(&format!("{setting} = {unsafe_value}")), "{refused}");
            allowed.prove_commit().await.unwrap();
            operator.set(setting, safe_value).await;
        }
        ledger.prove_commit().await.unwrap();
    })
    .await;
}

/// A trigger tells which setting the session has that writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_what_asks_for_more_than_the_disk_and_nothing_that_asks_for_less() {
    on_a_book(async |book| {
        let watch = "CREATE TABLE seen (setting text);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
            CREATE TRIGGER see AFTER INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION see()";
        book.run_sql(watch).await.unwrap();
        for (n, (configured, used)) in
            [("remote_apply", "remote_apply"), ("remote_write", "on"), ("local", "on"), ("off", "on")]
                .into_iter()
                .enumerate()
        {
            let name = format!(
                "SELECT format('ALTER DATABASE %I SET synchronous_commit = {configured}', current_database())"
            );
            book.run_sql(&format!("DO $$ BEGIN EXECUTE ({name}); END $$")).await.unwrap();
            book.ledger().await.post_batch(&[credit(&format!("order-{n}"))]).await.unwrap();
            let is_used = format!("SELECT count(*) FROM seen WHERE setting = '{used}'");
            assert_eq!(book.number(&is_used).await, 1, "{configured}");
            book.run_sql("DELETE FROM seen").await.unwrap();
        }
    })
    .await;
}
