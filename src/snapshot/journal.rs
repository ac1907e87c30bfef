//! The journal of a book, page by page.

use diesel::sql_types::{Nullable, SmallInt};

use super::{read_ahead::Pages, session::Session};
use crate::{
    accounting::{Entry, EntryType},
    database::cursor::Bind,
    ledger::{
        LedgerError,
        rows::{EntryColumns, EntryRow},
    },
};

const CURSOR: &str = "journal";

/// An entry, and the type of what it refunds.
pub(super) type JournalEntry = (Entry, Option<EntryType>);

/// Reads what a query selects of the book that the session looks in.
pub(super) async fn read(
    mut session: Session,
    (query, binds): (String, Vec<Bind>),
    pages: Pages<JournalEntry>,
) -> Result<(), LedgerError> {
    session.declare(CURSOR, &query, binds).await?;
    let mut is_wanted = true;
    while is_wanted {
        let (rows, is_last) =
            session.fetch::<(EntryColumns, Nullable<SmallInt>), (EntryRow, Option<i16>)>(CURSOR).await?;
        let entry = |(row, refunded): (_, Option<_>)| {
            Ok((Entry::try_from(row)?, refunded.and_then(EntryType::from_number)))
        };
        let entries = rows.into_iter().map(entry).collect::<Result<_, LedgerError>>()?;
        is_wanted = pages.put(entries, is_last).await;
    }
    Ok(())
}
