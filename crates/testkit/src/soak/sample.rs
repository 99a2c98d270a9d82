//! What is measured, and what is asked of it.

use std::fmt;
use std::fs;
use std::str::FromStr;

use super::Place;

/// The part of a run that is warm-up, as one in so many samples.
const WARM_UP: usize = 4;
/// How much larger the memory may be at the end than after the warm-up, in per cent.
const GROWTH_PERCENT: u64 = 5;
/// Runs with fewer transitions are over before an allocator has settled: a megabyte more is forgiven to them.
const SHORT: u64 = 1_000_000;
const SHORT_SLACK: u64 = 1 << 20;
/// Descriptors of readers that are opened when they are first needed, which may be after the warm-up.
const LATE_READERS: u64 = 4;
/// How many times its live data a file may be, and for a while: a reader whom a busy machine stops keeps pages from being
/// used again, until it goes on.
const FILE_TIMES: u64 = 3;
const PEAK_TIMES: u64 = 6;
/// The longest write-ahead log, in bytes.
const WAL_MAX: u64 = 64 << 20;

/// What a process and its store take at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Steps of jobs so far.
    pub transitions: u64,
    /// Bytes of memory the process holds.
    pub memory: u64,
    /// Bytes of the file.
    pub file: u64,
    /// Bytes of the write-ahead log; 0 where there is none.
    pub wal: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Sample {
    /// Measures this process, and the store at `place`. Where the system has no `/proc`, it counts nothing.
    pub fn take(transitions: u64, place: &Place) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Sample {
            transitions,
            memory: of_status(&status, "VmRSS:") * 1024,
            file: length(place.path()),
            wal: length(&place.wal()),
            // Less the one that reads them.
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64 - 1),
            threads: of_status(&status, "Threads:"),
        }
    }
}

fn of_status(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn length(path: &std::path::Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { transitions, memory, file, wal, descriptors, threads } = self;
        write!(
            f,
            "sample transitions {transitions} memory {memory} file {file} wal {wal} descriptors {descriptors} threads {threads}"
        )
    }
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |name: &str| {
            let at =
                words.iter().position(|word| *word == name).ok_or_else(|| format!("no {name}: {line}"))?;
            let number = words.get(at + 1).and_then(|word| word.parse().ok());
            number.ok_or_else(|| format!("{name} is no number: {line}"))
        };
        Ok(Sample {
            transitions: number("transitions")?,
            memory: number("memory")?,
            file: number("file")?,
            wal: number("wal")?,
            descriptors: number("descriptors")?,
            threads: number("threads")?,
        })
    }
}

/// What is wrong with a run: nothing, it is hoped. The first quarter is warm-up; of the rest, the last third is compared
/// with the first.
///
/// `live` is the size of a file that holds as many jobs as retention keeps and has never held another, without free
/// pages.
pub fn judge(samples: &[Sample], live: u64) -> Vec<String> {
    let warm = &samples[samples.len() / WARM_UP..];
    let third = warm.len() / 3;
    if third == 0 || live == 0 || samples.iter().any(|sample| sample.memory == 0 || sample.file == 0) {
        return vec![format!("{} samples and {live} bytes of live data tell nothing", samples.len())];
    }
    let (early, late) = (&warm[..third], &warm[warm.len() - third..]);
    let mut wrong = Vec::new();
    let (before, after) = (median(early, |s| s.memory), median(late, |s| s.memory));
    let short = samples.last().is_some_and(|last| last.transitions < SHORT);
    let slack = if short { SHORT_SLACK } else { 0 };
    if (after - after.min(slack)) * 100 > before * (100 + GROWTH_PERCENT) {
        wrong.push(format!("memory grew from {before} to {after} bytes"));
    }
    let (file, peak) = (median(late, |s| s.file), most(warm, |s| s.file));
    if file > live * FILE_TIMES || peak > live * PEAK_TIMES {
        wrong.push(format!("the file grew to {file} bytes, at times {peak}, for {live} bytes of live data"));
    }
    let wal = most(samples, |s| s.wal);
    if wal > WAL_MAX {
        wrong.push(format!("the write-ahead log grew to {wal} bytes"));
    }
    let flat: [(&str, Figure, u64); 2] =
        [("descriptors", |s| s.descriptors, LATE_READERS), ("threads", |s| s.threads, 0)];
    for (name, of, slack) in flat {
        // Some come and go; what is kept is there in every sample.
        let (before, after) = (fewest(early, of), fewest(late, of));
        if after > before + slack {
            wrong.push(format!("{name} grew from {before} to {after}"));
        }
    }
    wrong
}

type Figure = fn(&Sample) -> u64;

fn most(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    samples.iter().map(of).max().unwrap_or(0)
}

fn fewest(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    samples.iter().map(of).min().unwrap_or(0)
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    let mut all: Vec<u64> = samples.iter().map(of).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    type Grow = fn(&mut Sample, u64);

    #[test]
    fn a_sample_is_read_as_it_was_printed() {
        let sample = Sample { transitions: 1, memory: 2, file: 3, wal: 4, descriptors: 5, threads: 6 };
        assert_eq!(sample.to_string().parse(), Ok(sample));
        assert!("sample transitions x".parse::<Sample>().is_err());
    }

    #[test]
    fn each_sort_of_growth_is_named() {
        let level =
            Sample { transitions: SHORT, memory: 1000, file: 250, wal: 10, descriptors: 9, threads: 5 };
        let run = |grow: Grow| -> Vec<String> {
            let samples = (0..40).map(|n| {
                let mut sample = level;
                grow(&mut sample, n);
                sample
            });
            judge(&samples.collect::<Vec<_>>(), 100)
        };
        assert!(run(|_, _| {}).is_empty());
        let cases: [(&str, Grow); 6] = [
            ("memory", |s, n| s.memory += 3 * n),
            ("file", |s, n| s.file += 2 * n),
            ("file", |s, n| s.file += 400 * u64::from(n == 20)),
            ("log", |s, n| s.wal += n * (2 << 20)),
            ("descriptors", |s, n| s.descriptors += n),
            ("threads", |s, n| s.threads += n / 20),
        ];
        for (name, grow) in cases {
            let wrong = run(grow);
            assert!(wrong.len() == 1 && wrong[0].contains(name), "{name}: {wrong:?}");
        }
        assert!(!judge(&[level; 2], 100).is_empty(), "too few samples");
    }
}
