//! A small blocking HTTP/1.1 client for tests: raw bytes in, a parsed response out.
//!
//! It is deliberately not the server's own HTTP code, so that a shared misreading of RFC 9112
//! cannot hide itself. It is strict: what a sound server would not send is an error, not a guess.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// One connection. Requests may be pipelined: `send` several times, then `receive` as often.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// `timeout` bounds the connect and, from then on, each single read and write.
    pub fn connect(addr: SocketAddr, timeout: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&addr, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, received: Vec::new() })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next response to anything but HEAD. An interim (1xx) response is returned like any
    /// other.
    pub fn receive(&mut self) -> io::Result<Response> {
        self.receive_to(false)
    }

    /// The next response, to a HEAD request: its Content-Length announces a body that never comes.
    pub fn receive_head(&mut self) -> io::Result<Response> {
        self.receive_to(true)
    }

    fn receive_to(&mut self, head_request: bool) -> io::Result<Response> {
        let mut closed = false;
        loop {
            match parse_response(&self.received, head_request, closed).map_err(io::Error::other)? {
                Some((response, bytes)) => {
                    self.received.drain(..bytes);
                    return Ok(response);
                }
                None if closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => {}
            }
            let mut chunk = [0; 64 * 1024];
            let count = read(&mut self.stream, &mut chunk)?;
            self.received.extend_from_slice(&chunk[..count]);
            closed = count == 0;
        }
    }

    /// Sends one request with the given fields (a name and a value each) and returns its response.
    /// Host is always added, Content-Length unless there is no body.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Response> {
        self.send(&write_request(method, target, fields, body))?;
        self.receive_to(method == "HEAD")
    }

    pub fn get(&mut self, target: &str) -> io::Result<Response> {
        self.request("GET", target, &[], None)
    }

    /// Posts a JSON job to /v1/multiply.
    pub fn post_job(&mut self, json: &str) -> io::Result<Response> {
        self.send(&write_job(json))?;
        self.receive()
    }

    /// The half-close of a client that has asked all it wants to ask.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Waits until the server closes, and returns what it sent before that beyond whole responses.
    pub fn wait_closed(mut self) -> io::Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.received)?;
        Ok(self.received)
    }
}

/// Reads what there is. A read with a time-out is not taken up again after a signal (signal(7)),
/// and a process that starts others gets one whenever they end.
pub fn read(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// One POST of a JSON job on a connection of its own.
pub fn post_job(addr: SocketAddr, json: &str, timeout: Duration) -> io::Result<Response> {
    Client::connect(addr, timeout)?.post_job(json)
}

pub fn write_job(json: &str) -> Vec<u8> {
    let fields = [("Content-Type", "application/json")];
    write_request("POST", "/v1/multiply", &fields, Some(json.as_bytes()))
}

pub fn write_request(
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: gemmule.test\r\n").into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if let Some(body) = body {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    /// Names as they were sent, values without surrounding white space, in order.
    pub fields: Vec<(String, String)>,
    /// Without transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first field of this name. RFC 9110 section 5.1: names are case-insensitive.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(sent, _)| sent.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is not UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is not JSON ({error}): {}", self.text()))
    }

    /// RFC 9112 section 9.3: an HTTP/1.1 connection persists unless either side says close.
    pub fn closes(&self) -> bool {
        self.field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Parses the response at the start of `received`: it and its length in bytes, or `None` while
/// bytes are missing. `closed` says that no more will come, which ends a body without a length.
pub fn parse_response(
    received: &[u8],
    head_request: bool,
    closed: bool,
) -> Result<Option<(Response, usize)>, String> {
    let Some(head_bytes) = find(received, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&received[..head_bytes]).map_err(|_| "head is not UTF-8")?;
    let mut response = parse_head(head)?;
    let rest = &received[head_bytes + 4..];
    let body = if head_request || matches!(response.status, 100..=199 | 204 | 304) {
        Some((Vec::new(), 0))
    } else if let Some(coding) = response.field("Transfer-Encoding") {
        if !coding.eq_ignore_ascii_case("chunked") || response.field("Content-Length").is_some() {
            return Err(format!("unsound framing: {:?}", response.fields));
        }
        parse_chunks(rest)?
    } else if let Some(length) = response.field("Content-Length") {
        let length = length.parse().map_err(|_| format!("Content-Length {length:?}"))?;
        rest.get(..length).map(|body| (body.to_vec(), length))
    } else {
        closed.then(|| (rest.to_vec(), rest.len()))
    };
    Ok(body.map(|(body, body_bytes)| {
        response.body = body;
        (response, head_bytes + 4 + body_bytes)
    }))
}

fn parse_head(head: &str) -> Result<Response, String> {
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let unsound = || format!("status line {status_line:?}");
    let after_version = status_line.strip_prefix("HTTP/1.1 ").ok_or_else(unsound)?;
    let (status, reason) = after_version.split_once(' ').ok_or_else(unsound)?;
    if status.len() != 3 {
        return Err(unsound());
    }
    let status = status.parse().map_err(|_| unsound())?;
    let fields = lines
        .map(|line| match line.split_once(':') {
            // RFC 9112 section 5.1: no white space between the name and the colon.
            Some((name, value)) if !name.is_empty() && !name.contains([' ', '\t']) => {
                Ok((name.to_string(), value.trim_matches([' ', '\t']).to_string()))
            }
            _ => Err(format!("field line {line:?}")),
        })
        .collect::<Result<_, _>>()?;
    Ok(Response { status, reason: reason.to_string(), fields, body: Vec::new() })
}

/// RFC 9112 section 7.1. Chunk extensions are skipped, and so is the trailer section.
fn parse_chunks(coded: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(line_bytes) = find(&coded[at..], b"\r\n") else { return Ok(None) };
        let line = String::from_utf8_lossy(&coded[at..at + line_bytes]);
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("chunk size {line:?}"))?;
        let data_at = at + line_bytes + 2;
        if size == 0 {
            // The last chunk's own CRLF may be the first half of the blank line that ends it all.
            let end = find(&coded[data_at - 2..], b"\r\n\r\n");
            return Ok(end.map(|end| (body, data_at - 2 + end + 4)));
        }
        let Some(data) = coded.get(data_at..data_at.saturating_add(size).saturating_add(2)) else {
            return Ok(None);
        };
        if !data.ends_with(b"\r\n") {
            return Err("chunk data does not end where its size says".to_string());
        }
        body.extend_from_slice(&data[..size]);
        at = data_at + size + 2;
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
