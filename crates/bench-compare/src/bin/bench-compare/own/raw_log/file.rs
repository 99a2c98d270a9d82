use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How far ahead of the records the file is filled with zeroes, so that a sync seldom has to allocate.
const ZEROES: usize = 16 << 20;

/// Length and checksum, four bytes each.
const HEADER_BYTES: usize = 8;

/// What happened to a job.
#[derive(Clone, Copy)]
pub enum Kind {
    Added = 1,
    Claimed = 2,
    Done = 3,
}

/// The file: length, CRC-32, kind, id and payload of each record, then zeroes.
pub struct Log {
    file: File,
    /// Where the next record begins.
    end: u64,
    filled_to: u64,
    group: Vec<u8>,
}

impl Log {
    /// Opens the log, or creates it, and reads what is not done.
    pub fn open(path: &Path) -> io::Result<(Self, BTreeMap<u64, String>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let content = std::fs::read(path)?;
        let mut waiting = BTreeMap::new();
        let mut end = 0;
        while let Some((record, next)) = record(&content, end) {
            match *record {
                [1, a, b, c, d, e, f, g, h, ref payload @ ..] => {
                    let payload = String::from_utf8_lossy(payload).into_owned();
                    waiting.insert(u64::from_le_bytes([a, b, c, d, e, f, g, h]), payload);
                }
                [3, a, b, c, d, e, f, g, h] => {
                    waiting.remove(&u64::from_le_bytes([a, b, c, d, e, f, g, h]));
                }
                _ => {}
            }
            end = next;
        }
        let mut log = Log {
            file,
            end: end as u64,
            filled_to: content.len() as u64,
            group: Vec::with_capacity(1 << 20),
        };
        log.fill_ahead()?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok((log, waiting))
    }

    /// Adds a record to the group that is written next.
    pub fn put(&mut self, kind: Kind, id: u64, payload: &str) {
        let header = self.group.len();
        self.group.extend_from_slice(&[0; HEADER_BYTES]);
        self.group.push(kind as u8);
        self.group.extend_from_slice(&id.to_le_bytes());
        self.group.extend_from_slice(payload.as_bytes());
        let body = &self.group[header + HEADER_BYTES..];
        let (length, checksum) = (body.len() as u32, crc32fast::hash(body));
        self.group[header..header + 4].copy_from_slice(&length.to_le_bytes());
        self.group[header + 4..header + HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Writes the group and syncs.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        if self.end + self.group.len() as u64 > self.filled_to {
            self.fill_ahead()?;
        }
        self.file.write_all_at(&self.group, self.end)?;
        self.file.sync_data()?;
        self.end += self.group.len() as u64;
        self.group.clear();
        Ok(())
    }

    fn fill_ahead(&mut self) -> io::Result<()> {
        let wanted = self.end + self.group.len() as u64 + ZEROES as u64;
        let missing = wanted.saturating_sub(self.filled_to) as usize;
        self.file.write_all_at(&vec![0; missing], self.filled_to)?;
        self.file.sync_all()?;
        self.filled_to = self.filled_to.max(wanted);
        Ok(())
    }
}

/// The record at `at` and where the next one begins; none where the records end.
fn record(content: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let number = |from: usize| content.get(from..from + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (length, checksum) = (number(at)? as usize, number(at + 4)?);
    let from = at + HEADER_BYTES;
    let body = content.get(from..from.checked_add(length)?)?;
    (length > 0 && crc32fast::hash(body) == checksum).then_some((body, from + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_opened_again_has_what_is_not_done_and_goes_on_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut log, waiting) = Log::open(&path).unwrap();
        assert!(waiting.is_empty());
        for (kind, id, payload) in
            [(Kind::Added, 0, "a"), (Kind::Added, 1, "b"), (Kind::Claimed, 0, ""), (Kind::Claimed, 1, "")]
        {
            log.put(kind, id, payload);
        }
        log.commit().unwrap();
        log.put(Kind::Done, 0, "");
        log.commit().unwrap();
        let (mut again, waiting) = Log::open(&path).unwrap();
        assert_eq!(waiting, BTreeMap::from([(1, "b".to_owned())]));
        again.put(Kind::Added, 2, "c");
        again.commit().unwrap();
        assert_eq!(Log::open(&path).unwrap().1.len(), 2);
    }

    #[test]
    fn what_is_cut_off_or_damaged_ends_the_records() {
        let mut content = vec![3, 0, 0, 0, 0, 0, 0, 0, 7, 8, 9];
        content[4..8].copy_from_slice(&crc32fast::hash(&[7, 8, 9]).to_le_bytes());
        assert_eq!(record(&content, 0), Some((&[7, 8, 9][..], 11)));
        assert_eq!(record(&content, 11), None);
        assert_eq!(record(&content[..10], 0), None);
        content[9] = 0;
        assert_eq!(record(&content, 0), None);
        assert_eq!(record(&[255; 16], 0), None);
        assert_eq!(record(&[0; 16], 0), None);
    }
}
