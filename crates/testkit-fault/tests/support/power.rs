//! Directories after a power loss, made real and opened.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use poolqueue_sqlite::SqliteOptions;
use poolqueue_testkit_fault::crash::{Contents, Disk};
use poolqueue_testkit_fault::trace::{FileId, Op};

/// How many threads work on one row: as many as the smallest machine has that proves it.
pub const THREADS: u64 = 2;
/// Transactions of one life.
pub const TRANSACTIONS: u64 = 120;
/// Losses of one life, at most; then comes another one.
pub const LOSSES_MAX: u64 = 20_000;

/// Small, so that the file grows, and its log is moved, often.
pub fn options() -> SqliteOptions {
    SqliteOptions::default()
        .wal_grow_bytes(0)
        .wal_autocheckpoint(50)
        .journal_size_limit(100_000)
        .cache_bytes(1 << 20)
}

/// The same for a life of this seed: in every other one the log is long from the beginning, as it is by default.
pub fn options_of(seed: u64) -> SqliteOptions {
    options().wal_grow_bytes(if seed.is_multiple_of(2) { 1 << 16 } else { 0 })
}

fn is_shared_memory(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm")
}

/// What of a trace outlives a loss of power: SQLite's shared memory does not.
pub fn lasting(ops: Vec<Op>) -> Vec<Op> {
    let mut gone = HashSet::<FileId>::new();
    let keeps = |op: &Op| match op {
        Op::Create { file, path } if is_shared_memory(path) => {
            gone.insert(*file);
            false
        }
        Op::Write { file, .. } | Op::SetLen { file, .. } | Op::Sync { file } => !gone.contains(file),
        Op::Remove { path } => !is_shared_memory(path),
        _ => true,
    };
    let mut keeps = keeps;
    ops.into_iter().filter(|op| keeps(op)).collect()
}

/// A directory in which one image after the other is made real.
pub struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Bench { directory: super::place() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes these files what the directory holds. Files that are there already are written over: that is quicker.
    pub fn lay(&self, contents: &Contents) {
        let names: HashSet<_> = contents.keys().filter_map(|path| path.file_name()).collect();
        for entry in fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            if !names.contains(entry.file_name().as_os_str()) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for (path, image) in contents {
            let path = self.path().join(path.file_name().unwrap());
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
            file.write_all(&image.to_vec()).unwrap();
            file.set_len(image.len()).unwrap();
        }
    }
}

/// A disk on which these files have been for long, under these paths of a trace, and their numbers in it.
pub fn disk_with(found: &[Op]) -> Disk {
    let mut disk = Disk::default();
    let mut made = None;
    for op in found {
        match op {
            Op::Create { path, .. } => made = Some(path.clone()),
            Op::Write { file, data, .. } => {
                if let Some(path) = made.take() {
                    disk = disk.with_file(*file, path, data.clone());
                }
            }
            _ => {}
        }
    }
    disk
}

/// A panic is a failure like any other.
pub fn caught<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panics: {}", text.unwrap_or_default()))
    })
}

/// How far a row has come, said now and then.
pub struct Progress {
    what: &'static str,
    wanted: u64,
    tried: AtomicU64,
    /// What the threads have had of the processors, in nanoseconds.
    spent: AtomicU64,
    begun: Instant,
    said: AtomicU64,
}

impl Progress {
    pub fn new(what: &'static str, wanted: u64) -> Self {
        let [tried, spent, said] = [(); 3].map(|()| AtomicU64::new(0));
        Progress { what, wanted, tried, spent, begun: Instant::now(), said }
    }

    /// One more was tried.
    pub fn count(&self) {
        let tried = self.tried.fetch_add(1, Ordering::Relaxed) + 1;
        let tens = self.begun.elapsed().as_secs() / 10;
        if tens > self.said.load(Ordering::Relaxed) && self.said.swap(tens, Ordering::Relaxed) < tens {
            eprintln!("{}: {tried} of {} after {} s", self.what, self.wanted, tens * 10);
        }
    }

    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::Relaxed)
    }

    pub fn is_done(&self) -> bool {
        self.tried() >= self.wanted
    }

    /// Lets [`THREADS`] threads work, each told its number, and says how fast they were.
    pub fn share(&self, work: impl Fn(u64) + Sync) {
        let work = &work;
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    work(thread);
                    self.spent.fetch_add(processor_time(), Ordering::Relaxed);
                });
            }
        });
        let spent = Duration::from_nanos(self.spent.load(Ordering::Relaxed).max(1)).as_secs_f64();
        let rate = self.tried() as f64 / spent;
        let passed = self.begun.elapsed().as_secs_f64();
        eprintln!("{}: {} in {passed:.1} s, {rate:.0} per CPU-second", self.what, self.tried());
    }
}

/// What this thread has had of the processors, in nanoseconds.
fn processor_time() -> u64 {
    let spent = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    spent.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}
