//! What is asked of the servers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client;
use crate::http::{self, Client};

const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// The part of an answer that all are compared with: within the first row of every product.
const BODY_START_BYTES: usize = 16;

/// C = A B of square matrices.
pub struct Job {
    pub name: &'static str,
    pub order: usize,
    pub is_json: bool,
}

pub const SMALL: Job = Job { name: "2x2 JSON", order: 2, is_json: true };

impl Job {
    pub fn request(&self, authorization: Option<&str>) -> Vec<u8> {
        let (media_type, body) = if self.is_json {
            ("application/json", br#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#.to_vec())
        } else {
            ("application/x-npy", self.npy().repeat(2))
        };
        let mut fields = vec![("Content-Type", media_type)];
        fields.extend(authorization.map(|text| ("Authorization", text)));
        http::write_request("POST", "/v1/multiply", &fields, Some(&body))
    }

    /// Requests a second over `span`, by that many connections.
    pub fn run(
        &self,
        addr: SocketAddr,
        connections: usize,
        authorization: Option<&str>,
        warm_up: Duration,
        span: Duration,
    ) -> io::Result<f64> {
        let request = self.request(authorization);
        let mut first = Client::connect(addr, CHECK_TIMEOUT)?;
        first.send(&request)?;
        let answer = first.receive()?;
        if answer.status != 200 {
            return Err(io::Error::other(String::from_utf8_lossy(&answer.body)));
        }
        let body_start = &answer.body[..BODY_START_BYTES];
        let client = client::Client { addr, connections, request: &request, body_start };
        client.run(warm_up, span)
    }

    /// Version 1.0 of the format, as `numpy.save` writes it. Elements are small integers.
    fn npy(&self) -> Vec<u8> {
        const BEFORE_HEADER: usize = 10;
        let order = self.order;
        let header =
            format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({order}, {order}), }}");
        let length = (BEFORE_HEADER + header.len() + 1).next_multiple_of(64) - BEFORE_HEADER;
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(length as u16).to_le_bytes());
        bytes.extend_from_slice(format!("{header:<width$}\n", width = length - 1).as_bytes());
        let elements = (0..order * order).map(|at| (at % 10) as f64);
        bytes.extend(elements.flat_map(f64::to_le_bytes));
        bytes
    }
}
