//! Invoices with the columns of FOCUS 1.2 (<https://focus.finops.org>), and some of our own, whose
//! names begin with `x_` as it wants.
//!
//! A price is of operations and bytes together, and by tiers, so that there is no unit price; list,
//! contracted and effective cost are what is billed. The quantity that is told is 10^12 operations,
//! or 10^9 bytes stored for an hour; a correction has none.

use alloc::format;
use alloc::string::{String, ToString};

use super::table::push_row;
use super::{Invoice, Line};
use crate::ledger::usage::UsageKind;
use crate::readout::decimal;
use crate::readout::span::hour_text;

/// What provides, publishes and invoices.
const PROVIDER: &str = "Gemmule";

const COLUMNS: [&str; 31] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "x_ByteHours",
    "x_BytesIn",
    "x_BytesOut",
    "x_Dtype",
    "x_Flops",
    "x_InvoiceStatus",
    "x_Jobs",
];

pub fn write(invoice: &Invoice<'_>) -> String {
    let mut text = String::new();
    push_row(&mut text, &COLUMNS);
    for line in &invoice.lines {
        push_row(&mut text, &values(invoice, line).each_ref().map(String::as_str));
    }
    text
}

/// What a line has in each column.
fn values(invoice: &Invoice<'_>, line: &Line<'_>) -> [String; COLUMNS.len()] {
    let cost = decimal::amount(line.amount_micros);
    let dtype = line.dtype().unwrap_or_default();
    let (class, description, quantity, unit) = match (line.is_correction, line.of) {
        (true, _) => ("Correction", format!("Corrections of {dtype} products"), String::new(), ""),
        (false, UsageKind::Storage) => {
            ("", "Stored matrices".into(), decimal::giga(line.byte_hours), "GB-Hours")
        }
        (false, _) => {
            ("", format!("Matrix products in {dtype}"), decimal::tera(line.flops), "Teraflops")
        }
    };
    let [category, service, subcategory] = match line.of {
        UsageKind::Storage => ["Storage", "Matrix storage", "Object Storage"],
        _ => ["Compute", "Matrix multiplication", "Serverless Compute"],
    };
    [
        cost.clone(),
        line.account.id.to_string(),
        line.account.name.clone(),
        invoice.currency.to_string(),
        hour_text(invoice.period.first_hour()),
        hour_text(invoice.period.end_hour()),
        "Usage".into(),
        class.into(),
        description,
        "Usage-Based".into(),
        hour_text(line.day * 24),
        hour_text((line.day + 1) * 24),
        cost.clone(),
        cost.clone(),
        invoice.number(line.account),
        PROVIDER.into(),
        cost,
        quantity,
        unit.into(),
        PROVIDER.into(),
        PROVIDER.into(),
        category.into(),
        service.into(),
        subcategory.into(),
        line.byte_hours.to_string(),
        line.bytes_in.to_string(),
        line.bytes_out.to_string(),
        dtype.into(),
        line.flops.to_string(),
        invoice.status().into(),
        line.jobs.to_string(),
    ]
}
