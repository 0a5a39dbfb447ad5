//! What a flood of bad keys costs those who have good ones.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gemmule::billing::Tariff;
use gemmule::ledger::book::Book;
use gemmule::ledger::entry::Record;
use gemmule::ledger::{Account, AccountId, AccountLimits, ApiKey, KeyRecord, Scope, Volume};
use gemmule::limits::VOLUME_CACHE_BYTES_DEFAULT;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::file::FileDisk;
use crate::job::SMALL;
use crate::random::Random;
use crate::server::{Place, Server};
use crate::{Bar, Bound, median};

const GOOD_CONNECTIONS: usize = 16;
const BAD_CONNECTIONS: usize = 64;
const ROUNDS: usize = 9;
const WARM_UP: Duration = Duration::from_millis(300);
const SPAN: Duration = Duration::from_millis(1500);
const RATIO_LEAST: f64 = 0.9;
/// How often the flood looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(20);

pub fn measure() -> io::Result<Vec<Bar>> {
    let place = Place::new("flood");
    let good = ApiKey::from_random([7; 32]);
    write_account(&place, &good);
    let authorization = format!("Bearer {}", good.reveal());
    let server = Server::start(&["--data", place.text()])?;
    let rate = || SMALL.run(server.addr, GOOD_CONNECTIONS, Some(&authorization), WARM_UP, SPAN);
    let mut rates = Vec::new();
    let mut refusals = Vec::new();
    for _ in 0..ROUNDS {
        let quiet = rate()?;
        let flood = Flood::start(server.addr);
        let flooded = rate();
        refusals.push(flood.end()? as f64 / (WARM_UP + SPAN).as_secs_f64());
        rates.push([quiet, flooded?]);
    }
    let of = |part: fn(&[f64; 2]) -> f64| median(rates.iter().map(part).collect());
    let ratio = of(|[quiet, flooded]| flooded / quiet);
    println!(
        "{GOOD_CONNECTIONS} clients with a good key: {:.0} jobs/s, and {:.0} beside \
         {BAD_CONNECTIONS} with bad ones, of which {:.0} a second are refused",
        of(|rates| rates[0]),
        of(|rates| rates[1]),
        median(refusals)
    );
    Ok(vec![Bar {
        name: "jobs with good keys, beside a flood of bad ones / without".into(),
        figure: ratio,
        bound: Bound::Least(RATIO_LEAST),
    }])
}

/// A volume with one account, which the key is of.
fn write_account(place: &Place, key: &ApiKey) {
    let disk = FileDisk::open(place.path()).expect("the file opens");
    let volume = Volume::open(Box::new(disk), [1; 16], VOLUME_CACHE_BYTES_DEFAULT);
    let volume = Arc::new(volume.expect("an empty file"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let now = now.as_nanos() as u64;
    let mut book = Book::open(volume.clone(), now).expect("an empty volume");
    let tariff = Tariff::standard();
    let id: AccountId = "good".parse().expect("letters");
    let account = Account {
        id: id.clone(),
        name: String::new(),
        tariff: tariff.name.clone(),
        limits: AccountLimits::default(),
        prepaid: false,
        closed: false,
        created_unix_ns: now,
    };
    book.record(now, Record::Tariff(tariff));
    book.record(now, Record::Account(account));
    let scopes = [Scope::Submit].into_iter().collect();
    book.record(now, Record::Key(KeyRecord::new(key, id, scopes, String::new(), now)));
    let pending = book.take_pending(now).expect("the volume is read").expect("entries");
    pending.commit(&volume).expect("the volume is written");
}

/// Connections that try one key after another as fast as they are refused, and connect again where
/// they are closed.
struct Flood {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<io::Result<u64>>,
}

impl Flood {
    fn start(addr: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let end = is_over.clone();
        Self { is_over, thread: thread::spawn(move || flood(addr, &end)) }
    }

    /// How many keys were refused.
    fn end(self) -> io::Result<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn flood(addr: SocketAddr, is_over: &AtomicBool) -> io::Result<u64> {
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for index in 0..BAD_CONNECTIONS {
        streams.push(connect(&poll, index, addr)?);
    }
    let mut events = Events::with_capacity(BAD_CONNECTIONS);
    let mut random = Random::new(1);
    let mut scratch = [0; 16 * 1024];
    let mut refused = 0;
    while !is_over.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(GLANCE))?;
        for event in &events {
            let index = event.token().0;
            let answers = match try_key(&mut streams[index], &mut random, &mut scratch, event) {
                Ok(answers) => answers,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => {
                    streams[index] = connect(&poll, index, addr)?;
                    0
                }
            };
            refused += answers;
        }
    }
    Ok(refused)
}

fn connect(poll: &Poll, index: usize, addr: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(index), interest)?;
    Ok(stream)
}

/// Takes what has come, which is a refusal since it comes in one piece, and tries the next key.
fn try_key(
    stream: &mut TcpStream,
    random: &mut Random,
    scratch: &mut [u8],
    event: &mio::event::Event,
) -> io::Result<u64> {
    let mut answers = 0;
    if event.is_readable() {
        match stream.read(scratch)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => answers = 1,
        }
    } else if !event.is_writable() {
        return Ok(0);
    }
    let mut bits = [0; 32];
    for part in bits.chunks_exact_mut(8) {
        part.copy_from_slice(&random.next().to_le_bytes());
    }
    let bad = ApiKey::from_random(bits);
    let request = SMALL.request(Some(&format!("Bearer {}", bad.reveal())));
    stream.write_all(&request)?;
    Ok(answers)
}
