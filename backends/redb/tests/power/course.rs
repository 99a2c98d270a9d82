//! Many cases on two threads: how many, how quickly, and which one failed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use poolqueue_testkit::proof;

use super::disk::Place;

const THREADS: usize = 2;
const PROGRESS: Duration = Duration::from_secs(10);
/// Cases of one life, at least and at most: each life costs something before the first case.
const OF_A_LIFE: (u64, u64) = (100, 20_000);

/// Cases to be tried, so many of each of several lives.
pub struct Course {
    name: &'static str,
    figure: u64,
    of_a_life: u64,
    pub seed: u64,
    lives: AtomicU64,
    tried: AtomicU64,
    /// Time the threads were at work, in nanoseconds.
    cpu: AtomicU64,
    failed: AtomicBool,
    begun: Instant,
    told: Mutex<Instant>,
}

impl Course {
    pub fn new(name: &'static str, usual: u64) -> Self {
        let figure = proof::figure(name, usual);
        let (least, most) = OF_A_LIFE;
        Course {
            name,
            figure,
            of_a_life: (figure / 8).clamp(least, most),
            seed: proof::seed(),
            lives: AtomicU64::new(0),
            tried: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            begun: Instant::now(),
            told: Mutex::new(Instant::now()),
        }
    }

    /// What a life is drawn with.
    pub fn seed_of(&self, life: u64) -> u64 {
        self.seed ^ life.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// Tries so many cases of one life after another: `work` gets the number of the life and how many are wanted.
    /// Returns how many were tried.
    ///
    /// # Panics
    /// When one fails, with all that is needed to see it again.
    pub fn run(&self, work: impl Fn(&Place, u64, u64) -> Result<(), String> + Sync) -> u64 {
        let attempt = || {
            let outcome = self.lead_lives(&work);
            self.failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            self.cpu.fetch_add(thread_time(), Ordering::Relaxed);
            outcome
        };
        let ends: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it reports")).collect()
        });
        if let Some(error) = ends.into_iter().find_map(Result::err) {
            let Course { name, figure, seed, .. } = self;
            panic!("{error} (again with POOLQUEUE_SEED={seed} POOLQUEUE_PROVE_{name}={figure})");
        }
        self.tell(true);
        let tried = self.tried.load(Ordering::Relaxed);
        let rate = u128::from(tried) * 1_000_000_000 / u128::from(self.cpu.load(Ordering::Relaxed).max(1));
        println!("{}: {tried} cases, {rate} per CPU-second", self.name);
        tried
    }

    fn lead_lives(&self, work: impl Fn(&Place, u64, u64) -> Result<(), String>) -> Result<(), String> {
        let place = Place::new();
        while !self.failed.load(Ordering::Relaxed) {
            let life = self.lives.fetch_add(1, Ordering::Relaxed);
            let left = self.figure.saturating_sub(life * self.of_a_life);
            if left == 0 {
                break;
            }
            work(&place, life, left.min(self.of_a_life)).map_err(|error| format!("life {life}, {error}"))?;
        }
        Ok(())
    }

    /// Counts a case that held.
    pub fn held(&self) {
        if self.tried.fetch_add(1, Ordering::Relaxed) % 1_000 == 999 {
            self.tell(false);
        }
    }

    fn tell(&self, at_once: bool) {
        let mut told = self.told.lock().expect("nothing panics with it");
        if at_once || told.elapsed() > PROGRESS {
            *told = Instant::now();
            let Course { name, figure, .. } = self;
            let (tried, seconds) = (self.tried.load(Ordering::Relaxed), self.begun.elapsed().as_secs());
            eprintln!("{name}: {tried} of {figure} in {seconds} s");
        }
    }
}

/// How long this thread has been at work, in nanoseconds; 0 where the system does not tell.
fn thread_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
}
