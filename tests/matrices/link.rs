//! An upload over a link that breaks again and again: one digest, and no byte sent twice beyond a
//! chunk. `make test-upload BYTES=10737418240` is the same with more.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, io, thread};

use gemmule::gemm::Dtype;
use gemmule::store::{AddressHasher, Layout};

use crate::support::host::Host;
use crate::support::http::{Client, Response};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A link to a server, each of whose connections breaks after so many bytes.
struct Link {
    addr: std::net::SocketAddr,
    /// Bytes that went towards the server.
    carried: Arc<AtomicU64>,
}

impl Link {
    fn to(server: std::net::SocketAddr, breaks_after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let carried = Arc::new(AtomicU64::new(0));
        let counter = carried.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { break };
                let counter = counter.clone();
                thread::spawn(move || carry(client, server, breaks_after, &counter));
            }
        });
        Self { addr, carried }
    }
}

/// Carries bytes both ways until so many have come, then breaks both connections.
fn carry(client: TcpStream, server: TcpStream, breaks_after: u64, carried: &AtomicU64) {
    let (mut from, mut back) =
        (server.try_clone().expect("a handle"), client.try_clone().expect("one"));
    let down = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let (mut input, mut output) = (client, server);
    let mut left = breaks_after;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let room = buffer.len().min(left as usize);
        let Ok(bytes @ 1..) = io::Read::read(&mut input, &mut buffer[..room]) else { break };
        if output.write_all(&buffer[..bytes]).is_err() {
            break;
        }
        carried.fetch_add(bytes as u64, Ordering::Relaxed);
        left -= bytes as u64;
    }
    let _ = output.shutdown(Shutdown::Both);
    let _ = input.shutdown(Shutdown::Both);
    let _ = down.join();
}

/// Elements by their place, so that no upload has to be held.
fn fill(offset: u64, out: &mut [u8]) {
    for (at, byte) in (offset..).zip(out) {
        let element = at / 4;
        *byte = ((element % 8191) as f32).to_le_bytes()[(at % 4) as usize];
    }
}

/// Who sends, over one connection until that breaks.
struct Sender<'a> {
    link: &'a Link,
    client: Option<Client>,
    breaks: u64,
}

impl Sender<'_> {
    /// Asks until there is an answer, over as many connections as it takes. After a chunk whose
    /// connection broke, that is where the upload goes on.
    fn ask(&mut self, method: &str, target: &str, range: &str, body: &[u8]) -> Response {
        let fields = [("Content-Range", range)];
        let fields = if range.is_empty() { &fields[..0] } else { &fields[..] };
        loop {
            let client = match self.client.take() {
                Some(client) => Ok(client),
                None => Client::connect(self.link.addr, TIMEOUT),
            };
            let asked = client.and_then(|mut client| {
                let reply = client.request(method, target, fields, Some(body))?;
                self.client = Some(client);
                Ok(reply)
            });
            match asked {
                // A chunk that came whole is still being written, though its connection broke.
                Ok(reply) if reply.status == 409 => thread::yield_now(),
                Ok(reply) => return reply,
                Err(_) => {
                    self.breaks += 1;
                    if method == "PATCH" {
                        return self.ask("GET", target, "", b"");
                    }
                }
            }
        }
    }
}

fn offset(reply: &Response) -> u64 {
    reply.field("Gemmule-Upload-Offset").expect("an offset").parse().expect("a number")
}

fn upload(bytes: u64, breaks_after: u64, chunk: usize, arguments: &[&str]) {
    let layout = Layout { dtype: Dtype::F32, rows: (bytes / 4096) as usize, columns: 1024 };
    let bytes = layout.bytes();
    let mut hasher = AddressHasher::new(&layout);
    let mut buffer = vec![0; chunk];
    for at in (0..bytes).step_by(chunk) {
        let piece = &mut buffer[..chunk.min((bytes - at) as usize)];
        fill(at, piece);
        hasher.update(piece);
    }
    let id = hasher.finish();
    let host = Host::serve(arguments);
    let link = Link::to(host.addr(), breaks_after);
    let begin = format!("/v1/matrices/uploads?dtype=f32&shape={}x1024", layout.rows);
    let mut sender = Sender { link: &link, client: None, breaks: 0 };
    let begun = sender.ask("POST", &begin, "", b"");
    assert_eq!(begun.status, 202, "{}", begun.text());
    let upload = begun.field("Location").expect("where it is").to_owned();
    let (mut at, mut told) = (0, 0);
    while at < bytes {
        let piece = &mut buffer[..chunk.min((bytes - at) as usize)];
        fill(at, piece);
        let range = format!("bytes {at}-{}/{bytes}", at + piece.len() as u64 - 1);
        let reply = sender.ask("PATCH", &upload, &range, piece);
        assert!([202, 204, 416].contains(&reply.status), "{}", reply.text());
        at = offset(&reply);
        assert!(at >= told, "what has come stays");
        told = at;
    }
    let stored = sender.ask("PUT", &format!("{upload}?digest={id}"), "", b"");
    // Where the reply was lost, the upload is over, and the matrix there.
    assert!([201, 404].contains(&stored.status), "{}", stored.text());
    let there = Client::connect(host.addr(), TIMEOUT)
        .and_then(|mut client| client.request("HEAD", &format!("/v1/matrices/{id}"), &[], None));
    assert_eq!(there.expect("a reply").status, 200);
    let breaks = sender.breaks;
    let carried = link.carried.load(Ordering::Relaxed);
    // Heads are some hundred bytes each.
    let heads = (bytes / chunk as u64 + 4 * breaks + 8) * 1024;
    let twice = carried.saturating_sub(bytes);
    println!("{bytes} bytes in chunks of {chunk}: {breaks} breaks, {twice} bytes besides, {id}");
    assert!(breaks >= bytes / breaks_after / 2, "the link did break: {breaks}");
    assert!(twice <= breaks * chunk as u64 + heads, "{twice} bytes were sent twice");
}

#[test]
fn no_byte_is_sent_twice_beyond_a_chunk() {
    upload(24 << 20, 1 << 20, 256 << 10, &[]);
}

#[test]
#[ignore = "it takes BYTES of disk, and minutes: make test-upload"]
fn no_byte_of_many_is_sent_twice_beyond_a_chunk() {
    let number = |name: &str, default: u64| {
        env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
    };
    let bytes = number("BYTES", 1 << 30);
    let breaks_after = number("BREAKS", 100 << 20);
    let chunk = number("CHUNK", 16 << 20) as usize;
    let directory = env::temp_dir().join(format!("gemmule-upload-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a place for the volume");
    let path = directory.join("volume");
    upload(bytes, breaks_after, chunk, &["--data", path.to_str().expect("text")]);
    std::fs::remove_dir_all(&directory).expect("it is there");
}
