//! HTTP/1.1 as a state machine without I/O (RFC 9110, RFC 9112).
//!
//! [`head`] turns bytes into a checked request head, `target` its target, [`body`] takes a message
//! body off the wire, [`connection`] is the server's side of one connection built from the two, and
//! [`response`] writes what goes back, a [`payload`] behind its head. [`condition`], [`range`],
//! [`cors`], [`digest`] and [`trace`] are about single fields, and [`server_events`] is the text of
//! replies that stay open.

mod grammar;

mod target;

pub mod body;
pub mod condition;
pub mod connection;
pub mod cors;
pub mod digest;
pub mod head;
pub mod payload;
pub mod prefer;
pub mod range;
pub mod response;
pub mod server_events;
pub mod trace;

pub use connection::{Connection, Event};
pub use cors::Cors;
pub use head::{Method, RequestHead};
pub use payload::{Payload, Piece};
pub use response::{Output, Response};
