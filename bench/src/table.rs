//! A Markdown table that also reads well in a terminal.

use std::fmt;

/// A table: the first column is flush left, the others flush right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(ToString::to_string).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len(), "as many cells as columns");
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (0..self.rows[0].len()).map(|column| width(column).max(3)).collect()
    }
}

/// Nothing if there is no row below the header.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.len() == 1 {
            return Ok(());
        }
        let widths = self.widths();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 { write!(f, "| {cell:width$} ")? } else { write!(f, "| {cell:>width$} ")? }
            }
            writeln!(f, "|")?;
            if number == 0 {
                let rule = |column: usize, width: usize| match column {
                    0 => format!("|{}", "-".repeat(width + 2)),
                    _ => format!("|{}:", "-".repeat(width + 1)),
                };
                let rules = widths.iter().enumerate().map(|(column, width)| rule(column, *width));
                writeln!(f, "{}|", rules.collect::<String>())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_even() {
        let mut table = Table::new(&["a", "b"]);
        assert_eq!(table.to_string(), "");
        table.row(vec!["long …".into(), "1 ×".into()]);
        assert_eq!(table.to_string(), "| a      |   b |\n|--------|----:|\n| long … | 1 × |\n");
    }
}
