//! What the machine says: how long a sync takes, what memory a process and what bytes a directory has.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// A sync that takes longer at the median is the machine's other work, not the disk.
pub const VOID_ABOVE: Duration = Duration::from_millis(2);

const PROBES: u64 = 64;
const PAGE: usize = 4_096;

/// The median time of a 4 KiB write and sync in a zero-filled file in `dir`.
///
/// # Errors
/// What the file system reports.
pub fn fsync_probe(dir: &Path) -> io::Result<Duration> {
    let path = dir.join("fsync-probe");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0; PAGE * PROBES as usize])?;
    file.sync_all()?;
    let mut times = Vec::new();
    for number in 0..PROBES {
        let start = Instant::now();
        file.write_all_at(&[1; PAGE], number * PAGE as u64)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// The most memory that this process has had, in bytes; 0 where the system does not tell.
#[must_use]
pub fn peak_memory() -> u64 {
    status("VmHWM:")
}

/// The memory that this process has, in bytes; 0 where the system does not tell.
#[must_use]
pub fn memory() -> u64 {
    status("VmRSS:")
}

fn status(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// The bytes that the files below `dir` take on the disk.
///
/// # Errors
/// What the file system reports.
pub fn bytes_below(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { bytes_below(&entry.path())? } else { found.blocks() * 512 };
    }
    Ok(bytes)
}

/// Whether `dir` is in memory, where syncs cost nothing.
#[must_use]
pub fn is_in_memory(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    lies_in_memory(&mounts, &dir)
}

/// `mounts` as the system lists them: device, place, type. The innermost place counts, of equal ones the last.
fn lies_in_memory(mounts: &str, dir: &Path) -> bool {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let around = fields.filter(|fields| fields.get(1).is_some_and(|place| dir.starts_with(place)));
    let innermost = around.max_by_key(|fields| fields[1].len());
    innermost.and_then(|fields| fields.get(2).copied()).is_some_and(|kind| matches!(kind, "tmpfs" | "ramfs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_says_whether_a_directory_is_in_memory() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk ext4 rw 0 0\n";
        for (dir, expected) in [("/home", false), ("/tmp/x", true), ("/tmp/disk/x", false), ("/tmpx", false)]
        {
            assert_eq!(lies_in_memory(mounts, Path::new(dir)), expected, "{dir}");
        }
        assert!(!lies_in_memory("", Path::new("/")));
    }
}
