//! Invoices as comma-separated values (RFC 4180).

use alloc::string::{String, ToString};

use super::Invoice;
use crate::readout::decimal;
use crate::readout::span::day_text;

const COLUMNS: [&str; 15] = [
    "invoice",
    "status",
    "account",
    "account_name",
    "day",
    "dtype",
    "kind",
    "jobs",
    "flops",
    "bytes_in",
    "bytes_out",
    "amount_micros",
    "amount",
    "currency",
    "byte_hours",
];

pub fn write(invoice: &Invoice<'_>) -> String {
    let mut text = String::new();
    push_row(&mut text, &COLUMNS);
    for line in &invoice.lines {
        let row: [&str; COLUMNS.len()] = [
            &invoice.number(line.account),
            invoice.status(),
            line.account.id.as_str(),
            &line.account.name,
            &day_text(line.day),
            line.dtype().unwrap_or_default(),
            line.kind(),
            &line.jobs.to_string(),
            &line.flops.to_string(),
            &line.bytes_in.to_string(),
            &line.bytes_out.to_string(),
            &line.amount_micros.to_string(),
            &decimal::amount(line.amount_micros),
            invoice.currency.as_str(),
            &line.byte_hours.to_string(),
        ];
        push_row(&mut text, &row);
    }
    text
}

/// Appends a row, its end included.
pub fn push_row(text: &mut String, fields: &[&str]) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        if !field.contains(['"', ',', '\r', '\n']) {
            text.push_str(field);
            continue;
        }
        text.push('"');
        text.push_str(&field.replace('"', "\"\""));
        text.push('"');
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let mut text = String::new();
        push_row(&mut text, &["a b", "", "c,d", "say \"e\"", "f\ng"]);
        assert_eq!(text, "a b,,\"c,d\",\"say \"\"e\"\"\",\"f\ng\"\r\n");
    }
}
