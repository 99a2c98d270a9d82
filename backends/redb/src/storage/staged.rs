//! Writes that wait until it is decided whether a file is opened at all.
//!
//! redb writes to a file while it opens it, before it knows whether it is whole: the header of one that was not closed, the
//! pages of a repair, a mark that it is in use. Until the store is open all of that is kept here, in its order. Then it is
//! done, syncs included, as if it had never waited; or the file is refused, and not one byte of it was changed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CHUNK, Storage};

#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug, Default)]
struct Log {
    len: u64,
    /// Bytes at the start that the file was never cut below.
    own: u64,
    steps: Vec<Step>,
}

/// A file, and what is still to be done to it.
#[derive(Debug)]
pub(crate) struct Staged {
    io: Box<dyn Storage>,
    /// Whether everything goes to the file at once.
    released: AtomicBool,
    log: Mutex<Log>,
}

impl Staged {
    /// Keeps what is written until [`release`](Self::release).
    pub(crate) fn holding(io: Box<dyn Storage>) -> io::Result<Self> {
        let len = io.len()?;
        let log = Mutex::new(Log { len, own: len, steps: Vec::new() });
        Ok(Staged { io, released: AtomicBool::new(false), log })
    }

    /// Keeps nothing.
    pub(crate) fn released(io: Box<dyn Storage>) -> Self {
        Staged { io, released: AtomicBool::new(true), log: Mutex::default() }
    }

    /// The log; `None` once it is done.
    fn log(&self) -> Option<MutexGuard<'_, Log>> {
        if self.released.load(Ordering::Acquire) {
            return None;
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.released.load(Ordering::Acquire)).then_some(log)
    }

    /// Writes all of the file once more, as it reads, what is kept left out, and syncs it.
    ///
    /// After a sync that failed the system shows what was written, takes it for written, and never writes it again: redb would
    /// build on pages that are gone when the power is lost.
    pub(crate) fn write_again(&self) -> io::Result<()> {
        let len = self.io.len()?;
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < len {
            let size = distance(at, len).min(CHUNK);
            let (chunk, _) = buffer.split_at_mut(size);
            self.io.read(at, chunk)?;
            self.io.write(at, chunk)?;
            at += size as u64;
        }
        self.io.sync_data()
    }

    /// Does what was kept, in its order. From then on nothing is kept.
    pub(crate) fn release(&self) -> io::Result<()> {
        let Some(mut log) = self.log() else { return Ok(()) };
        for step in std::mem::take(&mut log.steps) {
            match step {
                Step::Write(offset, data) => self.io.write(offset, &data)?,
                Step::SetLen(len) => self.io.set_len(len)?,
                Step::Sync => self.io.sync_data()?,
            }
        }
        self.released.store(true, Ordering::Release);
        Ok(())
    }
}

impl Log {
    /// Lays what was written over `out`, which stands at `offset`.
    fn lay_over(&self, offset: u64, out: &mut [u8]) {
        for step in &self.steps {
            match step {
                Step::Write(at, data) => copy(*at, data, offset, out),
                Step::SetLen(len) => {
                    let from = distance(offset, *len);
                    out.iter_mut().skip(from).for_each(|byte| *byte = 0);
                }
                Step::Sync => {}
            }
        }
    }
}

fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

/// Copies what `data`, which stands at `at`, has of the place of `out`, which stands at `offset`.
fn copy(at: u64, data: &[u8], offset: u64, out: &mut [u8]) {
    let target = out.get_mut(distance(offset, at)..).unwrap_or_default();
    let source = data.get(distance(at, offset)..).unwrap_or_default();
    target.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
}

impl Storage for Arc<Staged> {
    fn len(&self) -> io::Result<u64> {
        match self.log() {
            Some(log) => Ok(log.len),
            None => self.io.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(log) = self.log() else { return self.io.read(offset, out) };
        if offset.saturating_add(out.len() as u64) > log.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let own = distance(offset, log.own).min(out.len());
        let (of_file, beyond) = out.split_at_mut(own);
        if !of_file.is_empty() {
            self.io.read(offset, of_file)?;
        }
        beyond.fill(0);
        log.lay_over(offset, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let Some(mut log) = self.log() else { return self.io.set_len(len) };
        log.len = len;
        log.own = log.own.min(len);
        log.steps.push(Step::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let Some(mut log) = self.log() else { return self.io.sync_data() };
        log.steps.push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(mut log) = self.log() else { return self.io.write(offset, data) };
        log.len = log.len.max(offset.saturating_add(data.len() as u64));
        log.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
