//! `sqlx-ledger`: the credit as a transaction of a template with two entries.
//!
//! A posting writes the transaction, its two entries and a new version of both balances, in one database
//! transaction; triggers add an event of the transaction and of each balance, and notify listeners of them.
//! The current balances are locked by rows, and the newest version of each is read by the statement that waits
//! for that lock. One that had to wait looks for the version it waited for among those from before it waited,
//! finds no balance and fails, to be tried again: so postings against the same cash account do not queue but
//! mostly fail. The `external_id` is unique: a second posting under one is refused.

use std::sync::Arc;

use ::sqlx_ledger::account::NewAccount;
use ::sqlx_ledger::journal::NewJournal;
use ::sqlx_ledger::tx_template::{
    EntryInput, NewTxTemplate, ParamDataType, ParamDefinition, TxInput, TxParams,
};
use ::sqlx_ledger::{DebitOrCredit, JournalId, SqlxLedger, TransactionId};
use anyhow::{Context, Result};
use sqlx::PgPool;
use uuid::Uuid;

use crate::load::{Peer, Posting, amount};

const TEMPLATE: &str = "DEPOSIT";
/// Accounts created in one database transaction.
const CREATED_AT_ONCE: usize = 500;

/// A ledger with its accounts and its template.
#[derive(Clone)]
pub(crate) struct Sqlx {
    ledger: SqlxLedger,
    customers: Arc<[Uuid]>,
    cash: Arc<[Uuid]>,
}

impl Sqlx {
    /// Creates the schema and everything a deposit needs.
    pub(crate) async fn prepare(pool: PgPool, customers: u32, cash: u32) -> Result<Self> {
        sqlx::raw_sql(include_str!("../migrations/sqlx_ledger.sql"))
            .execute(&pool)
            .await
            .context("creating the schema")?;
        let ledger = SqlxLedger::new(&pool);

        let journal = ledger.journals().create(NewJournal::builder().name("Deposits").build()?).await?;
        ledger.tx_templates().create(template(journal)?).await?;

        let customers = create(&ledger, &pool, "customer", customers, DebitOrCredit::Credit).await?;
        let cash = create(&ledger, &pool, "cash", cash, DebitOrCredit::Debit).await?;
        Ok(Self { ledger, customers, cash })
    }
}

impl Peer for Sqlx {
    fn customers(&self) -> &[Uuid] {
        &self.customers
    }

    fn cash(&self) -> &[Uuid] {
        &self.cash
    }

    async fn post(&self, postings: &[Posting]) -> Result<()> {
        // The command line lets only one through: the ledger has no call for more.
        for posting in postings {
            let mut params = TxParams::new();
            params.insert("customer", posting.customer);
            params.insert("cash", posting.cash);
            params.insert("amount", amount());
            params.insert("external_id", posting.id.to_string());
            let id = TransactionId::from(posting.id);
            self.ledger.post_transaction(id, TEMPLATE, Some(params)).await?;
        }
        Ok(())
    }
}

async fn create(
    ledger: &SqlxLedger,
    pool: &PgPool,
    name: &str,
    count: u32,
    normal_balance: DebitOrCredit,
) -> Result<Arc<[Uuid]>> {
    let ids: Arc<[Uuid]> = (0..count).map(|_| Uuid::now_v7()).collect();
    for ids in ids.chunks(CREATED_AT_ONCE) {
        let mut transaction = pool.begin().await?;
        for &id in ids {
            let account = NewAccount::builder()
                .id(id)
                .code(id.to_string())
                .name(format!("{name} {id}"))
                .normal_balance_type(normal_balance)
                .build()?;
            ledger.accounts().create_in_tx(&mut transaction, account).await?;
        }
        transaction.commit().await?;
    }
    Ok(ids)
}

fn template(journal: JournalId) -> Result<NewTxTemplate> {
    let param = |name: &str, kind: ParamDataType| ParamDefinition::builder().name(name).r#type(kind).build();
    let entry = |kind: &str, account: &str, direction: &str| {
        EntryInput::builder()
            .entry_type(kind)
            .account_id(account)
            .layer("SETTLED")
            .direction(direction)
            .units("params.amount")
            .currency("'USD'")
            .build()
    };
    Ok(NewTxTemplate::builder()
        .id(Uuid::now_v7())
        .code(TEMPLATE)
        .params(vec![
            param("customer", ParamDataType::UUID)?,
            param("cash", ParamDataType::UUID)?,
            param("amount", ParamDataType::DECIMAL)?,
            param("external_id", ParamDataType::STRING)?,
        ])
        .tx_input(
            TxInput::builder()
                .effective("date()")
                .journal_id(format!("uuid('{journal}')"))
                .external_id("params.external_id")
                .build()?,
        )
        .entries(vec![
            entry("'DEPOSIT_DR'", "params.cash", "DEBIT")?,
            entry("'DEPOSIT_CR'", "params.customer", "CREDIT")?,
        ])
        .build()?)
}
