//! A chain of stored matrices: what is computed of it, and what goes over the network for it.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::host::Host;
use super::support::http::{self, Response, parse_response, write_request};
use super::support::random::Random;

/// Rows of the matrices, and the columns of the last. Elements are -1, 0 and 1, so that all sums of
/// products are whole numbers below 2^53, which are exact in whatever order they are added.
const EXTENTS: [usize; 9] = [300, 20, 400, 10, 250, 30, 500, 16, 200];

/// What goes either way besides matrices, in heads and in the JSON that says what is to be done and
/// what was: less than the shortest of the operands, so that none of them can be part of it.
const ASIDE_BYTES_MAX: usize = 14 * 1024;

/// A connection that counts what goes over it.
struct Counted {
    stream: TcpStream,
    sent_bytes: usize,
    received_bytes: usize,
}

impl Counted {
    fn ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        let request = write_request(method, target, fields, body);
        self.stream.write_all(&request).expect("it is taken");
        self.sent_bytes += request.len();
        let (mut received, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            let reply = parse_response(&received, false, false).expect("a sound reply");
            if let Some((response, bytes)) = reply {
                assert_eq!(bytes, received.len(), "nothing is sent unasked");
                assert!(response.status < 400, "{method} {target}: {}", response.text());
                return response;
            }
            let count = http::read(&mut self.stream, &mut chunk).expect("a reply");
            assert!(count > 0, "{method} {target}: the connection is closed");
            received.extend_from_slice(&chunk[..count]);
            self.received_bytes += count;
        }
    }
}

/// Whole numbers, row by row.
struct Matrix {
    rows: usize,
    columns: usize,
    elements: Vec<i64>,
}

impl Matrix {
    fn random((rows, columns): (usize, usize), random: &mut Random) -> Self {
        let elements = (0..rows * columns).map(|_| random.below(3) as i64 - 1);
        Self { rows, columns, elements: elements.collect() }
    }

    fn times(&self, other: &Self) -> Self {
        let mut elements = vec![0; self.rows * other.columns];
        for (row, sums) in elements.chunks_mut(other.columns).enumerate() {
            let factors = &self.elements[row * self.columns..][..self.columns];
            for (factor, terms) in factors.iter().zip(other.elements.chunks(other.columns)) {
                sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += factor * term);
            }
        }
        Self { rows: self.rows, columns: other.columns, elements }
    }

    /// The file that NumPy's `save` writes of it in `f64`.
    fn npy(&self) -> Vec<u8> {
        let (rows, columns) = (self.rows, self.columns);
        let mut header =
            format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(self.elements.iter().flat_map(|element| (*element as f64).to_le_bytes()));
        bytes
    }
}

/// The operations of every way to put brackets around the product of the matrices from `first` to
/// `last`.
fn flops_of_all(first: usize, last: usize) -> Vec<u64> {
    if first == last {
        return vec![0];
    }
    let mut all = Vec::new();
    for cut in first..last {
        let ends = [EXTENTS[first], EXTENTS[cut + 1], EXTENTS[last + 1]];
        let own = 2 * ends.iter().map(|extent| *extent as u64).product::<u64>();
        let (left, right) = (flops_of_all(first, cut), flops_of_all(cut + 1, last));
        all.extend(left.iter().flat_map(|left| right.iter().map(move |right| left + right + own)));
    }
    all
}

#[test]
fn a_chain_of_eight_takes_the_fewest_operations_and_sends_each_matrix_once() {
    let mut random = Random::new(6);
    let shapes = EXTENTS.windows(2).map(|pair| (pair[0], pair[1]));
    let matrices: Vec<Matrix> = shapes.map(|shape| Matrix::random(shape, &mut random)).collect();
    let files: Vec<Vec<u8>> = matrices.iter().map(Matrix::npy).collect();
    assert!(files.iter().all(|file| file.len() > ASIDE_BYTES_MAX));
    let host = Host::serve(&["--threads", "2"]);
    let stream = TcpStream::connect(host.addr()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket has time-outs");
    let mut client = Counted { stream, sent_bytes: 0, received_bytes: 0 };

    let npy = ("Content-Type", "application/x-npy");
    let stored = files.iter().enumerate().map(|(index, file)| {
        let target = format!("/v1/matrices?name=m{index}");
        client.ask("POST", &target, &[npy], Some(file)).status
    });
    assert_eq!(stored.collect::<Vec<_>>(), [201; 8]);
    let names: Vec<String> = (0..matrices.len()).map(|index| format!("M{index}")).collect();
    let operands = (0..matrices.len())
        .map(|index| (format!("M{index}"), json!({"reference": format!("m{index}")})));
    let operands: serde_json::Map<String, Value> = operands.collect();
    let job = json!({"operands": operands, "expression": {"multiply": names}}).to_string();
    let fields = [("Content-Type", "application/json"), ("Prefer", "wait=60")];
    let done = client.ask("POST", "/v1/jobs", &fields, Some(job.as_bytes()));
    assert_eq!((done.status, &done.json()["state"]), (200, &json!("finished")), "{}", done.text());
    let url = done.field("Location").expect("where it is").to_owned();
    let place = client.ask("GET", &format!("{url}/result"), &[], None);
    let place = place.field("Location").expect("a place").to_owned();
    let result = client.ask("GET", &place, &[("Accept", "application/x-npy")], None);
    let bill = client.ask("GET", &format!("{url}/bill"), &[], None).json();

    let product = matrices[1..].iter().fold(None, |product: Option<Matrix>, next| {
        Some(product.as_ref().unwrap_or(&matrices[0]).times(next))
    });
    let product = product.expect("there are several");
    assert!(product.elements.iter().any(|element| *element != 0));
    assert!(result.body == product.npy(), "the result is right to the bit");
    let all = flops_of_all(0, matrices.len() - 1);
    assert_eq!(all.len(), 429, "as many as there are trees with eight leaves");
    assert_eq!(Some(&bill["flops"]), all.iter().min().map(|least| json!(least)).as_ref());
    let lines = bill["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), matrices.len() - 1);
    assert_eq!(lines[0]["bytes_in"], json!(job.len()), "what is billed is the job's own body");

    let operands_bytes: usize = files.iter().map(Vec::len).sum();
    let asides = [client.sent_bytes - operands_bytes, client.received_bytes - result.body.len()];
    assert!(asides.iter().all(|aside| *aside <= ASIDE_BYTES_MAX), "{asides:?}");
}
