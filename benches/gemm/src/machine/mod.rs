//! Clocks, and what the machine itself can do.

mod fma;
mod read;

use std::fs;
use std::sync::Barrier;
use std::time::Duration;

pub use fma::FmaLoop;
pub use read::ReadLoop;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Of all threads of this process: one thread's figures are free of what else the machine
    /// does, and no contestant gains by a second thread.
    Cpu,
    Wall,
}

impl Clock {
    pub fn for_threads(threads: usize) -> Self {
        if threads == 1 { Self::Cpu } else { Self::Wall }
    }

    pub fn now(self) -> Duration {
        let clock = match self {
            Self::Cpu => libc::CLOCK_PROCESS_CPUTIME_ID,
            Self::Wall => libc::CLOCK_MONOTONIC,
        };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes one timespec, which is there.
        let status = unsafe { libc::clock_gettime(clock, &mut time) };
        assert_eq!(status, 0, "Linux has both clocks");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// Runs `work` on so many threads at once; from the first one's start to the last one's end. The
/// calling thread does it alone where there is to be one.
fn time_threads(threads: usize, clock: Clock, work: impl Fn(usize) + Sync) -> Duration {
    if threads == 1 {
        let before = clock.now();
        work(0);
        return clock.now() - before;
    }
    let barrier = Barrier::new(threads);
    let spans: Vec<(Duration, Duration)> = std::thread::scope(|scope| {
        let run = |thread| {
            barrier.wait();
            let before = clock.now();
            work(thread);
            (before, clock.now())
        };
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || (run)(thread))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic in a gauge")).collect()
    });
    let first = spans.iter().map(|(before, _)| *before).min().expect("threads");
    let last = spans.iter().map(|(_, after)| *after).max().expect("threads");
    last - first
}

/// The processor, and what its kernels can use.
pub fn describe() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let vectors = if is_x86_feature_detected!("avx512f") {
        "AVX-512"
    } else if is_x86_feature_detected!("fma") {
        "AVX2 and FMA"
    } else {
        "neither AVX-512 nor FMA"
    };
    format!("{}, {cores} cores, {vectors}", model.map_or("unknown processor", |(_, name)| name))
}
