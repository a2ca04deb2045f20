//! Columns for people: no frames, two blanks between, nothing behind the last one.

use crate::text::plain;

/// The widest a column gets, in characters. What is longer runs over its own line and moves nobody else's.
const WIDTH_MAX: usize = 80;

/// Rows under a head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head. No head, no first line.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.iter().map(ToString::to_string).collect()] }
    }

    /// A list of names and values.
    pub(crate) fn list() -> Self {
        Self::default()
    }

    /// One more row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// One more name with its value.
    pub(crate) fn say(&mut self, name: &str, value: impl ToString) {
        self.row([name.into(), value.to_string()]);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).filter(|width| *width <= WIDTH_MAX).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let line: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_heads() {
        let mut table = Table::new(["DEVICE", "RUNS", "HEARD"]);
        table.row(["pump-7".into(), "1.4.0".into(), "3s".into()]);
        table.row(["valve-12-basel".into(), "-".into(), String::new()]);
        assert_eq!(
            table.to_string(),
            "DEVICE          RUNS   HEARD\n\
             pump-7          1.4.0  3s\n\
             valve-12-basel  -\n"
        );
    }

    #[test]
    fn a_cell_can_neither_break_a_line_nor_push_the_others_out() {
        let mut table = Table::new(["A", "B"]);
        table.row(["x\ny".into(), "1".into()]);
        table.row(["z".repeat(90), "2".into()]);
        let lines: Vec<_> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines, ["A    B", "x?y  1", &format!("{}  2", "z".repeat(90))]);
    }
}
