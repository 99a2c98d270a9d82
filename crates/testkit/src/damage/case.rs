//! One damaged copy, from its making to its end.

use std::fs;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use poolqueue_core::{BackendError, BackendErrorKind};

use super::judge::Judge;
use super::sample::beside;
use super::{Files, GROWTH, Mutation, Sample, Subject};

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was opened, and the full check found nothing.
    Whole,
    /// It was refused. What was salvaged, if anything was: jobs, and how many there were.
    Refused(Option<(u64, u64)>),
    /// It was opened, and the full check found damage. What was salvaged, as above.
    Flawed(Option<(u64, u64)>),
}

/// Tries one case in a directory of its own, which is emptied first.
///
/// # Errors
/// What did not follow the rule.
pub(super) fn run<S: Subject>(
    subject: &S,
    sample: &Sample,
    mutation: &Mutation,
    directory: &Path,
    bound: Duration,
) -> Result<Fate, String> {
    let (began, memory) = (Instant::now(), memory());
    let tried = catch_unwind(AssertUnwindSafe(|| tried(subject, sample, mutation, directory)));
    let fate = tried.unwrap_or_else(|_| Err(format!("a panic: {}", Quiet::last())))?;
    let (took, grew) = (began.elapsed(), self::memory().saturating_sub(memory));
    if took > bound {
        return Err(format!("it took {took:?}"));
    }
    if grew > GROWTH {
        return Err(format!("it took {grew} bytes of memory"));
    }
    Ok(fate)
}

fn tried<S: Subject>(
    subject: &S,
    sample: &Sample,
    mutation: &Mutation,
    directory: &Path,
) -> Result<Fate, String> {
    let judge = Judge::new(sample, mutation);
    let damaged = mutation.apply(sample);
    let path = copy::<S>(&damaged, directory);
    let opened = subject.open(&path);
    let refused = opened.is_err();
    let sound = match opened {
        Ok(store) => judge.opened(store)?,
        Err(error) => {
            is_refusal(&error, &path)?;
            untouched::<S>(&damaged, &path)?;
            false
        }
    };
    if sound {
        return Ok(Fate::Whole);
    }
    let path = copy::<S>(&damaged, directory);
    let saved = salvaged(subject, &judge, &damaged, &path)?;
    Ok(if refused { Fate::Refused(saved) } else { Fate::Flawed(saved) })
}

/// A copy in an empty directory.
fn copy<S: Subject>(files: &Files, directory: &Path) -> PathBuf {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).expect("the scratch directory can be written to");
    let path = directory.join("damaged");
    files.write::<S>(&path);
    path
}

fn salvaged<S: Subject>(
    subject: &S,
    judge: &Judge<'_>,
    damaged: &Files,
    path: &Path,
) -> Result<Option<(u64, u64)>, String> {
    let target = path.with_file_name("rescued");
    let salvaged = subject.salvage(path, &target);
    untouched::<S>(damaged, path).map_err(|changed| format!("salvaged: {changed}"))?;
    match salvaged {
        Err(error) if target.exists() => Err(format!("a store was left by a salvage that failed: {error}")),
        Err(error) => is_refusal(&error, path).map(|()| None),
        Ok(salvaged) => {
            let mut store = subject.open(&target).map_err(|error| format!("salvaged: {error}"))?;
            judge.salvaged(&salvaged, &mut store).map(Some)
        }
    }
}

/// A kind of error with which a damaged file may be refused, that names the file.
fn is_refusal(error: &BackendError, path: &Path) -> Result<(), String> {
    let kinds = [BackendErrorKind::Corrupted, BackendErrorKind::Invalid, BackendErrorKind::NewerFormat];
    if !kinds.contains(&error.kind()) {
        return Err(format!("it was refused with the kind {:?}: {error}", error.kind()));
    }
    if !error.to_string().contains(&path.display().to_string()) {
        return Err(format!("it was refused with an error that does not name it: {error}"));
    }
    Ok(())
}

/// The files are as they were, and none was added but the shared memory of a process that had them open.
fn untouched<S: Subject>(damaged: &Files, path: &Path) -> Result<(), String> {
    let found = Files::read::<S>(path);
    if let Some(at) = (0..damaged.0.len()).find(|at| damaged.0[*at] != found.0[*at]) {
        let (was, is) = (damaged.0[at].len(), found.0[at].len());
        return Err(format!("the file {:?} was changed, from {was} bytes to {is}", S::FILES[at]));
    }
    let own: Vec<PathBuf> = S::FILES.iter().map(|suffix| beside(path, suffix)).collect();
    let others = [beside(path, "-shm"), path.with_file_name("rescued")];
    let entries = fs::read_dir(path.parent().unwrap_or(path)).expect("the scratch directory can be read");
    for entry in entries {
        let found = entry.expect("the scratch directory can be read").path();
        if !own.contains(&found) && !others.contains(&found) {
            return Err(format!("{} was left behind", found.display()));
        }
    }
    Ok(())
}

/// The most memory this process has had, in bytes; 0 where the system does not say.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0u64) * 1024
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static>;

/// While it lives, panics are kept and not printed: engines panic on purpose where a page does not add up, and the stores
/// catch it.
pub(super) struct Quiet(Option<Hook>);

static LAST: Mutex<String> = Mutex::new(String::new());

impl Quiet {
    pub(super) fn new() -> Self {
        let before = take_hook();
        set_hook(Box::new(|panic| {
            if let Ok(mut last) = LAST.lock() {
                *last = panic.to_string();
            }
        }));
        Quiet(Some(before))
    }

    fn last() -> String {
        LAST.lock().map(|last| last.clone()).unwrap_or_default()
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = self.0.take().filter(|_| !std::thread::panicking()) {
            set_hook(before);
        }
    }
}
