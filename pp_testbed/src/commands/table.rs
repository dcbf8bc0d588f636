//! A table of plain columns: for people, and for `grep`.

/// Prints the rows with each column as wide as its widest cell.
pub(crate) fn print(rows: &[[String; 4]]) {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let (first, second, third) = (width(0), width(1), width(2));
    for [name, what, place, state] in rows {
        println!("{name:<first$}  {what:<second$}  {place:<third$}  {state}");
    }
}
