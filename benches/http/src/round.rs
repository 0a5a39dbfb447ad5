//! The rounds of the measurement: in each, every server in turn does every kind of job.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::http::{Client as CheckingClient, Response};
use crate::job::{Job, Kind};
use crate::server::{self, Cores, Name, Server};

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(200);
const SPAN: Duration = Duration::from_millis(1200);
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// What every answer is compared with: long enough to hold the small product, and short enough to
/// be a part of every server's product, whatever comes behind.
const BODY_START_BYTES_MAX: usize = 64;

/// One server, one kind of job, one round.
struct Figure {
    kind: Kind,
    name: Name,
    per_second: f64,
    /// Shares of their cores that the two processes used.
    server_busy: f64,
    client_busy: f64,
}

/// All that was measured, and who was wrong.
#[derive(Default)]
pub struct Figures {
    figures: Vec<Figure>,
    cores: Cores,
    pub wrongs: Vec<String>,
}

pub fn measure(servers: &[Server], kinds: &[Kind], cores: Cores) -> Figures {
    let mut figures = Figures { cores, ..Figures::default() };
    let jobs: Vec<Job> = kinds.iter().copied().map(Job::new).collect();
    let mut runs = Vec::new();
    for (job, server) in jobs.iter().flat_map(|job| servers.iter().map(move |server| (job, server)))
    {
        if !server.name.takes(job.kind) {
            continue;
        }
        match body_start(server, job) {
            Ok(body_start) => runs.push((job, server, body_start)),
            Err(error) => figures.wrong(job.kind, server.name, &error),
        }
    }
    for _ in 0..ROUNDS {
        for (job, server, body_start) in &runs {
            match run(job, server, body_start) {
                Ok(figure) => figures.figures.push(figure),
                Err(error) => figures.wrong(job.kind, server.name, &error.to_string()),
            }
        }
    }
    figures
}

/// How the body of the right answer begins, after a whole answer was checked.
fn body_start(server: &Server, job: &Job) -> Result<Vec<u8>, String> {
    let request = job.request(server.name.target());
    let answer = || -> io::Result<Response> {
        let mut client = CheckingClient::connect(server.addr, CHECK_TIMEOUT)?;
        client.send(&request)?;
        client.receive()
    };
    let response = answer().map_err(|error| error.to_string())?;
    job.check(&response)?;
    let mut start = response.body;
    let product_end = memchr::memmem::find(&start, b"]]").map_or(start.len(), |at| at + 2);
    start.truncate(product_end.min(BODY_START_BYTES_MAX));
    Ok(start)
}

fn run(job: &Job, server: &Server, body_start: &[u8]) -> io::Result<Figure> {
    let request = job.request(server.name.target());
    let connections = job.kind.connections();
    let client = Client { addr: server.addr, connections, request: &request, body_start };
    let cpu_times =
        || Ok::<_, io::Error>([server.cpu_time()?, server::cpu_time(std::process::id())?]);
    let (before, started) = (cpu_times()?, Instant::now());
    let per_second = client.run(WARM_UP, SPAN)?;
    let (after, elapsed) = (cpu_times()?, started.elapsed().as_secs_f64());
    let busy = |index: usize| (after[index] - before[index]).as_secs_f64() / elapsed;
    let (kind, name) = (job.kind, server.name);
    Ok(Figure { kind, name, per_second, server_busy: busy(0), client_busy: busy(1) })
}

impl Figures {
    /// Whether, in some round, neither the server nor the client had its core for itself: then
    /// others were using them, and the rates are no measure. Where both share all cores, one of
    /// them at least is as busy as the server that has one thread.
    pub fn is_disturbed(&self) -> bool {
        let busy = |figure: &Figure| match self.cores {
            Cores::OneEach => figure.server_busy.max(figure.client_busy),
            Cores::Shared => figure.server_busy + figure.client_busy,
        };
        self.figures.iter().any(|figure| busy(figure) < 0.85)
    }

    fn wrong(&mut self, kind: Kind, name: Name, error: &str) {
        self.wrongs.push(format!("{}, {}: {error}", kind.text(), name.text()));
    }

    /// The median over the rounds of the ratio within a round.
    pub fn ratio(&self, kind: Kind, one: Name, other: Name) -> Option<f64> {
        let rates = |name| self.of(kind, name).map(|figure| figure.per_second);
        median(rates(one).zip(rates(other)).map(|(one, other)| one / other))
    }

    /// None where it was wrong once, or not there: then it has no speed.
    fn of(&self, kind: Kind, name: Name) -> impl Iterator<Item = &Figure> {
        let is_of = move |figure: &&Figure| figure.kind == kind && figure.name == name;
        let is_whole = self.figures.iter().filter(is_of).count() == ROUNDS;
        self.figures.iter().filter(is_of).take(if is_whole { ROUNDS } else { 0 })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:14} {:18} {:>11} {:>11} {:>7} {:>12} {:>7}",
            "", "", "requests/s", "least", "server", "us a request", "client"
        )?;
        for (kind, name) in
            Kind::ALL.into_iter().flat_map(|kind| Name::ALL.map(|name| (kind, name)))
        {
            let median_of = |part: fn(&Figure) -> f64| median(self.of(kind, name).map(part));
            let least =
                self.of(kind, name).map(|figure| figure.per_second).fold(f64::NAN, f64::min);
            let Some(per_second) = median_of(|figure| figure.per_second) else { continue };
            let [server, request_cpu, client] = [
                median_of(|figure| figure.server_busy).unwrap_or(f64::NAN),
                median_of(|figure| figure.server_busy / figure.per_second).unwrap_or(f64::NAN),
                median_of(|figure| figure.client_busy).unwrap_or(f64::NAN),
            ];
            writeln!(
                f,
                "{:14} {:18} {per_second:>11.1} {least:>11.1} {:>6.0}% {:>12.1} {:>6.0}%",
                kind.text(),
                name.text(),
                100.0 * server,
                1e6 * request_cpu,
                100.0 * client,
            )?;
        }
        Ok(())
    }
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
