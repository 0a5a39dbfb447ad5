//! Accounts take turns: whatever one asks for, another gets its part, and soon.

mod support;

use gemmule::job::queue::{AccountIndex, FairQueue};
use support::random::Random;

/// What a slice takes at most, in a unit of no importance here.
const SLICE: u64 = 1000;
const SEEDS: u64 = 200;

/// A job that is served in slices.
#[derive(Debug)]
struct Job {
    account: AccountIndex,
    work_left: u64,
}

/// Threads that serve a queue, a slice at a time, in virtual time.
struct World {
    random: Random,
    queue: FairQueue<Job>,
    /// The jobs in service, with what their slice will have taken and when it ends.
    threads: Vec<Option<(Job, u64, u64)>>,
    now: u64,
    /// Work done, by account.
    done: Vec<u64>,
    slices: Vec<u64>,
}

impl World {
    fn new(seed: u64, threads: usize, accounts: usize) -> Self {
        let threads = (0..threads).map(|_| None).collect();
        Self {
            random: Random::new(seed),
            queue: FairQueue::default(),
            threads,
            now: 0,
            done: vec![0; accounts],
            slices: vec![0; accounts],
        }
    }

    fn push(&mut self, account: AccountIndex, work_left: u64) {
        self.queue.push(account, Job { account, work_left });
    }

    /// Gives idle threads jobs, and ends the slice that ends next: whose it was, and whether
    /// its job is finished.
    fn step(&mut self) -> Option<(AccountIndex, bool)> {
        for thread in &mut self.threads {
            if thread.is_none() {
                let Some(job) = self.queue.pop() else { break };
                self.slices[job.account as usize] += 1;
                let work = job.work_left.min(1 + self.random.below(SLICE));
                *thread = Some((job, work, self.now + work));
            }
        }
        let busy = self.threads.iter_mut().filter(|thread| thread.is_some());
        let ended = busy.min_by_key(|thread| thread.as_ref().map(|(.., end)| *end))?;
        let (mut job, work, end) = ended.take()?;
        self.now = end;
        self.queue.charge(job.account, work);
        self.done[job.account as usize] += work;
        job.work_left -= work;
        let (account, is_finished) = (job.account, job.work_left == 0);
        if !is_finished {
            self.queue.push(account, job);
        }
        Some((account, is_finished))
    }

    /// Serves accounts that post a job of their size again whenever one is finished.
    fn run_until(&mut self, end: u64, sizes: &[u64]) {
        while self.now < end {
            if let Some((account, true)) = self.step() {
                self.push(account, sizes[account as usize]);
            }
        }
    }
}

#[test]
fn one_job_beside_ten_thousand_waits_for_no_more_than_the_slices_that_have_begun() {
    for seed in 0..SEEDS {
        let threads = 1 + seed as usize % 4;
        let mut world = World::new(seed, threads, 2);
        for _ in 0..10_000 {
            let work = 1 + world.random.below(20 * SLICE);
            world.push(0, work);
        }
        for _ in 0..50 {
            for _ in 0..world.random.below(200) {
                world.step();
            }
            let (before, served) = (world.slices[0], world.slices[1]);
            world.push(1, 1);
            while world.slices[1] == served {
                world.step();
            }
            let waited = world.slices[0] - before;
            assert!(waited <= threads as u64, "seed {seed}: it waited for {waited} slices");
        }
    }
}

/// However large their jobs are, and however many they have at once.
#[test]
fn accounts_that_always_have_jobs_get_equal_work() {
    for seed in 0..SEEDS {
        let (threads, accounts) = (1 + seed as usize % 4, 2 + seed as usize % 5);
        let mut world = World::new(seed, threads, accounts);
        let sizes: Vec<u64> = (0..accounts).map(|_| 1 + world.random.below(30 * SLICE)).collect();
        for account in 0..accounts as AccountIndex {
            // More at once than there are threads, so that one always waits.
            for _ in 0..threads as u64 + 1 + world.random.below(50) {
                world.push(account, sizes[account as usize]);
            }
        }
        world.run_until(3000 * SLICE, &sizes);
        let all: u64 = world.done.iter().sum();
        for (account, done) in world.done.iter().enumerate() {
            let part = *done as f64 * accounts as f64 / all as f64;
            assert!((part - 1.0).abs() < 0.05, "seed {seed}: account {account} has {part}");
        }
    }
}

#[test]
fn an_account_saves_nothing_up_while_it_is_idle() {
    for seed in 0..SEEDS {
        let threads = 1 + seed as usize % 4;
        let mut world = World::new(seed, threads, 2);
        let sizes = [3 * SLICE; 2];
        (0..20).for_each(|_| world.push(0, sizes[0]));
        world.run_until(1000 * SLICE, &sizes);
        let before = world.done[0];
        (0..20).for_each(|_| world.push(1, sizes[1]));
        world.run_until(1100 * SLICE, &sizes);
        let (first, second) = (world.done[0] - before, world.done[1]);
        // What was in service when the second came is charged to the first afterwards.
        let slack = (2 * threads as u64 + 1) * SLICE;
        assert!(first.abs_diff(second) <= slack, "seed {seed}: {first} and {second}");
    }
}
