//! Prints what a store holds, without rescuing anything. See `docs/stress.md`.

use std::io::Write;
use std::process::ExitCode;

use poolqueue_core::{Cursor, Detail, Filter, JobId, Query, Snapshot, Status};
use poolqueue_testkit::stress::{Arguments, Membership, StressError, payload_hash};

/// Jobs read at once.
const PAGE: usize = 1_000;

fn main() -> ExitCode {
    let dumped = Arguments::parse(std::env::args().skip(1))
        .and_then(|arguments| arguments.inspect(|store, index| dump(store, index)));
    match dumped {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stress-dump: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dump(store: &dyn Snapshot, membership: Membership<'_>) -> Result<(), StressError> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut after: Option<Cursor> = None;
    loop {
        let query = Query { filter: Filter::everything(), after, limit: PAGE, detail: Detail::Full };
        let page = store.select(&query)?;
        let ids: Vec<JobId> = page.jobs.iter().map(|job| job.id).collect();
        for (job, (ready, held)) in page.jobs.iter().zip(membership(&ids)?) {
            writeln!(
                out,
                "{} {} {} {} {:016x} {} {}",
                job.id,
                job.status,
                job.attempt,
                job.retry_count,
                payload_hash(&job.payload),
                u8::from(ready),
                u8::from(held)
            )?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let counts = store.count(&Filter::everything())?;
    write!(out, "counts total={}", counts.total())?;
    for status in Status::ALL {
        write!(out, " {status}={}", counts.of(*status))?;
    }
    writeln!(out, " total_retries={}", counts.retries)?;
    match store.verify() {
        Ok(_) => writeln!(out, "verify ok")?,
        Err(error) => {
            writeln!(out, "verify failed: {error}")?;
            out.flush()?;
            return Err(error.into());
        }
    }
    Ok(out.flush()?)
}
