//! One large body in, or out: how long it was on its way, without what was computed in between.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::http::{self, Response};

const TIMEOUT: Duration = Duration::from_secs(60);
const F64_BYTES: usize = size_of::<f64>();

/// Sends a row and a column of `bytes` together, whose product is one number: from the first byte
/// sent to the reply, without the time from the last byte to the result, which the bill tells.
pub fn upload(addr: SocketAddr, bytes: usize) -> io::Result<Duration> {
    let k = bytes / (2 * F64_BYTES);
    let row = (0..k).map(|index| (index % 7) as f64);
    let column = (0..k).map(|index| (index % 5) as f64);
    let product: f64 = row.clone().zip(column.clone()).map(|(a, b)| a * b).sum();
    let request = write_job(&format!("a=1x{k}&b={k}x1"), "application/json", row.chain(column));
    let mut stream = connect(addr)?;
    let started = Instant::now();
    stream.write_all(&request)?;
    let mut received = Vec::new();
    receive(&mut stream, &mut received)?;
    let elapsed = started.elapsed();
    let reply = parse(&received)?;
    if reply.status != 200 || reply.json()["c"][0][0] != product {
        return Err(io::Error::other(format!("wrong: {}", reply.text())));
    }
    let computing_us = reply.json()["bill"]["elapsed_us"].as_u64();
    let computing_us = computing_us.ok_or_else(|| io::Error::other("no time on the bill"))?;
    Ok(elapsed.saturating_sub(Duration::from_micros(computing_us)))
}

/// Receives the product of a column and a row, of `bytes`: from the first byte of the reply, before
/// which it was computed, to the last.
pub fn download(addr: SocketAddr, bytes: usize) -> io::Result<Duration> {
    let extent = (bytes / F64_BYTES).isqrt();
    let vector = (0..extent).map(|index| (index % 1000) as f64);
    let query = format!("a={extent}x1&b=1x{extent}");
    let elements = vector.clone().chain(vector.clone());
    let request = write_job(&query, "application/octet-stream", elements);
    let mut stream = connect(addr)?;
    stream.write_all(&request)?;
    // Written once before, so that no page of it is new to the kernel while time counts.
    let mut received = vec![1; bytes + 64 * 1024];
    received.clear();
    stream.peek(&mut [0])?;
    let started = Instant::now();
    receive(&mut stream, &mut received)?;
    let elapsed = started.elapsed();
    let reply = parse(&received)?;
    let product = vector.clone().flat_map(|a| vector.clone().map(move |b| a * b));
    if reply.status != 200 || !product.flat_map(f64::to_le_bytes).eq(reply.body) {
        return Err(io::Error::other("wrong product"));
    }
    Ok(elapsed)
}

fn write_job(query: &str, accept: &str, elements: impl Iterator<Item = f64>) -> Vec<u8> {
    let body: Vec<u8> = elements.flat_map(f64::to_le_bytes).collect();
    let fields = [("Content-Type", "application/octet-stream"), ("Accept", accept)];
    http::write_request("POST", &format!("/v1/multiply?{query}"), &fields, Some(&body))
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one reply into `received`, which is parsed when time no longer counts.
fn receive(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = vec![0; 256 * 1024];
    let mut end = None;
    while end.is_none_or(|end| received.len() < end) {
        let count = http::read(stream, &mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&chunk[..count]);
        end = end.or_else(|| reply_end(received));
    }
    Ok(())
}

/// Where the reply ends, once its head has come.
fn reply_end(received: &[u8]) -> Option<usize> {
    let head_bytes = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&received[..head_bytes]).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    Some(head_bytes + length.parse::<usize>().ok()?)
}

fn parse(received: &[u8]) -> io::Result<Response> {
    let parsed = http::parse_response(received, false, false).map_err(io::Error::other)?;
    parsed.map(|(reply, _)| reply).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
