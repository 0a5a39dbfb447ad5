//! One request over HTTP/1.1, and its reply.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use gemmule::http::body::{BodyReader, Piece};
use gemmule::http::head::Framing;

/// For each step: connecting, sending, and waiting for the next bytes.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// More than any reply has.
const REPLY_BYTES_MAX: u64 = 256 << 20;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Where the service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host and port.
    pub authority: String,
    /// What paths have before them; nothing, or a path without its last `/`.
    pub prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} is no URL as http://HOST:PORT; there is no TLS here");
        let rest = text.strip_prefix("http://").ok_or_else(wanted)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_sound = |byte: u8| byte.is_ascii_graphic() && !b"@?#".contains(&byte);
        if authority.is_empty() || !rest.bytes().all(is_sound) {
            return Err(wanted());
        }
        let path = path.trim_end_matches('/');
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let port = if has_port { "" } else { ":80" };
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { authority: format!("{authority}{port}"), prefix })
    }
}

/// Sends a request with a key, and waits for the reply.
pub fn send(
    url: &Url,
    key: &str,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
) -> io::Result<Reply> {
    let mut stream = connect(&url.authority)?;
    let mut request = format!(
        "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n\
         Connection: close\r\n",
        url.prefix, url.authority
    );
    if let Some(body) = body {
        request += "Content-Type: application/json\r\n";
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    stream.write_all(&[request.as_bytes(), body.unwrap_or_default()].concat())?;
    let mut text = Vec::new();
    stream.take(REPLY_BYTES_MAX).read_to_end(&mut text)?;
    read_reply(&text).ok_or_else(|| io::Error::other("the reply is no HTTP, or not whole"))
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("the name has no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, STEP_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(STEP_TIMEOUT))?;
                stream.set_write_timeout(Some(STEP_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// All that came on the connection, until it was closed, as a reply.
fn read_reply(text: &[u8]) -> Option<Reply> {
    let end = text.windows(HEAD_END.len()).position(|window| window == HEAD_END)?;
    let head = str::from_utf8(&text[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut framing = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            framing = Some(Framing::Length(value.trim().parse().ok()?));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Some(Framing::Chunked);
        }
    }
    let content = &text[end + HEAD_END.len()..];
    let body = match framing {
        // Until the connection is closed (RFC 9112, section 6.3).
        None => content.to_vec(),
        Some(framing) => read_body(BodyReader::new(framing), content)?,
    };
    Some(Reply { status, body })
}

/// The content, if it is whole.
fn read_body(mut reader: BodyReader, mut text: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (used, piece) = reader.read(text).ok()?;
        match piece {
            Piece::Content(content) => body.extend_from_slice(content),
            Piece::More if used == 0 => return None,
            Piece::More => {}
            Piece::End => return Some(body),
        }
        text = &text[used..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_service() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", Some(("127.0.0.1:8080", ""))),
            ("http://127.0.0.1:8080/", Some(("127.0.0.1:8080", ""))),
            ("http://g", Some(("g:80", ""))),
            ("http://[::1]", Some(("[::1]:80", ""))),
            ("http://[::1]:81/a/b/", Some(("[::1]:81", "/a/b"))),
            ("https://g", None),
            ("g:80", None),
            ("http://", None),
            ("http://a@g", None),
            ("http://g/a b", None),
        ] {
            let found = Url::parse(text).ok();
            let found = found.as_ref().map(|url| (url.authority.as_str(), url.prefix.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn replies_that_are_whole() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}"))),
            ("HTTP/1.1 401 \r\n\r\n{}", Some((401, "{}"))),
            ("HTTP/1.1 204 No Content\r\n\r\n", Some((204, ""))),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
                Some((200, "{}")),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", None),
            ("SSH-2.0-OpenSSH\r\n\r\n", None),
            ("", None),
        ] {
            let found = read_reply(text.as_bytes());
            let expected =
                expected.map(|(status, body): (u16, &str)| Reply { status, body: body.into() });
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
