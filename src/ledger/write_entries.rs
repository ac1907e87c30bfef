//! The statement that writes entries and the accounts after them. It has four texts, made of one declaration of columns: few
//! batches have a rare fact, and the others do not pay for the columns of these; and a batch of few rows does not pay for
//! `unnest`, which makes a store for each array.

use diesel::{
    data_types::PgTimestamp,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Array, BigInt, Binary, Nullable, SmallInt, Text, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// Columns of rows to be written, each an array.
trait Columns {
    /// Their names.
    const NAMES: &'static str;
    /// What is written into them.
    const VALUES: &'static str;
    /// How many there are.
    const COUNT: usize;

    fn is_empty(&self) -> bool;

    /// Pushes the arrays or, if there are few rows, the values with number i.
    fn push_binds<'b>(&'b self, are_few: bool, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

/// The value of a column: what is bound under its name, or an expression of that.
macro_rules! value {
    ($column:ident) => {
        stringify!($column)
    };
    ($column:ident $expression:literal) => {
        $expression
    };
}

/// Declares [`Columns`].
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? {
        $first:ident: $first_rust:ty => $first_sql:ty,
        $($column:ident: $rust:ty => $sql:ty $(as $expression:literal)?,)+
    }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name $(<$life>)? {
            pub(super) $first: Vec<$first_rust>,
            $(pub(super) $column: Vec<$rust>,)+
        }

        impl $(<$life>)? Columns for $name $(<$life>)? {
            const NAMES: &'static str = concat!(stringify!($first) $(, ", ", stringify!($column))+);
            const VALUES: &'static str = concat!(stringify!($first) $(, ", ", value!($column $($expression)?))+);
            const COUNT: usize = [stringify!($first) $(, stringify!($column))+].len();

            fn is_empty(&self) -> bool {
                self.$first.is_empty() $(&& self.$column.is_empty())+
            }

            fn push_binds<'b>(&'b self, are_few: bool, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                out.push_bind_param::<Array<$first_sql>, _>(&self.$first)?;
                out.push_sql(if are_few { concat!("[i] AS ", stringify!($first)) } else { "" });
                $(
                    out.push_sql(", ");
                    out.push_bind_param::<Array<$sql>, _>(&self.$column)?;
                    out.push_sql(if are_few { concat!("[i] AS ", stringify!($column)) } else { "" });
                )+
                Ok(())
            }
        }
    };
}

columns! {
    /// What every account has.
    Accounts<'a> {
        account_id: &'a str => Text,
        posted: i64 => BigInt,
        held: i64 => BigInt,
        sequence: i64 => BigInt,
        time: PgTimestamp => Timestamptz,
    }
}

columns! {
    /// What few accounts have.
    RareAccounts {
        next_expire_time: Option<PgTimestamp> => Nullable<Timestamptz>,
        state: Option<i16> => Nullable<SmallInt>,
        debt_limit: Option<i64> => Nullable<BigInt>,
        withdrawable: Option<i64> => Nullable<BigInt>,
        granted: Option<i64> => Nullable<BigInt>,
    }
}

columns! {
    /// The columns of `ledger_entries` that credits, charges and refunds use.
    Entries<'a> {
        account_id: &'a str => Text,
        sequence: i64 => BigInt,
        entry_type: i16 => SmallInt,
        amount_micro_usd: i64 => BigInt,
        held_delta_micro_usd: i64 => BigInt,
        posted_after: i64 => BigInt,
        held_after: i64 => BigInt,
        create_time: PgTimestamp => Timestamptz,
        refunded_sequence: Option<i64> => Nullable<BigInt>,
        idempotency_key: Option<&'a str> => Nullable<Text>,
        fingerprint: &'a [u8] => Binary,
        external_ids: Option<String> => Nullable<Text> as "string_to_array(external_ids, ' ')",
        reference: &'a str => Text,
        metadata: Option<String> => Nullable<Text> as "metadata::jsonb",
        caller: Option<&'a str> => Nullable<Text>,
    }
}

columns! {
    /// Its other columns. A new one belongs here: what has none does not pay for it.
    RareEntries<'a> {
        reversed_sequence: Option<i64> => Nullable<BigInt>,
        actor: Option<&'a str> => Nullable<Text>,
        reason: Option<&'a str> => Nullable<Text>,
        reservation_id: Option<&'a str> => Nullable<Text>,
        reservation_state: Option<i16> => Nullable<SmallInt>,
        reservation_held: Option<i64> => Nullable<BigInt>,
        reservation_captured: Option<i64> => Nullable<BigInt>,
        uncollected_micro_usd: Option<i64> => Nullable<BigInt>,
        expire_time: Option<PgTimestamp> => Nullable<Timestamptz>,
        close_time: Option<PgTimestamp> => Nullable<Timestamptz>,
        expiry_policy: Option<i16> => Nullable<SmallInt>,
        effective_time: Option<PgTimestamp> => Nullable<Timestamptz>,
        account_state: Option<i16> => Nullable<SmallInt>,
        debt_limit_micro_usd: Option<i64> => Nullable<BigInt>,
        withdrawable_delta_micro_usd: Option<i64> => Nullable<BigInt>,
        withdrawable_after: Option<i64> => Nullable<BigInt>,
        legs: Option<String> => Nullable<Text> as "legs::jsonb",
        funded_micro_usd: Option<i64> => Nullable<BigInt>,
        source_account_id: Option<&'a str> => Nullable<Text>,
        source_sequence: Option<i64> => Nullable<BigInt>,
        grant_expire_time: Option<PgTimestamp> => Nullable<Timestamptz>,
        grant_moves: Option<String> => Nullable<Text> as "grant_moves::jsonb",
        granted_after: Option<i64> => Nullable<BigInt>,
        lapsed_micro_usd: Option<i64> => Nullable<BigInt>,
    }
}

/// Accounts and entries to be written.
#[derive(Default)]
pub(super) struct Rows<'a> {
    pub(super) accounts: Accounts<'a>,
    pub(super) rare_accounts: RareAccounts,
    pub(super) entries: Entries<'a>,
    pub(super) rare_entries: RareEntries<'a>,
}

impl Rows<'_> {
    /// Writes them with the cheapest text that holds all that they have.
    pub(super) async fn write(&self, mut connection: &AsyncPgConnection) -> QueryResult<()> {
        let connection = &mut connection;
        let with_rare = !self.rare_accounts.is_empty() || !self.rare_entries.is_empty();
        let are_few = self.accounts.account_id.len().max(self.entries.account_id.len()) <= FEW;
        match (with_rare, are_few) {
            (false, true) => WriteEntries::<false, true>(self).load::<i64>(connection).await?,
            (false, false) => WriteEntries::<false, false>(self).load::<i64>(connection).await?,
            (true, true) => WriteEntries::<true, true>(self).load::<i64>(connection).await?,
            (true, false) => WriteEntries::<true, false>(self).load::<i64>(connection).await?,
        };
        Ok(())
    }
}

/// Sets a rare fact of a row. An array ends with the last fact in it, and most are empty: `unnest` completes them with NULL.
pub(super) fn set_rare<T>(column: &mut Vec<Option<T>>, row: usize, fact: Option<T>) {
    if fact.is_some() {
        column.resize_with(row, || None);
        column.push(fact);
    }
}

/// Prepares all texts, by writing nothing.
pub(super) async fn prepare_entries(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    let nothing = Rows::default();
    WriteEntries::<false, true>(&nothing).load::<i64>(connection).await?;
    WriteEntries::<false, false>(&nothing).load::<i64>(connection).await?;
    WriteEntries::<true, true>(&nothing).load::<i64>(connection).await?;
    WriteEntries::<true, false>(&nothing).load::<i64>(connection).await?;
    Ok(())
}

/// How many rows are few.
const FEW: usize = 8;
/// The numbers of the rows that are few.
const NUMBERS: &str = "(VALUES (1), (2), (3), (4), (5), (6), (7), (8)) AS numbers(i)";

/// Writes accounts and entries, with their rare facts or without, few or many; all of them or, by dividing by zero, none.
struct WriteEntries<'a, const WITH_RARE: bool, const ARE_FEW: bool>(&'a Rows<'a>);

impl<const WITH_RARE: bool, const ARE_FEW: bool> QueryId for WriteEntries<'_, WITH_RARE, ARE_FEW> {
    type QueryId = WriteEntries<'static, WITH_RARE, ARE_FEW>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const WITH_RARE: bool, const ARE_FEW: bool> Query for WriteEntries<'_, WITH_RARE, ARE_FEW> {
    type SqlType = BigInt;
}

impl<const WITH_RARE: bool, const ARE_FEW: bool> QueryFragment<Pg> for WriteEntries<'_, WITH_RARE, ARE_FEW> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let first_of_entries = 1 + Accounts::COUNT + if WITH_RARE { RareAccounts::COUNT } else { 0 };
        let Rows { accounts, rare_accounts, entries, rare_entries } = self.0;
        out.push_sql(
            "WITH changed AS (\
                 UPDATE accounts a SET posted_micro_usd = n.posted, held_micro_usd = n.held, last_sequence = n.sequence, \
                     create_time = CASE WHEN a.last_sequence = 0 THEN n.time ELSE a.create_time END, \
                     update_time = n.time, ",
        );
        out.push_sql(if WITH_RARE {
            "next_expire_time = n.next_expire_time, \
             facts = CASE WHEN n.state IS NULL THEN NULL ELSE ROW(n.state, n.debt_limit, n.withdrawable, n.granted)::facts END"
        } else {
            "next_expire_time = NULL, facts = NULL"
        });
        push_rows::<ARE_FEW, _, _>(accounts, WITH_RARE.then_some(rare_accounts), 1, &mut out)?;
        out.push_sql(
            " WHERE a.account_id = n.account_id RETURNING 1\
             ), written AS (\
                 INSERT INTO ledger_entries (",
        );
        push_lists([Entries::NAMES, RareEntries::NAMES], WITH_RARE, &mut out);
        out.push_sql(") SELECT ");
        push_lists([Entries::VALUES, RareEntries::VALUES], WITH_RARE, &mut out);
        push_rows::<ARE_FEW, _, _>(entries, WITH_RARE.then_some(rare_entries), first_of_entries, &mut out)?;
        out.push_sql(&format!(
            " RETURNING 1\
             ) SELECT 1::bigint / ((SELECT count(*) FROM changed) = cardinality($1) AND \
                 (SELECT count(*) FROM written) = cardinality(${first_of_entries}))::int"
        ));
        Ok(())
    }
}

/// Pushes the rows that a statement reads, as n. Their first array is bound under a number.
fn push_rows<'b, const ARE_FEW: bool, C: Columns, R: Columns>(
    columns: &'b C,
    rare: Option<&'b R>,
    first: usize,
    out: &mut AstPass<'_, 'b, Pg>,
) -> QueryResult<()> {
    out.push_sql(if ARE_FEW { " FROM (SELECT " } else { " FROM unnest(" });
    columns.push_binds(ARE_FEW, out)?;
    if let Some(rare) = rare {
        out.push_sql(", ");
        rare.push_binds(ARE_FEW, out)?;
    }
    if ARE_FEW {
        out.push_sql(&format!(" FROM {NUMBERS} WHERE i <= cardinality(${first})) AS n"));
    } else {
        out.push_sql(") AS n(");
        push_lists([C::NAMES, R::NAMES], rare.is_some(), out);
        out.push_sql(")");
    }
    Ok(())
}

fn push_lists([list, rare]: [&str; 2], with_rare: bool, out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql(list);
    if with_rare {
        out.push_sql(", ");
        out.push_sql(rare);
    }
}

#[cfg(test)]
mod tests {
    use diesel::debug_query;

    use super::*;

    fn words<const WITH_RARE: bool, const ARE_FEW: bool>() -> Vec<String> {
        let text = debug_query::<Pg, _>(&WriteEntries::<WITH_RARE, ARE_FEW>(&Rows::default())).to_string();
        let words = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        words.map(str::to_owned).collect()
    }

    #[test]
    fn entries_without_rare_facts_do_not_name_their_columns() {
        let texts = [
            (words::<false, false>(), words::<true, false>()),
            (words::<false, true>(), words::<true, true>()),
        ];
        for (without, with) in texts {
            for name in RareEntries::NAMES.split(", ") {
                let count = |words: &[String]| words.iter().filter(|word| *word == name).count();
                assert_eq!((count(&without), count(&with)), (0, 3), "{name}");
            }
        }
    }

    #[test]
    fn each_of_few_rows_has_a_number() {
        assert_eq!(NUMBERS.matches("), (").count() + 1, FEW);
    }

    #[test]
    fn a_rare_fact_stands_in_its_row() {
        let mut column = Vec::new();
        for (row, fact) in [None, Some("a"), None, None, Some("b"), None].into_iter().enumerate() {
            set_rare(&mut column, row, fact);
        }
        assert_eq!(column, [None, Some("a"), None, None, Some("b")]);
    }
}
