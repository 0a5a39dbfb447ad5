//! `gemmule admin ...`: accounts, keys and tariffs of a running service, from the command line.

mod client;
mod commands;

use std::io::{self, Write};
use std::{env, fs};

use gemmule::ledger::ApiKey;

use client::{Reply, Url};
pub use commands::{Body, Call, USAGE, parse};

/// Where the service is, unless `--url` or `GEMMULE_URL` says otherwise.
const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// Makes the call and prints its reply; the exit status, which is 1 if it was refused.
pub fn run(call: &Call) -> u8 {
    match send(call).and_then(|reply| print(&reply)) {
        Ok(is_success) => u8::from(!is_success),
        Err(error) => {
            eprintln!("gemmule: {error}");
            1
        }
    }
}

fn send(call: &Call) -> Result<Reply, String> {
    let url = call.url.clone().or_else(|| env::var("GEMMULE_URL").ok());
    let url = Url::parse(url.as_deref().unwrap_or(URL_DEFAULT))?;
    // Not as an argument: every user of a machine sees those.
    let key = env::var("GEMMULE_KEY").map_err(|_| "GEMMULE_KEY must be a key with scope admin")?;
    if ApiKey::parse(key.as_bytes()).is_err() {
        return Err("GEMMULE_KEY is no key, or a mistyped one".into());
    }
    let body = match &call.body {
        Body::None => None,
        Body::Json(value) => Some(value.to_string().into_bytes()),
        Body::File(path) => Some(fs::read(path).map_err(|error| format!("{path}: {error}"))?),
    };
    client::send(&url, &key, call.method, &call.path, body.as_deref())
        .map_err(|error| format!("{}: {error}", url.authority))
}

/// A reply to what was asked goes where it can be piped on; a problem goes beside it.
fn print(reply: &Reply) -> Result<bool, String> {
    let is_success = matches!(reply.status, 200..300);
    let text = [reply.body.as_slice(), b"\n"].concat();
    let written = if is_success {
        let mut out = io::stdout().lock();
        out.write_all(&text).and_then(|()| out.flush())
    } else {
        io::stderr().lock().write_all(&text)
    };
    written.map_err(|error| error.to_string())?;
    Ok(is_success)
}
