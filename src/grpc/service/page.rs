//! A page of a list: bounded in items and bytes, read in parts.

use prost::Message;

use crate::ledger::EntrySpan;

/// The most bytes of a page, unless its first item alone is larger. Small, since clients may leave pages unread.
const PAGE_BYTES_MAX: usize = 128 * 1024;
/// The items in the first read, and the most in later reads, when their size is known. A thousand of the largest items would be
/// tens of megabytes, most of them for later pages.
const READ_AT_FIRST: usize = 20;
const READ_AT_ONCE: usize = 250;
/// The overhead of an item: its field's tag, and its length as a varint.
const ITEM_OVERHEAD: usize = 6;

/// Items, newest first, and the rest of the span.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) rest: Option<EntrySpan>,
    size: usize,
    bytes: usize,
    is_full: bool,
}

impl<T: Message> Page<T> {
    /// A page of up to `size` items of a span. `read` returns up to so many, each with its sequence, and where it ended.
    pub(crate) async fn read<E, F>(
        span: EntrySpan,
        size: usize,
        read: impl Fn(EntrySpan, usize) -> F,
    ) -> Result<Self, E>
    where
        F: Future<Output = Result<(Vec<(i64, T)>, Option<EntrySpan>), E>>,
    {
        let mut page = Self::new(span, size);
        while let Some((span, wanted)) = page.wants() {
            let (items, rest) = read(span, wanted).await?;
            page.take(items.into_iter(), rest);
        }
        Ok(page)
    }

    /// An empty page for up to `size` items of a span.
    fn new(span: EntrySpan, size: usize) -> Self {
        Self { items: Vec::new(), rest: Some(span), size, bytes: 0, is_full: size == 0 }
    }

    /// The next span to read, and how many items of it; `None` when the page is complete.
    fn wants(&self) -> Option<(EntrySpan, usize)> {
        let room = match self.items.len() {
            0 => READ_AT_FIRST,
            taken => (PAGE_BYTES_MAX.saturating_sub(self.bytes) * taken / self.bytes + 1).min(READ_AT_ONCE),
        };
        let wanted = (self.size - self.items.len()).min(room);
        self.rest.filter(|_| !self.is_full).map(|span| (span, wanted))
    }

    /// Adds what was read, each item with its sequence, and where the read ended. Items that do not fit go to the next page.
    fn take(&mut self, read: impl Iterator<Item = (i64, T)>, rest: Option<EntrySpan>) {
        let (span, wanted) = (self.rest, self.wants().map_or(0, |(_, wanted)| wanted));
        let before = self.items.len();
        for (sequence, item) in read {
            self.bytes += ITEM_OVERHEAD + item.encoded_len();
            if self.bytes > PAGE_BYTES_MAX && !self.items.is_empty() {
                self.rest = span.map(|span| EntrySpan { last: sequence, ..span });
                self.is_full = true;
                return;
            }
            self.items.push(item);
        }
        self.rest = rest;
        // Fewer than requested: the read scanned as much of the span as one page may.
        self.is_full = self.items.len() == self.size || self.items.len() - before < wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: EntrySpan = EntrySpan { after: 0, last: 3_000 };

    /// Fills a page from a list whose item with a sequence is a text that long.
    fn fill(span: EntrySpan, size: usize, length: impl Fn(i64) -> usize) -> Page<String> {
        let mut page = Page::new(span, size);
        while let Some((span, wanted)) = page.wants() {
            assert!((1..=READ_AT_ONCE).contains(&wanted));
            let first = span.after.max(span.last - i64::try_from(wanted).unwrap()) + 1;
            let read = (first..=span.last).rev().map(|sequence| (sequence, "x".repeat(length(sequence))));
            let rest = Some(EntrySpan { last: first - 1, ..span }).filter(|rest| rest.last > rest.after);
            page.take(read, rest);
        }
        page
    }

    /// The items of all pages.
    fn pages(size: usize, length: impl Fn(i64) -> usize) -> Vec<Vec<String>> {
        let (mut pages, mut rest) = (Vec::new(), Some(SPAN));
        while let Some(span) = rest {
            let page = fill(span, size, &length);
            (rest, pages) = (page.rest, [pages, vec![page.items]].concat());
        }
        pages
    }

    #[test]
    fn small_items_fill_a_page_by_count() {
        let sizes: Vec<usize> = pages(1_000, |_| 5).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1_000; 3]);
        assert_eq!(fill(SPAN, 7, |_| 5).items.len(), 7);
    }

    #[test]
    fn large_items_end_a_page_early_and_none_is_lost() {
        for length in [3_000, 30_000, 400_000, 2 * PAGE_BYTES_MAX] {
            let pages = pages(1_000, |sequence| if sequence % 300 == 0 { length } else { 10 });
            assert_eq!(pages.iter().map(Vec::len).sum::<usize>(), 3_000);
            for page in pages {
                let bytes: usize = page.iter().map(Message::encoded_len).sum();
                assert!(bytes <= PAGE_BYTES_MAX || page.len() == 1, "{length}: {bytes}");
                assert!(!page.is_empty());
            }
        }
    }

    #[test]
    fn a_reading_that_found_too_few_ends_the_page() {
        let mut page = Page::<String>::new(SPAN, 1_000);
        let rest = EntrySpan { last: 1_000, ..SPAN };
        page.take([(2_000, "x".to_owned())].into_iter(), Some(rest));
        assert_eq!((page.items.len(), page.rest, page.wants()), (1, Some(rest), None));
    }
}
