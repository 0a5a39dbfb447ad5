//! Jobs a second where each waits for its charge to be on the disk, against a ledger in memory.

use std::io;
use std::time::Duration;

use crate::job::{Job, SMALL};
use crate::server::{Place, Server};
use crate::{Bar, Bound, median};

const JOBS: [Job; 3] = [
    SMALL,
    Job { name: "64x64 .npy", order: 64, is_json: false },
    Job { name: "256x256 .npy", order: 256, is_json: false },
];
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 7;
const WARM_UP: Duration = Duration::from_millis(200);
const SPAN: Duration = Duration::from_millis(1200);
const RATIO_LEAST: f64 = 0.6;

pub fn measure() -> io::Result<Vec<Bar>> {
    let place = Place::new("durable");
    let ephemeral = Server::start(&["--anonymous"])?;
    let durable = Server::start(&["--anonymous", "--data", place.text()])?;
    let mut figures = JOBS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (job, figures) in JOBS.iter().zip(&mut figures) {
            let rate = |server: &Server| job.run(server.addr, CONNECTIONS, None, WARM_UP, SPAN);
            figures.push([rate(&ephemeral)?, rate(&durable)?]);
        }
    }
    println!("{:14} {:>12} {:>12} {:>7} {:>7}", "jobs/s", "ephemeral", "durable", "ratio", "least");
    let mut bars = Vec::new();
    for (job, figures) in JOBS.iter().zip(figures) {
        let of = |part: fn(&[f64; 2]) -> f64| figures.iter().map(part).collect::<Vec<_>>();
        let ratios = of(|[ephemeral, durable]| durable / ephemeral);
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let ratio = median(ratios);
        let [ephemeral, durable] = [median(of(|rates| rates[0])), median(of(|rates| rates[1]))];
        let name = job.name;
        println!("{name:14} {ephemeral:>12.0} {durable:>12.0} {ratio:>7.2} {least:>7.2}");
        bars.push(Bar {
            name: format!("{name}, {CONNECTIONS} clients: durable / ephemeral"),
            figure: ratio,
            bound: Bound::Least(RATIO_LEAST),
        });
    }
    Ok(bars)
}
