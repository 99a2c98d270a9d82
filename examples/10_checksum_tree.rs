//! The main job on real input: checksums of every file below a directory, by four workers, as durable jobs.
//!
//! Kill it at any moment and run it again: it goes on where it was, and computes nothing twice that was acknowledged.
//! In the end the stored digests are compared with those of a plain sequential run.
//!
//! ```text
//! cargo run --example 10_checksum_tree                       # the project's own sources
//! cargo run --release --example 10_checksum_tree -- DIRECTORY [QUEUE_FILE]
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use poolqueue::{Failure, JobId, NewJob, PoolQueue, Query, Select, Status};
use sha2::{Digest, Sha256};

const WORKERS: usize = 4;
const KIND: &str = "checksum";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let root = fs::canonicalize(args.next().unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR"))))?;
    let file = args.next().map_or_else(default_queue_file, PathBuf::from);
    let queue = PoolQueue::open(&file).await?;

    let started = Instant::now();
    let files = walk(&root)?;
    let ids: Vec<JobId> = files.iter().map(|file| job_id(&root, file)).collect();
    let known = queue.get_all(ids.iter().copied()).await?;
    let new = || files.iter().zip(&ids).zip(&known).filter(|(_, job)| job.is_none()).map(|(file, _)| file);
    for slice in new().collect::<Vec<_>>().chunks(1_000) {
        queue
            .enqueue_all(slice.iter().map(|(file, id)| NewJob::new(KIND, bytes_of(&file.path)).id(**id)))
            .await?;
    }
    let finished = known.iter().flatten().filter(|job| job.status.is_final()).count();
    println!(
        "{}: {} files, {} of them done by an earlier run, {} new",
        root.display(),
        files.len(),
        finished,
        new().count()
    );

    let bar = ProgressBar::new(files.len() as u64).with_position(finished as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} files {per_sec} {eta} {msg}")?);
    let open =
        ids.iter().zip(&known).filter(|(_, job)| job.as_ref().is_none_or(|job| !job.status.is_final()));
    let left = open.count();
    work(&queue, &root, left, &bar).await?;
    bar.finish_and_clear();

    let digests = digests(&queue, &files, &ids).await?;
    let took = started.elapsed();
    let bytes: u64 = files.iter().map(|file| file.len).sum();
    println!("{} files, {bytes} bytes, {left} jobs in {took:.2?} by {WORKERS} workers", digests.len());
    verify(&root, &files, &digests)?;
    println!("every digest equals that of a plain sequential run; the jobs are in {}", file.display());
    queue.close().await?;
    Ok(())
}

fn default_queue_file() -> PathBuf {
    // Beside the program, so that a second run finds it.
    let exe = std::env::current_exe().unwrap_or_default();
    exe.with_file_name("10_checksum_tree.redb")
}

struct Entry {
    /// Below the root.
    path: PathBuf,
    len: u64,
    modified: u128,
}

/// Every regular file below `root`, sorted. Build output and version control are left out, links are not followed.
fn walk(root: &Path) -> io::Result<Vec<Entry>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && entry.file_name() != "target" && entry.file_name() != ".git" {
                folders.push(entry.path());
            } else if kind.is_file() {
                let metadata = entry.metadata()?;
                let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let path = entry.path().strip_prefix(root).map_err(io::Error::other)?.to_owned();
                files.push(Entry { path, len: metadata.len(), modified: modified.as_nanos() });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The same file always has the same job; a changed file is a new one.
fn job_id(root: &Path, file: &Entry) -> JobId {
    let mut hash = Sha256::new();
    hash.update(bytes_of(&root.join(&file.path)));
    hash.update(file.len.to_le_bytes());
    hash.update(file.modified.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    JobId::from_bytes(bytes)
}

/// Four streams, until `left` jobs have ended.
async fn work(queue: &PoolQueue, root: &Path, left: usize, bar: &ProgressBar) -> Result<(), Box<dyn Error>> {
    let (ended, mut count) = tokio::sync::mpsc::channel::<()>(1_024);
    let mut workers = tokio::task::JoinSet::<poolqueue::Result<()>>::new();
    for n in 0..WORKERS {
        let mut jobs = queue.stream(format!("worker-{n}")).kinds([KIND]).capacity(16).open().await?;
        let (queue, root, ended) = (queue.clone(), Arc::<Path>::from(root), ended.clone());
        workers.spawn(async move {
            while let Some(batch) = jobs.next().await {
                for job in batch? {
                    let path = root.join(path_of(&job.payload));
                    let digest = tokio::task::spawn_blocking(move || digest(&path)).await;
                    match digest.map_err(io::Error::other).flatten() {
                        Ok(digest) => queue.complete(&job, digest).await?,
                        Err(error) => {
                            queue.fail_retry(&job, Failure::new(error.to_string()).no_retry()).await?
                        }
                    };
                    if ended.send(()).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
    }
    for _ in 0..left {
        tokio::select! {
            _ = count.recv() => bar.inc(1),
            // A worker ends by itself only with an error.
            Some(worker) = workers.join_next() => worker??,
        }
    }
    Ok(())
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut fs::File::open(path)?, &mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the jobs left behind, by path.
async fn digests(
    queue: &PoolQueue,
    files: &[Entry],
    ids: &[JobId],
) -> Result<BTreeMap<PathBuf, Vec<u8>>, Box<dyn Error>> {
    let mut digests = BTreeMap::new();
    for (file, job) in files.iter().zip(queue.get_all(ids.iter().copied()).await?) {
        let job = job.ok_or("a job is gone")?;
        if job.status != Status::Completed {
            return Err(format!("{}: {} ({:?})", file.path.display(), job.status, job.last_error).into());
        }
        digests.insert(file.path.clone(), job.output.ok_or("a digest is gone")?);
    }
    let unfinished =
        queue.list(Query::new(Select::new().kind(KIND).status(Status::Running)).limit(1)).await?;
    assert!(unfinished.jobs.is_empty(), "a job is still running");
    Ok(digests)
}

fn verify(root: &Path, files: &[Entry], digests: &BTreeMap<PathBuf, Vec<u8>>) -> Result<(), Box<dyn Error>> {
    assert_eq!(digests.len(), files.len());
    for file in files {
        let expected = digest(&root.join(&file.path))?;
        assert_eq!(digests[&file.path], expected.as_bytes(), "{}", file.path.display());
    }
    Ok(())
}

#[cfg(unix)]
fn bytes_of(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes.to_vec()))
}

#[cfg(not(unix))]
fn bytes_of(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}
