//! The API, version 1: where requests go, who may send them, how a job is read, and how its reply
//! is written.

pub mod routes;

pub mod methods;

pub mod auth;

pub mod admin;

pub mod operation;

pub mod request;

mod forecast;

mod draft;

mod matrix;

pub mod single;

pub mod matrices;

pub(crate) mod refusal;

pub mod encode;

pub mod body;

mod sizes;

pub mod quote;

use alloc::vec::Vec;

use serde::Serialize;

pub use body::SmallBody;
pub use encode::Encoder;
pub use operation::{MultiplyRequest, Operation};
pub use request::MultiplyReader;
pub use routes::{Needs, Route};

/// What `GET /openapi.json` gives. `tests/openapi` makes it of the route table, the limits, the
/// problems and replies of the service, and fails where it is not what they say.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The JSON text of a value whose types can't fail to serialise: structs, strings and numbers.
pub fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("no map with non-string keys, no failing serialiser")
}
