//! A reader of comma-separated values (RFC 4180), apart from the service's writer.

use std::collections::BTreeMap;

/// Rows by the names of their columns.
pub fn read(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut rows = cells(text).into_iter();
    let names = rows.next().expect("the names of the columns");
    rows.map(|row| {
        assert_eq!(row.len(), names.len(), "{row:?}");
        names.iter().cloned().zip(row).collect()
    })
    .collect()
}

fn cells(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if cell.is_empty() => loop {
                match letters.next().expect("the end of a quotation") {
                    '"' if letters.next_if_eq(&'"').is_some() => cell.push('"'),
                    '"' => break,
                    letter => cell.push(letter),
                }
            },
            ',' => row.push(std::mem::take(&mut cell)),
            '\r' => {
                assert_eq!(letters.next(), Some('\n'));
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            letter => {
                assert!(letter != '"' && letter != '\n', "{cell:?}");
                cell.push(letter);
            }
        }
    }
    assert!(row.is_empty() && cell.is_empty(), "each row has its end");
    rows
}

/// A decimal number of units, in micro-units.
pub fn micros(amount: &str) -> i128 {
    let (sign, digits) = match amount.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, amount),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(fraction.len() <= 6 && !fraction.ends_with('0'), "{amount}");
    sign * format!("{whole}{fraction:0<6}").parse::<i128>().expect("digits")
}
