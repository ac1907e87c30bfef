//! How the book is read outside the transaction: statements with fixed texts, prepared once per connection, run in a session
//! of the pool for reads, and retried once if the connection is lost.

use diesel_async::{AsyncPgConnection, methods::LoadQuery};
use tracing::Instrument as _;

use super::{
    Ledger, LedgerError,
    error::{Remedy, remedy},
};
use crate::telemetry::spans;

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

impl Ledger {
    pub(super) async fn read_one<Q, T>(&self, query: Q) -> Result<Option<T>, LedgerError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.read(query).await?.pop())
    }

    /// Runs a read, and retries once if the connection is lost: reads are safe to repeat.
    pub(super) async fn read<Q, T>(&self, query: Q) -> Result<Vec<T>, LedgerError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let read = async {
            match self.readers.query(query.clone()).await? {
                Err(error) if remedy(&error) == Remedy::Reconnect => Ok(self.readers.query(query).await??),
                read => Ok(read?),
            }
        };
        read.instrument(spans::read()).await
    }
}
