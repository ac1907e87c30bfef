//! Tables for people: a column is as wide as the widest of its cells.

use std::io::{self, Write};

/// Writes a table, if there is anything in it.
pub(super) fn write<const COLUMNS: usize>(
    out: &mut impl Write,
    header: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> io::Result<()> {
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows);
    if lines.len() == 1 {
        return Ok(());
    }
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Says how many lines a table does not have, if any, and how to get them.
pub(super) fn write_unlisted(out: &mut impl Write, listed: usize, count: u64, hint: &str) -> io::Result<()> {
    match count.saturating_sub(u64::try_from(listed).unwrap_or(u64::MAX)) {
        0 => Ok(()),
        more => writeln!(out, "and {more} more{hint}"),
    }
}
