//! Rows of some accounts, as many as are written in one transaction.

use std::{mem, pin::pin};

use futures_util::{Stream, TryStreamExt as _};
use tokio::sync::mpsc;

use super::{HistoryError, rules::HistoryRow};
use crate::accounting::AccountId;

/// As much as a commit is worth, and little enough to be forgotten: rows, accounts, and bytes of references.
const ROWS_MAX: usize = 10_000;
const ACCOUNTS_MAX: usize = 2_000;
const BYTES_MAX: usize = 4 << 20;

/// What is written in one transaction.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) parts: Vec<Part>,
    rows: usize,
    bytes: usize,
}

/// Rows of one account.
#[derive(Debug)]
pub(super) struct Part {
    /// Which of the accounts it is.
    pub(super) index: usize,
    pub(super) rows: Vec<HistoryRow>,
    /// Whether no more come.
    pub(super) is_last: bool,
}

/// Cuts rows into chunks. They come account by account, in the order of `accounts`; of some there may be none.
pub(super) async fn cut(
    accounts: Vec<AccountId>,
    rows: impl Stream<Item = Result<(String, HistoryRow), HistoryError>>,
    chunks: mpsc::Sender<Chunk>,
) -> Result<(), HistoryError> {
    let mut rows = pin!(rows);
    let mut next = rows.try_next().await?;
    let mut chunk = Chunk::default();
    for (index, account) in accounts.iter().enumerate() {
        chunk.begin(index);
        while let Some((_, row)) = next.take_if(|(account_id, _)| account_id == account.as_str()) {
            if chunk.is_full() {
                send(&mut chunk, &chunks).await;
                chunk.begin(index);
            }
            chunk.push(row);
            next = rows.try_next().await?;
        }
        chunk.end();
        if chunk.is_full() {
            send(&mut chunk, &chunks).await;
        }
    }
    send(&mut chunk, &chunks).await;
    Ok(())
}

/// If there is nobody to take it, the writer has failed, and says why.
async fn send(chunk: &mut Chunk, chunks: &mpsc::Sender<Chunk>) {
    let chunk = mem::take(chunk);
    if !chunk.parts.is_empty() {
        let _ = chunks.send(chunk).await;
    }
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.bytes >= BYTES_MAX || self.parts.len() >= ACCOUNTS_MAX
    }

    fn begin(&mut self, index: usize) {
        self.parts.push(Part { index, rows: Vec::new(), is_last: false });
    }

    fn push(&mut self, row: HistoryRow) {
        self.rows += 1;
        self.bytes += row.reference.len();
        if let Some(part) = self.parts.last_mut() {
            part.rows.push(row);
        }
    }

    fn end(&mut self) {
        if let Some(part) = self.parts.last_mut() {
            part.is_last = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::accounting::{MicroUsd, Timestamp};

    /// The chunks of accounts that have so many rows each, with references of so many bytes.
    async fn chunks(rows: &[i64], reference_bytes: usize) -> Vec<Chunk> {
        let name = |index: usize| format!("account-{index:05}");
        let accounts = (0..rows.len()).map(|index| AccountId::parse("account_id", &name(index)).unwrap());
        let of_account = move |(index, count): (usize, i64)| {
            (0..count).map(move |id| {
                let row = HistoryRow {
                    id,
                    entry_type: "charge".into(),
                    amount: MicroUsd::new(-1),
                    balance_after: None,
                    reference: "r".repeat(reference_bytes),
                    create_time: Timestamp::from_unix_micros(0),
                    repeats_payment: false,
                };
                Ok((name(index), row))
            })
        };
        let stream: Vec<_> = rows.iter().copied().enumerate().flat_map(of_account).collect();
        let (sender, mut chunks) = mpsc::channel(1);
        let cutting = tokio::spawn(cut(accounts.collect(), stream::iter(stream), sender));
        let mut taken = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            taken.push(chunk);
        }
        cutting.await.unwrap().unwrap();
        taken
    }

    /// Of each account, the numbers of its rows, and how often it ended.
    fn put_together(chunks: &[Chunk], accounts: usize) -> Vec<(Vec<i64>, usize)> {
        let mut all = vec![(Vec::new(), 0); accounts];
        for part in chunks.iter().flat_map(|chunk| &chunk.parts) {
            all[part.index].0.extend(part.rows.iter().map(|row| row.id));
            all[part.index].1 += usize::from(part.is_last);
        }
        all
    }

    #[tokio::test]
    async fn every_row_is_in_one_chunk_and_every_account_ends_once() {
        let rows = [0, 3, 25_000, 0, 9_999, 1, 10_000, 0];
        let chunks = chunks(&rows, 1).await;
        let expected: Vec<_> = rows.iter().map(|count| ((0..*count).collect(), 1)).collect();
        assert_eq!(put_together(&chunks, rows.len()), expected);
        assert!(chunks.len() >= 5 && chunks.iter().all(|chunk| chunk.rows <= ROWS_MAX));
    }

    #[tokio::test]
    async fn chunks_are_bounded_by_bytes_and_by_accounts_too() {
        let long = 32_768;
        let by_bytes = chunks(&[500], long).await;
        assert!(by_bytes.len() > 1 && by_bytes.iter().all(|chunk| chunk.bytes < BYTES_MAX + long));
        let by_accounts = chunks(&vec![0; 5_000], 0).await;
        assert!(by_accounts.len() > 1 && by_accounts.iter().all(|chunk| chunk.parts.len() <= ACCOUNTS_MAX));
    }
}
