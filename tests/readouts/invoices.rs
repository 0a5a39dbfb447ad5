//! `GET /v1/invoices/{period}`.

use std::collections::BTreeMap;

use crate::csv;
use crate::months::{ACCOUNTS, Months, NAME, Told, first_hour};
use crate::service::expect;
use crate::support::http::Response;

const PERIODS: [(&str, &str); 4] = [
    ("2026-11", "2026-12"),
    ("2026-12", "2027-01"),
    ("2027-01", "2027-02"),
    ("2027-02", "2027-03"),
];

fn invoice(months: &mut Months, reader: Option<&str>, period: &str, format: &str) -> Response {
    let reply = months.get(reader, &format!("/v1/invoices/{period}?format={format}"));
    assert_eq!(reply.status, 200, "{period} {format}: {}", reply.text());
    reply
}

/// What lines should sum up to: by account, day, dtype and kind.
type Lines = BTreeMap<(String, String, String, bool), [i128; 5]>;

fn expected(told: &[Told]) -> Lines {
    let mut lines = Lines::new();
    for it in told {
        let day = it.at[..10].to_owned();
        let key = (it.account.clone(), day, it.dtype.clone(), it.is_correction);
        let jobs = i128::from(!it.is_correction);
        let figures = [jobs, it.flops.into(), it.bytes_in.into(), it.bytes_out.into(), it.micros];
        for (sum, figure) in lines.entry(key).or_default().iter_mut().zip(figures) {
            *sum += figure;
        }
    }
    lines
}

#[test]
fn all_forms_come_to_the_sum_of_the_bills() {
    for is_durable in [false, true] {
        let mut months = Months::with_jobs(is_durable, 7);
        for (period, next) in PERIODS {
            for reader in [None].into_iter().chain(ACCOUNTS.map(Some)) {
                let told = months.told_of(reader, first_hour(period)..first_hour(next));
                check_json(&mut months, reader, period, &told);
                check_table(&mut months, reader, period, &told);
                check_focus(&mut months, reader, period, &told);
                let due: i128 = told.iter().map(|it| it.micros).sum();
                let page = invoice(&mut months, reader, period, "html");
                let total = page.text().rsplit_once("<td>").expect("a total").1;
                let total = total.split_once('<').expect("its end").0;
                assert_eq!(csv::micros(total), due, "{period} {reader:?}");
            }
        }
    }
}

fn check_json(months: &mut Months, reader: Option<&str>, period: &str, told: &[Told]) {
    let reply = invoice(months, reader, period, "json");
    assert_eq!(reply.field("Content-Type"), Some("application/json"));
    let reply = reply.json();
    let mut lines = Lines::new();
    for line in reply["lines"].as_array().expect("lines") {
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        let key = (text("account"), text("day"), text("dtype"), line["kind"] == "correction");
        let figures = ["jobs", "flops", "bytes_in", "bytes_out", "amount_micros"]
            .map(|name| i128::from(line[name].as_i64().expect("a number")));
        assert_eq!(csv::micros(&text("amount")), figures[4]);
        assert_eq!(lines.insert(key, figures), None);
    }
    assert_eq!(lines, expected(told), "{period} {reader:?}");
    let due: i128 = told.iter().map(|it| it.micros).sum();
    assert_eq!(reply["due_micros"], due as i64);
    assert_eq!(csv::micros(reply["due"].as_str().expect("a text")), due);
    let corrected: i128 = told.iter().filter(|it| it.is_correction).map(|it| -it.micros).sum();
    assert_eq!(reply["total"]["corrected_micros"], corrected as i64);
    assert_eq!(reply["total"]["amount_micros"], (due + corrected) as i64);
    assert_eq!(reply["account"].as_str(), reader);
    let end = months.told.last().expect("jobs").hour;
    let is_open = period == PERIODS.iter().rfind(|(it, _)| first_hour(it) <= end).expect("one").0;
    assert_eq!(reply["status"], if is_open { "open" } else { "closed" }, "{period}");
}

fn check_table(months: &mut Months, reader: Option<&str>, period: &str, told: &[Told]) {
    let reply = invoice(months, reader, period, "csv");
    assert!(reply.field("Content-Type").is_some_and(|it| it.starts_with("text/csv")));
    let mut lines = Lines::new();
    for row in csv::read(reply.text()) {
        let figures = ["jobs", "flops", "bytes_in", "bytes_out", "amount_micros"]
            .map(|name| row[name].parse::<i128>().expect("a number"));
        assert_eq!(csv::micros(&row["amount"]), figures[4]);
        assert_eq!(row["invoice"], format!("{period}-{}", row["account"]));
        assert_eq!((row["account_name"].as_str(), row["currency"].as_str()), (NAME, "EUR"));
        let [account, day, dtype] = ["account", "day", "dtype"].map(|name| row[name].clone());
        assert_eq!(lines.insert((account, day, dtype, row["kind"] == "correction"), figures), None);
    }
    assert_eq!(lines, expected(told), "{period} {reader:?}");
}

/// The columns that FOCUS 1.2 wants, and those that validators want besides.
const FOCUS_COLUMNS: [&str; 24] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ContractedCost",
    "EffectiveCost",
    "ListCost",
    "InvoiceIssuerName",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ChargeFrequency",
    "InvoiceId",
    "ServiceSubcategory",
];

fn check_focus(months: &mut Months, reader: Option<&str>, period: &str, told: &[Told]) {
    let reply = invoice(months, reader, period, "focus");
    let names = reply.text().lines().next().expect("names").split(',');
    let (own, known): (Vec<&str>, Vec<&str>) = names.partition(|name| name.starts_with("x_"));
    assert!(known.iter().all(|name| FOCUS_COLUMNS.contains(name)), "{known:?}");
    assert_eq!(known.len(), FOCUS_COLUMNS.len());
    assert!(
        ["x_Flops", "x_BytesIn", "x_BytesOut", "x_Jobs", "x_Dtype"]
            .iter()
            .all(|name| own.contains(name))
    );
    let mut lines = Lines::new();
    for row in csv::read(reply.text()) {
        let is_correction = row["ChargeClass"] == "Correction";
        let day = row["ChargePeriodStart"].strip_suffix("T00:00:00Z").expect("a day's begin");
        assert!(row["BillingPeriodStart"] == format!("{period}-01T00:00:00Z"));
        assert!(row["BillingPeriodEnd"].ends_with("-01T00:00:00Z"));
        assert!(row["ChargePeriodEnd"] > row["ChargePeriodStart"]);
        assert!(row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]);
        let billed = csv::micros(&row["BilledCost"]);
        for cost in ["ContractedCost", "EffectiveCost", "ListCost"] {
            assert_eq!(csv::micros(&row[cost]), billed);
        }
        assert_eq!(row["PricingQuantity"].is_empty(), is_correction);
        assert_eq!(row["BillingAccountName"], NAME);
        let number = |name: &str| row[name].parse::<i128>().expect("a number");
        let [jobs, flops] = [number("x_Jobs"), number("x_Flops")];
        let figures = [jobs, flops, number("x_BytesIn"), number("x_BytesOut"), billed];
        let account = row["BillingAccountId"].clone();
        lines.insert((account, day.to_owned(), row["x_Dtype"].clone(), is_correction), figures);
    }
    assert_eq!(lines, expected(told), "{period} {reader:?}");
}

#[test]
fn a_page_shows_names_as_text() {
    let mut months = Months::with_jobs(false, 1);
    let page = invoice(&mut months, Some("acme"), "2026-11", "html");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let policy = page.field("Content-Security-Policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';"));
    assert!(!page.text().contains("<b onload"));
    let name = "&lt;b onload=&#39;x()&#39;&gt;&quot;Söhne&quot;, R&amp;D (acme)";
    assert!(page.text().contains(name), "{}", page.text());
    assert!(!page.text().contains("class=\"open\""));
    let now = months.told.last().expect("jobs").hour;
    let open = PERIODS.iter().rfind(|(period, _)| first_hour(period) <= now).expect("a month").0;
    let page = invoice(&mut months, Some("acme"), open, "html");
    assert!(page.text().contains("class=\"open\""));
}

#[test]
fn forms_are_chosen_by_accept_or_by_name() {
    let mut months = Months::begin(false);
    let (_, key) = months.keys[0].clone();
    let bearer = format!("Bearer {key}");
    for (accept, query, expected) in [
        (None, "", "application/json"),
        (Some("*/*"), "", "application/json"),
        (Some("text/csv"), "", "text/csv"),
        (Some("text/html,application/xhtml+xml,*/*;q=0.8"), "", "text/html"),
        (Some("text/csv;q=0.5, application/json;q=0.4"), "", "text/csv"),
        (Some("text/html"), "?format=focus", "text/csv"),
        (Some("image/png"), "?format=json", "application/json"),
    ] {
        let mut fields = vec![("Authorization", bearer.as_str())];
        fields.extend(accept.map(|accept| ("Accept", accept)));
        let target = format!("/v1/invoices/2026-11{query}");
        let request = crate::support::http::write_request("GET", &target, &fields, None);
        let id = months.service.open();
        let reply = months.service.ask_on(id, &request);
        let found = reply.field("Content-Type").expect("a type").split(';').next();
        assert_eq!((reply.status, found), (200, Some(expected)), "{accept:?} {query}");
        assert_eq!(reply.field("Vary"), Some("Accept"));
        months.service.server.gone(id);
    }
    let fields = [("Authorization", bearer.as_str()), ("Accept", "image/png")];
    let request = crate::support::http::write_request("GET", "/v1/invoices/2026-11", &fields, None);
    let id = months.service.open();
    expect(&months.service.ask_on(id, &request), 406, "not-acceptable");
}

#[test]
fn what_is_asked_amiss_is_told() {
    let mut months = Months::begin(false);
    for (period, status, kind) in [
        ("2026-12", 404, "unknown-period"),
        ("2026-13", 404, "unknown-period"),
        ("last", 404, "unknown-period"),
        ("2026-11?format=pdf", 422, "invalid-value"),
        ("2026-11?by=day", 422, "unknown-field"),
        ("2026-11?account=nobody", 404, "unknown-account"),
    ] {
        expect(&months.get(None, &format!("/v1/invoices/{period}")), status, kind);
    }
    let empty = invoice(&mut months, Some("acme"), "2026-10", "json").json();
    assert_eq!((&empty["status"], &empty["due"]), (&"closed".into(), &"0".into()));
    // A table without rows still has its columns.
    for format in ["csv", "focus"] {
        let reply = invoice(&mut months, Some("acme"), "2026-10", format);
        assert_eq!(reply.text().lines().count(), 1);
    }
    expect(&months.get(Some("acme"), "/v1/invoices/2026-11?account=zeta"), 403, "forbidden");
}
