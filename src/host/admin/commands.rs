//! The words behind `gemmule admin`, as calls of the service's API.

use gemmule::billing::JobId;
use gemmule::ledger::AccountId;
use gemmule::ledger::key::{KeyId, Scope};
use serde_json::{Map, Value, json};

use crate::host::options::OptionsError;

pub const USAGE: &str = "\
Usage: gemmule admin [--url http://HOST:PORT] COMMAND

The key, of scope admin, is in the environment as GEMMULE_KEY; the URL may be in GEMMULE_URL.

  accounts [--after ID]                 all accounts
  account show ID                       one, and what it has used
  account create ID [SETTINGS]          a new one
  account limits ID SETTINGS            the same with other settings
  account close ID, account reopen ID   its keys are taken no more, or again
  keys ACCOUNT                          its keys
  key create ACCOUNT --scopes submit,read,admin [--label TEXT] [--expires-in-seconds N]
  key revoke ID                         ends a key at once
  key rotate ID [--overlap-seconds N]   a new key; the old one ends after the overlap
  tariffs                               every version of every tariff
  tariff add FILE                       a new version, of JSON
  credit ACCOUNT MICROS REASON          what was paid in advance; below 0, what is taken back
  correct JOB MICROS REASON             gives back some of what a job was charged
  receipt-key rotate                    receipts are signed with a new key from now on
  drain                                 the machine ends in order, and jobs go on with the next

Settings: --name TEXT, --tariff NAME, --prepaid true|false, and limits, each a number or none:
  --requests-per-second, --burst, --jobs-at-once, --flops-per-day, --amount-micros-per-month,
  --stored-bytes-max";

/// A request to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `None`: as the environment says.
    pub url: Option<String>,
    pub method: &'static str,
    pub path: String,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    Json(Value),
    /// What a file holds.
    File(String),
}

const LIMITS: [&str; 6] = [
    "--requests-per-second",
    "--burst",
    "--jobs-at-once",
    "--flops-per-day",
    "--amount-micros-per-month",
    "--stored-bytes-max",
];

/// Reads the words behind `admin`.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Call, OptionsError> {
    let mut words = Words::of(arguments)?;
    let url = words.take("--url");
    let plain = std::mem::take(&mut words.plain);
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let (method, path, body) = words.call(&plain)?;
    match words.options.into_iter().next() {
        Some((unknown, _)) => Err(OptionsError::UnknownOption(unknown)),
        None => Ok(Call { url, method, path, body }),
    }
}

/// Words, and options with their values.
struct Words {
    plain: Vec<String>,
    options: Vec<(String, String)>,
}

type Parts = (&'static str, String, Body);

impl Words {
    fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self, OptionsError> {
        let (mut plain, mut options) = (Vec::new(), Vec::new());
        while let Some(word) = arguments.next() {
            if word.starts_with("--") {
                let value = arguments.next().ok_or(OptionsError::MissingValue("an option"))?;
                options.push((word, value));
            } else {
                plain.push(word);
            }
        }
        Ok(Self { plain, options })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(option, _)| option == name)?;
        Some(self.options.remove(at).1)
    }

    fn call(&mut self, plain: &[&str]) -> Result<Parts, OptionsError> {
        let get = |path: String| Ok(("GET", path, Body::None));
        let post = |path: String, body: Value| Ok(("POST", path, Body::Json(body)));
        match plain {
            ["accounts"] => {
                let after = self.take("--after").map(|id| account("--after", &id)).transpose()?;
                let query = after.map(|id| format!("?after={id}")).unwrap_or_default();
                get(format!("/v1/admin/accounts{query}"))
            }
            ["account", "show", id] => get(account_path(id)?),
            ["account", "create", id] => {
                let mut body = self.settings()?;
                body.insert("id".into(), account("ID", id)?.as_str().into());
                post("/v1/admin/accounts".into(), Value::Object(body))
            }
            ["account", "limits", id] => post(account_path(id)?, Value::Object(self.settings()?)),
            ["account", "close", id] => post(account_path(id)?, json!({"closed": true})),
            ["account", "reopen", id] => post(account_path(id)?, json!({"closed": false})),
            ["keys", id] => get(account_path(id)? + "/keys"),
            ["key", "create", id] => post(account_path(id)? + "/keys", self.new_key()?),
            ["key", "revoke", id] => post(key_path(id)? + "/revoke", json!({})),
            ["key", "rotate", id] => {
                let overlap = self.take("--overlap-seconds");
                let overlap =
                    overlap.map(|value| number("--overlap-seconds", value)).transpose()?;
                let body = overlap.map_or(json!({}), |seconds| json!({"overlap_seconds": seconds}));
                post(key_path(id)? + "/rotate", body)
            }
            ["tariffs"] => get("/v1/admin/tariffs".into()),
            ["tariff", "add", file] => {
                Ok(("POST", "/v1/admin/tariffs".into(), Body::File((*file).into())))
            }
            ["credit", id, micros, reason] => {
                let micros: i64 = read("MICROS", micros, "a whole number")?;
                let body = json!({"amount_micros": micros, "reason": reason});
                post(account_path(id)? + "/credits", body)
            }
            ["correct", job, micros, reason] => {
                let id: JobId = job.parse().map_err(|()| bad("JOB", job, "32 digits"))?;
                let micros = number("MICROS", (*micros).into())?;
                let body =
                    json!({"job": id.to_string(), "amount_micros": micros, "reason": reason});
                post("/v1/admin/corrections".into(), body)
            }
            ["receipt-key", "rotate"] => post("/v1/admin/receipt-keys/rotate".into(), json!({})),
            ["drain"] => Ok(("POST", "/v1/admin/drain".into(), Body::None)),
            _ => Err(OptionsError::UnknownCommand(format!("admin {}", plain.join(" ")))),
        }
    }

    /// What is told of an account besides its id.
    fn settings(&mut self) -> Result<Map<String, Value>, OptionsError> {
        let mut settings = Map::new();
        for option in ["--name", "--tariff"] {
            if let Some(value) = self.take(option) {
                settings.insert(field(option), value.into());
            }
        }
        if let Some(value) = self.take("--prepaid") {
            let prepaid: bool = read("--prepaid", &value, "true or false")?;
            settings.insert("prepaid".into(), prepaid.into());
        }
        let mut limits = Map::new();
        for option in LIMITS {
            if let Some(value) = self.take(option) {
                let limit = if value == "none" { Value::Null } else { number(option, value)? };
                limits.insert(field(option), limit);
            }
        }
        if !limits.is_empty() {
            settings.insert("limits".into(), Value::Object(limits));
        }
        Ok(settings)
    }

    fn new_key(&mut self) -> Result<Value, OptionsError> {
        let option = "--scopes";
        let words = self.take(option).ok_or(OptionsError::MissingValue(option))?;
        let is_scope = |word: &str| Scope::ALL.iter().any(|scope| scope.name() == word);
        let scopes: Vec<&str> = words.split(',').collect();
        if !scopes.iter().all(|word| is_scope(word)) {
            return Err(bad(option, &words, "some of submit,read,admin"));
        }
        let mut key = json!({"scopes": scopes});
        if let Some(label) = self.take("--label") {
            key["label"] = label.into();
        }
        if let Some(seconds) = self.take("--expires-in-seconds") {
            key["expires_in_seconds"] = number("--expires-in-seconds", seconds)?;
        }
        Ok(key)
    }
}

/// The field of the API that an option sets.
fn field(option: &str) -> String {
    option.trim_start_matches('-').replace('-', "_")
}

fn account(option: &'static str, id: &str) -> Result<AccountId, OptionsError> {
    read(option, id, "1 to 32 of a-z, 0-9 and -")
}

fn account_path(id: &str) -> Result<String, OptionsError> {
    account("ACCOUNT", id).map(|id| format!("/v1/admin/accounts/{id}"))
}

fn key_path(id: &str) -> Result<String, OptionsError> {
    let key = KeyId::parse(id).ok_or_else(|| bad("ID", id, "a key's id, 16 digits"))?;
    Ok(format!("/v1/admin/keys/{key}"))
}

fn number(option: &'static str, value: String) -> Result<Value, OptionsError> {
    read::<u64>(option, &value, "a number").map(Value::from)
}

fn read<T: std::str::FromStr>(
    option: &'static str,
    value: &str,
    wanted: &'static str,
) -> Result<T, OptionsError> {
    value.parse().map_err(|_| bad(option, value, wanted))
}

fn bad(option: &'static str, value: &str, wanted: &'static str) -> OptionsError {
    OptionsError::BadValue { option, value: value.into(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Call, OptionsError> {
        parse(words.iter().map(ToString::to_string))
    }

    #[test]
    fn words_that_are_taken() {
        let job = "00112233445566778899aabbccddeeff";
        let post = |path: &str, body: Value| ("POST", path.to_owned(), Body::Json(body));
        let get = |path: &str| ("GET", path.to_owned(), Body::None);
        for (words, expected) in [
            (["accounts"].as_slice(), get("/v1/admin/accounts")),
            (&["accounts", "--after", "acme"], get("/v1/admin/accounts?after=acme")),
            (&["account", "show", "acme"], get("/v1/admin/accounts/acme")),
            (
                &[
                    "account",
                    "create",
                    "acme",
                    "--name",
                    "Acme & Co",
                    "--tariff",
                    "bulk",
                    "--prepaid",
                    "true",
                    "--jobs-at-once",
                    "4",
                    "--burst",
                    "none",
                ],
                post(
                    "/v1/admin/accounts",
                    json!({
                        "id": "acme", "name": "Acme & Co", "tariff": "bulk", "prepaid": true,
                        "limits": {"jobs_at_once": 4, "burst": null},
                    }),
                ),
            ),
            (
                &["account", "limits", "acme", "--flops-per-day", "9"],
                post("/v1/admin/accounts/acme", json!({"limits": {"flops_per_day": 9}})),
            ),
            (
                &["account", "close", "acme"],
                post("/v1/admin/accounts/acme", json!({"closed": true})),
            ),
            (&["keys", "acme"], get("/v1/admin/accounts/acme/keys")),
            (
                &["key", "create", "acme", "--scopes", "submit,read"],
                post("/v1/admin/accounts/acme/keys", json!({"scopes": ["submit", "read"]})),
            ),
            (
                &["key", "revoke", "0011223344556677"],
                post("/v1/admin/keys/0011223344556677/revoke", json!({})),
            ),
            (
                &["key", "rotate", "0011223344556677", "--overlap-seconds", "60"],
                post("/v1/admin/keys/0011223344556677/rotate", json!({"overlap_seconds": 60})),
            ),
            (&["tariffs"], get("/v1/admin/tariffs")),
            (
                &["tariff", "add", "bulk.json"],
                ("POST", "/v1/admin/tariffs".into(), Body::File("bulk.json".into())),
            ),
            (
                &["credit", "acme", "-5", "a mistake"],
                post(
                    "/v1/admin/accounts/acme/credits",
                    json!({"amount_micros": -5, "reason": "a mistake"}),
                ),
            ),
            (
                &["correct", job, "5", "it was late"],
                post(
                    "/v1/admin/corrections",
                    json!({"job": job, "amount_micros": 5, "reason": "it was late"}),
                ),
            ),
            (&["receipt-key", "rotate"], post("/v1/admin/receipt-keys/rotate", json!({}))),
            (&["drain"], ("POST", "/v1/admin/drain".into(), Body::None)),
        ] {
            let call = parse_words(words).map(|call| (call.method, call.path, call.body));
            assert_eq!(call, Ok(expected), "{words:?}");
        }
        let call = parse_words(&["--url", "http://g", "tariffs"]).expect("a call");
        assert_eq!(call.url.as_deref(), Some("http://g"));
    }

    #[test]
    fn words_that_are_refused() {
        for (words, message) in [
            ([].as_slice(), "\"admin \" is not a command"),
            (&["account", "create"], "\"admin account create\" is not a command"),
            (&["accounts", "--loud", "1"], "\"--loud\" is not an option"),
            (&["accounts", "--after"], "an option needs a value"),
            (
                &["account", "show", "../x"],
                "ACCOUNT is \"../x\", and should be 1 to 32 of a-z, 0-9 and -",
            ),
            (&["key", "create", "acme"], "--scopes needs a value"),
            (
                &["key", "create", "acme", "--scopes", "root"],
                "--scopes is \"root\", and should be some of submit,read,admin",
            ),
            (&["key", "revoke", "1"], "ID is \"1\", and should be a key's id, 16 digits"),
            (&["credit", "acme", "1.5", "half"], "MICROS is \"1.5\", and should be a whole number"),
        ] {
            assert_eq!(parse_words(words).expect_err("refused").to_string(), message);
        }
    }
}
