//! What is asked of the servers, and whether they answer right.

use serde::Deserialize;

use crate::http::{self, Response};
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 2 x 2, in JSON.
    SmallJson,
    /// 512 x 512 in f64, as NumPy saves them: the second array behind the first.
    LargeNpy,
    /// 512 x 512, in JSON, of numbers as they come: 17 digits or about.
    LargeJson,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::SmallJson, Self::LargeNpy, Self::LargeJson];

    pub fn text(self) -> &'static str {
        match self {
            Self::SmallJson => "2x2 JSON",
            Self::LargeNpy => "512x512 .npy",
            Self::LargeJson => "512x512 JSON",
        }
    }

    /// Clients at once. Few keep a server busy with large jobs; more would only hold memory.
    pub fn connections(self) -> usize {
        match self {
            Self::SmallJson => 64,
            Self::LargeNpy | Self::LargeJson => 4,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::SmallJson | Self::LargeJson => "application/json",
            Self::LargeNpy => "application/x-npy",
        }
    }
}

/// C = A B of square matrices.
pub struct Job {
    pub kind: Kind,
    order: usize,
    body: Vec<u8>,
    c: Vec<f64>,
}

#[derive(Deserialize)]
struct Product {
    c: Vec<Vec<f64>>,
}

impl Job {
    pub fn new(kind: Kind) -> Self {
        let mut random = Random::new(1);
        let order = match kind {
            Kind::SmallJson => 2,
            Kind::LargeNpy | Kind::LargeJson => 512,
        };
        let mut matrix = || -> Vec<f64> {
            let element = |_| match kind {
                Kind::SmallJson => random.below(10) as f64,
                // Uniform in -1 to 1: 53 random bits, of which the last is worth 2^-52.
                _ => (random.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0,
            };
            (0..order * order).map(element).collect()
        };
        let (a, b) = (matrix(), matrix());
        let body = match kind {
            Kind::LargeNpy => [npy(&a, order), npy(&b, order)].concat(),
            _ => format!("{{\"a\":{},\"b\":{}}}", json(&a, order), json(&b, order)).into_bytes(),
        };
        Self { kind, order, body, c: product(&a, &b, order) }
    }

    pub fn request(&self, target: &str) -> Vec<u8> {
        let fields = [("Content-Type", self.kind.media_type())];
        http::write_request("POST", target, &fields, Some(&self.body))
    }

    /// Whether a response holds the product. Elements are sums of `order` products of numbers below
    /// 1, so each may be off by that many roundings of sums below `order`.
    pub fn check(&self, response: &Response) -> Result<(), String> {
        if response.status != 200 {
            let text = String::from_utf8_lossy(&response.body);
            return Err(format!("status {}: {text:.200}", response.status));
        }
        let c = match self.kind {
            Kind::LargeNpy => read_npy(&response.body, self.order)?,
            _ => {
                let product: Product = serde_json::from_slice(&response.body)
                    .map_err(|error| format!("not a product in JSON: {error}"))?;
                product.c.concat()
            }
        };
        let order = self.order as f64;
        let bound = order * order * f64::EPSILON;
        let is_right = c.len() == self.c.len()
            && c.iter().zip(&self.c).all(|(got, right)| (got - right).abs() <= bound);
        if is_right { Ok(()) } else { Err("another product".to_string()) }
    }
}

/// In the order in which C is written, so that the compiler can use vectors.
fn product(a: &[f64], b: &[f64], order: usize) -> Vec<f64> {
    let mut c = vec![0.0; order * order];
    for (row_of_a, row_of_c) in a.chunks(order).zip(c.chunks_mut(order)) {
        for (left, row_of_b) in row_of_a.iter().zip(b.chunks(order)) {
            for (sum, right) in row_of_c.iter_mut().zip(row_of_b) {
                *sum += left * right;
            }
        }
    }
    c
}

fn json(elements: &[f64], columns: usize) -> String {
    let row = |row: &[f64]| {
        let numbers: Vec<String> = row.iter().map(f64::to_string).collect();
        format!("[{}]", numbers.join(","))
    };
    let rows: Vec<String> = elements.chunks(columns).map(row).collect();
    format!("[{}]", rows.join(","))
}

/// Version 1.0 of the format, as `numpy.save` writes it: the header is padded so that the elements
/// begin at a multiple of 64 bytes.
fn npy(elements: &[f64], order: usize) -> Vec<u8> {
    const BEFORE_HEADER: usize = 10;
    let header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({order}, {order}), }}");
    let length = (BEFORE_HEADER + header.len() + 1).next_multiple_of(64) - BEFORE_HEADER;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(length as u16).to_le_bytes());
    bytes.extend_from_slice(format!("{header:<width$}\n", width = length - 1).as_bytes());
    bytes.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
    bytes
}

fn read_npy(bytes: &[u8], order: usize) -> Result<Vec<f64>, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY\x01\x00").ok_or("not .npy of version 1.0")?;
    let (length, rest) = rest.split_first_chunk().ok_or("no length of the header")?;
    let (header, elements) =
        rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or("no whole header")?;
    let header = String::from_utf8_lossy(header);
    let shape = format!("'shape': ({order}, {order})");
    for part in ["'descr': '<f8'", "'fortran_order': False", &shape] {
        if !header.contains(part) {
            return Err(format!("{part} is not in {header}"));
        }
    }
    let (elements, rest) = elements.as_chunks();
    match rest {
        [] => Ok(elements.iter().map(|element| f64::from_le_bytes(*element)).collect()),
        _ => Err("a part of an element behind the others".to_string()),
    }
}
