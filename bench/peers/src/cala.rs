//! `cala-ledger`: the credit as a transaction of a template with two entries.
//!
//! A posting writes the transaction, its two entries, an event of each, a version of both balances to the
//! history and to the current ones, and the events of all that to an outbox, in one database transaction. It
//! holds an advisory lock for each balance from its first statement until it is committed, so postings against
//! the same cash account go one at a time. Velocity limits and effective balances are off, as they are unless
//! asked for. The `external_id` is unique: a second posting under one is refused.

use std::sync::Arc;

use anyhow::Result;
use cala_ledger::account::NewAccount;
use cala_ledger::job::{JobSvcConfig, Jobs};
use cala_ledger::journal::NewJournal;
use cala_ledger::posting::PostingInput;
use cala_ledger::tx_template::{
    NewParamDefinition, NewTxTemplate, NewTxTemplateEntry, NewTxTemplateTransaction, ParamDataType, Params,
};
use cala_ledger::{CalaLedger, CalaLedgerConfig, DebitOrCredit, JournalId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::load::{Peer, Posting, amount};

const TEMPLATE: &str = "DEPOSIT";
/// Accounts created in one database transaction.
const CREATED_AT_ONCE: usize = 500;

/// A ledger with its accounts and its template.
#[derive(Clone)]
pub(crate) struct Cala {
    ledger: CalaLedger,
    customers: Arc<[Uuid]>,
    cash: Arc<[Uuid]>,
    /// Held because dropping it stops the job that keeps eventual balances.
    _jobs: Arc<Jobs>,
}

impl Cala {
    /// Creates the schema and everything a deposit needs.
    pub(crate) async fn prepare(
        pool: PgPool,
        customers: u32,
        cash: u32,
        eventual_cash: bool,
    ) -> Result<Self> {
        let mut jobs =
            Jobs::init(JobSvcConfig::builder().pool(pool.clone()).exec_migrations(true).build()?).await?;
        let ledger = CalaLedger::init(
            CalaLedgerConfig::builder().pool(pool).exec_migrations(true).build()?,
            &mut jobs,
        )
        .await?;
        if eventual_cash {
            // Without such accounts the job has nothing to do but to read the outbox, so it is left out.
            jobs.start_poll().await?;
        }

        let journal = JournalId::new();
        ledger.journals().create(NewJournal::builder().id(journal).name("Deposits").build()).await?;
        ledger.tx_templates().create(template(journal)?).await?;

        let customers = create(&ledger, "customer", customers, DebitOrCredit::Credit, false).await?;
        let cash = create(&ledger, "cash", cash, DebitOrCredit::Debit, eventual_cash).await?;
        Ok(Self { ledger, customers, cash, _jobs: Arc::new(jobs) })
    }

    /// How many events of the outbox the job that keeps eventual balances has still to read.
    pub(crate) async fn rollup_lag(&self) -> Result<u64> {
        Ok(self.ledger.ec_rollup_status().await?.lag())
    }
}

impl Peer for Cala {
    fn customers(&self) -> &[Uuid] {
        &self.customers
    }

    fn cash(&self) -> &[Uuid] {
        &self.cash
    }

    async fn post(&self, postings: &[Posting]) -> Result<()> {
        if let [posting] = postings {
            self.ledger.post_transaction(posting.id.into(), TEMPLATE, params(posting)).await?;
        } else {
            let batch =
                postings.iter().map(|p| PostingInput::new(p.id.into(), TEMPLATE, params(p))).collect();
            self.ledger.post_transactions(batch).await?;
        }
        Ok(())
    }
}

fn params(posting: &Posting) -> Params {
    let mut params = Params::new();
    params.insert("customer", posting.customer);
    params.insert("cash", posting.cash);
    params.insert("amount", amount());
    params.insert("external_id", posting.id.to_string());
    params
}

async fn create(
    ledger: &CalaLedger,
    name: &str,
    count: u32,
    normal_balance: DebitOrCredit,
    eventual: bool,
) -> Result<Arc<[Uuid]>> {
    let ids: Arc<[Uuid]> = (0..count).map(|_| Uuid::now_v7()).collect();
    for ids in ids.chunks(CREATED_AT_ONCE) {
        let accounts = ids.iter().map(|&id| {
            NewAccount::builder()
                .id(id)
                .code(id.to_string())
                .name(format!("{name} {id}"))
                .normal_balance_type(normal_balance)
                .eventually_consistent(eventual)
                .build()
        });
        ledger.accounts().create_all(accounts.collect()).await?;
    }
    Ok(ids)
}

fn template(journal: JournalId) -> Result<NewTxTemplate> {
    let param =
        |name: &str, kind: ParamDataType| NewParamDefinition::builder().name(name).r#type(kind).build();
    let entry = |kind: &str, account: &str, direction: &str| {
        NewTxTemplateEntry::builder()
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
            param("customer", ParamDataType::Uuid)?,
            param("cash", ParamDataType::Uuid)?,
            param("amount", ParamDataType::Decimal)?,
            param("external_id", ParamDataType::String)?,
        ])
        .transaction(
            NewTxTemplateTransaction::builder()
                .effective("date()")
                .journal_id(format!("uuid('{journal}')"))
                .external_id("params.external_id")
                .build()?,
        )
        .entries(vec![
            entry("'DEPOSIT_DR'", "params.cash", "DEBIT")?,
            entry("'DEPOSIT_CR'", "params.customer", "CREDIT")?,
        ])
        .build())
}
