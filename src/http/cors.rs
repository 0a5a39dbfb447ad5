//! Cross-origin requests of browsers: which pages may read the replies (Fetch, section 3.3).

use alloc::string::String;
use alloc::vec::Vec;

use crate::http::grammar::is_authority;
use crate::http::head::{Method, RequestHead};

/// The origins whose pages may use the service. A page of any other gets its replies without
/// permission, so that its browser keeps them from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// None, and no reply speaks of origins.
    #[default]
    Off,
    /// Every one.
    Any,
    /// These, as browsers write them: scheme, host, and the port where it is not the scheme's own.
    Origins(Vec<String>),
}

/// What a page may read besides the fields that every page may.
const EXPOSED: &str = "Gemmule-Job, Gemmule-Flops, Gemmule-Amount-Micros, Gemmule-Currency, \
                       Gemmule-Shape, Gemmule-Dtype, Server-Timing, \
                       Inference-Header-Content-Length, Content-Digest, traceparent, \
                       Repr-Digest, ETag, Accept-Ranges, Content-Range, Location, \
                       WWW-Authenticate, Retry-After, RateLimit-Policy, RateLimit, Link, \
                       Gemmule-Cursor";

/// The methods that some path may take.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Seconds for which a browser may remember the answer to its question before the request.
const PREFLIGHT_SECONDS: &str = "86400";

impl Cors {
    /// The fields that the response to a request gets.
    pub fn response_fields(&self, head: &RequestHead) -> Vec<(&'static str, String)> {
        let allowed = match self {
            Self::Off => return Vec::new(),
            Self::Any => Some("*"),
            Self::Origins(origins) => {
                let asking = head.field_values("origin").next();
                origins.iter().map(String::as_str).find(|it| Some(it.as_bytes()) == asking)
            }
        };
        let mut fields = Vec::new();
        // A cache must not give one page's permission to another.
        if matches!(self, Self::Origins(_)) {
            fields.push(("Vary", "Origin".into()));
        }
        let is_asking = head.field_values("origin").next().is_some();
        let Some(allowed) = allowed.filter(|_| is_asking) else { return fields };
        fields.push(("Access-Control-Allow-Origin", allowed.into()));
        let mut preflight = head.field_values("access-control-request-method");
        if head.method == Method::Options && preflight.next().is_some() {
            // Permissions only: what a path does not take is still refused. No request has
            // credentials of the browser's, so that the asterisk stands for every field but the one
            // that is never meant by it (Fetch, section 3.3.3): a page that has a key may show it.
            fields.push(("Access-Control-Allow-Methods", METHODS.into()));
            fields.push(("Access-Control-Allow-Headers", "Authorization, *".into()));
            fields.push(("Access-Control-Max-Age", PREFLIGHT_SECONDS.into()));
        } else {
            fields.push(("Access-Control-Expose-Headers", EXPOSED.into()));
        }
        fields
    }

    /// Adds what a command line names: `*`, or an origin.
    pub fn allow(&mut self, origin: &str) -> Result<(), NotAnOrigin> {
        if origin == "*" {
            *self = Self::Any;
            return Ok(());
        }
        let (scheme, authority) = origin.split_once("://").ok_or(NotAnOrigin)?;
        let is_of = |text: &str, more: &[u8]| {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            text.bytes().all(|byte| is_plain(byte) || more.contains(&byte))
        };
        // No pattern: what the host of a URI may have besides would never be matched.
        let is_origin = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && is_of(scheme, b"+-.")
            && is_of(authority, b"-._:[]")
            && is_authority(authority)
            && !authority.ends_with(':');
        match self {
            _ if !is_origin => return Err(NotAnOrigin),
            Self::Any => {}
            Self::Off => *self = Self::Origins(alloc::vec![origin.into()]),
            Self::Origins(origins) => origins.push(origin.into()),
        }
        Ok(())
    }
}

/// Not an origin as browsers write one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnOrigin;
