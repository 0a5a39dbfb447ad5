//! A service with some months of jobs behind it, and the bills for them.

use serde_json::{Value, json};

use crate::service::{SECOND_NS, Service, key_of};
use crate::support::http::Response;
use crate::support::power::PowerCut;
use crate::support::random::Random;

/// What clients were told.
#[derive(Clone, Debug)]
pub struct Told {
    pub account: String,
    pub job: String,
    /// Of the charge.
    pub sequence: u64,
    /// Hours since 1970, and the time as the bill tells it.
    pub hour: u64,
    pub at: String,
    pub dtype: String,
    pub flops: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Below zero for a correction.
    pub micros: i128,
    pub is_correction: bool,
}

pub struct Months {
    pub service: Service,
    pub operator: String,
    /// Accounts and their keys.
    pub keys: Vec<(String, String)>,
    pub told: Vec<Told>,
    pub disk: Option<PowerCut>,
}

/// A name with all that forms have to escape.
pub const NAME: &str = "<b onload='x()'>\"Söhne\", R&D";
pub const ACCOUNTS: [&str; 3] = ["acme", "acme-2", "zeta"];
const DISK_BYTES_MAX: u64 = 1 << 26;

impl Months {
    /// With some hundred jobs from late in November 2026 until February 2027.
    pub fn with_jobs(is_durable: bool, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut months = Self::begin(is_durable);
        for _ in 0..400 {
            // Several in an hour, and then none for a day.
            let seconds = if random.chance(100) { 86_400 * random.below(5) } else { 900 };
            months.service.pass_seconds(seconds);
            months.multiply(&mut random);
            if random.chance(150) {
                months.correct(&mut random);
            }
        }
        months
    }

    /// With accounts, and without jobs.
    pub fn begin(is_durable: bool) -> Self {
        let disk = is_durable.then(|| PowerCut::file(DISK_BYTES_MAX));
        let mut service = disk.as_ref().map_or_else(Service::new, Service::on);
        let operator = service.operator();
        let mut keys = Vec::new();
        let tariff = json!({
            "name": "dear", "version": 1, "currency": "EUR",
            "micros_per_tflop_f64": 1_000_000_000_000_u64,
            "micros_per_tflop_f32": 300_000_000_000_u64,
            "micros_per_gb_in": 1_000_000_000, "micros_per_gb_out": 1_000_000_000,
            "job_micros_min": 1, "in_force_from_unix_s": service.now().unix_ns / SECOND_NS + 1,
        });
        service.change(&operator, "/v1/admin/tariffs", tariff);
        // In another order than that of their ids.
        for id in ["zeta", "acme", "acme-2"] {
            let account = json!({"id": id, "name": NAME, "tariff": "dear"});
            service.change(&operator, "/v1/admin/accounts", account);
            let path = format!("/v1/admin/accounts/{id}/keys");
            let made = service.change(&operator, &path, json!({"scopes": ["submit", "read"]}));
            keys.push((id.to_owned(), key_of(&made)));
        }
        Self { service, operator, keys, told: Vec::new(), disk }
    }

    pub fn multiply(&mut self, random: &mut Random) {
        let (account, key) = self.keys[random.below(3) as usize].clone();
        let [m, n, k] = [(); 3].map(|()| 1 + random.below(4));
        let matrix = |rows: u64, columns: u64, random: &mut Random| {
            let row =
                |random: &mut Random| (0..columns).map(|_| random.below(100)).collect::<Vec<_>>();
            (0..rows).map(|_| row(random)).collect::<Vec<_>>()
        };
        let job = json!({
            "a": matrix(m, k, random),
            "b": matrix(k, n, random),
            "dtype": if random.chance(500) { "f64" } else { "f32" },
        });
        let bill = self.service.change(&key, "/v1/multiply", job)["bill"].clone();
        let number = |name: &str| bill[name].as_u64().expect("a number");
        self.told.push(Told {
            account,
            job: text(&bill["job"]),
            sequence: number("sequence"),
            hour: self.service.now().unix_ns / SECOND_NS / 3600,
            at: text(&bill["issued_at"]),
            dtype: text(&bill["dtype"]),
            flops: number("flops"),
            bytes_in: number("bytes_in"),
            bytes_out: number("bytes_out"),
            micros: number("amount_micros").into(),
            is_correction: false,
        });
    }

    /// Gives part of some job back, of whatever month it was.
    fn correct(&mut self, random: &mut Random) {
        let of = self.told[random.below(self.told.len() as u64) as usize].clone();
        let is_corrected = self.told.iter().any(|it| it.is_correction && it.job == of.job);
        if of.is_correction || is_corrected {
            return;
        }
        let micros = 1 + random.below(of.micros as u64);
        let body = json!({"job": of.job, "amount_micros": micros, "reason": "it was \"late\""});
        self.service.change(&self.operator.clone(), "/v1/admin/corrections", body);
        let mut at = String::new();
        gemmule::time::Civil::from_unix_ns(self.service.now().unix_ns).push_rfc3339(&mut at);
        self.told.push(Told {
            at,
            hour: self.service.now().unix_ns / SECOND_NS / 3600,
            flops: 0,
            bytes_in: 0,
            bytes_out: 0,
            micros: -i128::from(micros),
            is_correction: true,
            ..of
        });
    }

    /// What is answered to the operator, where there is no account, or to that account.
    pub fn get(&mut self, reader: Option<&str>, path: &str) -> Response {
        let key = match reader {
            None => self.operator.clone(),
            Some(id) => self.keys.iter().find(|(of, _)| of == id).expect("a key").1.clone(),
        };
        self.service.get(&key, path)
    }

    /// What was told of an account, or of all, from an hour until before another.
    pub fn told_of(&self, account: Option<&str>, hours: core::ops::Range<u64>) -> Vec<Told> {
        let is_of = |it: &&Told| account.is_none_or(|account| it.account == account);
        let told = self.told.iter().filter(is_of);
        told.filter(|it| hours.contains(&it.hour)).cloned().collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The first hour of a month from November 2026 to March 2027.
pub fn first_hour(period: &str) -> u64 {
    let days = match period {
        "2026-11" => 20_758,
        "2026-12" => 20_788,
        "2027-01" => 20_819,
        "2027-02" => 20_850,
        "2027-03" => 20_878,
        _ => panic!("{period} is not tested"),
    };
    days * 24
}
