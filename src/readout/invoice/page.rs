//! Invoices as a page to print, which needs nothing else: no script, no font, no picture.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Invoice, Line};
use crate::ledger::usage::UsageKind;
use crate::readout::decimal;
use crate::readout::span::day_text;

const STYLE: &str = "\
body{font:10pt/1.4 sans-serif;margin:2em auto;max-width:60em;color:#111}\
h1{font-size:16pt}table{border-collapse:collapse;width:100%}\
th,td{padding:.2em .5em;text-align:right;border-bottom:1px solid #ccc;\
font-variant-numeric:tabular-nums}\
th.t,td.t{text-align:left}thead{display:table-header-group}tr{break-inside:avoid}\
tfoot td{font-weight:bold;border-top:2px solid #111}.open{color:#a00;font-weight:bold}\
@page{margin:18mm}@media print{body{margin:0}}";

const HEADINGS: &str = "\
<th class=\"t\">Account</th><th class=\"t\">Day</th><th class=\"t\">What</th><th>Jobs</th>\
<th>Operations</th><th>Bytes in</th><th>Bytes out</th><th>Byte-hours stored</th>";

pub fn write(invoice: &Invoice<'_>) -> String {
    let period = invoice.period();
    let currency = invoice.currency;
    let title = match invoice.account {
        Some(account) => format!("Invoice {}", invoice.number(account)),
        None => format!("Invoices of {period}"),
    };
    let whose = match invoice.account {
        Some(account) => format!("{} ({})", escape(&account.name), account.id),
        None => String::from("All accounts"),
    };
    let open = match invoice.is_open {
        true => "<p class=\"open\">This month is not over: there may be more.</p>\n",
        false => "",
    };
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n\
         <p>{whose}<br>Matrix products and storage of {period}, days in UTC. The ledger is {}.</p>\n{open}\
         <table><thead><tr>{HEADINGS}<th>{currency}</th></tr></thead>\n<tbody>\n",
        invoice.ledger,
    );
    for line in &invoice.lines {
        push_line(&mut text, line);
    }
    let total = &invoice.total;
    text.push_str(&format!(
        "</tbody>\n<tfoot><tr><td class=\"t\" colspan=\"3\">Total</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr></tfoot></table>\n</body></html>\n",
        grouped(total.jobs.into()),
        grouped(total.flops),
        grouped(total.bytes_in),
        grouped(total.bytes_out),
        grouped(total.byte_hours),
        decimal::amount(invoice.due_micros()),
    ));
    text
}

fn push_line(text: &mut String, line: &Line<'_>) {
    let what = match (line.is_correction, line.of) {
        (true, _) => " corrections",
        (false, UsageKind::Storage) => "",
        (false, _) => " products",
    };
    text.push_str(&format!(
        "<tr><td class=\"t\">{}</td><td class=\"t\">{}</td><td class=\"t\">{}{what}</td>",
        line.account.id,
        day_text(line.day),
        line.of.name(),
    ));
    let numbers = [line.jobs.into(), line.flops, line.bytes_in, line.bytes_out, line.byte_hours];
    for number in numbers {
        let number = if line.is_correction { String::new() } else { grouped(number) };
        text.push_str(&format!("<td>{number}</td>"));
    }
    text.push_str(&format!("<td>{}</td></tr>\n", decimal::amount(line.amount_micros)));
}

/// A number with narrow spaces between its thousands.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Text that may stand anywhere in a page.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_thousands_apart() {
        let escaped = escape("<b onclick='x()'>\"R&D\"</b>");
        let expected = "&lt;b onclick=&#39;x()&#39;&gt;&quot;R&amp;D&quot;&lt;/b&gt;";
        assert_eq!(escaped, expected);
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1_000"), (1_234_567, "1_234_567")] {
            assert_eq!(grouped(number).replace('\u{202f}', "_"), text);
        }
    }
}
