//! How the book is read outside the transaction: statements with fixed texts, prepared once per connection, and retried once
//! if the connection is lost.

use super::{
    LedgerError,
    error::{Remedy, remedy},
};
use crate::database::{NoAnswer, error::DatabaseError};

/// The most entries that one page scans: a rare type in a long journal takes several pages instead of one long query.
pub(super) const SCANNED_MAX: i64 = 10_000;

/// Declares a read: its fields, the type of its rows, its binds in order, and its text with `{}` for each bind.
macro_rules! read {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? } -> $row:ty,
        [$($($bind:ident).+ => $sql:ty),* $(,)?], $text:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, diesel::query_builder::QueryId)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: $type,)*
        }

        impl diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name {
            fn walk_ast<'b>(
                &'b self,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::result::QueryResult<()> {
                let mut parts = $text.split("{}");
                out.push_sql(parts.next().unwrap_or_default());
                $(
                    out.push_bind_param::<$sql, _>(&self.$($bind).+)?;
                    out.push_sql(parts.next().unwrap_or_default());
                )*
                Ok(())
            }
        }

        impl diesel::query_builder::Query for $name {
            type SqlType = $row;
        }
    };
}

pub(super) use read;

/// Runs a read, and retries once if the connection is lost: reads are safe to repeat.
pub(super) async fn retried<T, F>(run: impl Fn() -> F) -> Result<Vec<T>, LedgerError>
where
    F: Future<Output = Result<Result<Vec<T>, DatabaseError>, NoAnswer>>,
{
    match run().await? {
        Err(error) if remedy(&error) == Remedy::Reconnect => Ok(run().await??),
        read => Ok(read?),
    }
}
