//! A file in memory, of which a copy costs next to nothing until it is written to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The unit in which a copy differs from what it was copied of.
pub const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// The bytes of a file. See the module.
#[derive(Clone, Default)]
pub struct Image {
    base: Arc<Vec<u8>>,
    /// So much of the base counts; what follows is zero.
    base_len: usize,
    len: usize,
    pages: HashMap<usize, Box<[u8; PAGE]>>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("len", &self.len)
            .field("pages", &self.pages.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Image) -> bool {
        self.to_vec() == other.to_vec()
    }
}

impl From<Vec<u8>> for Image {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Image { base: Arc::new(bytes), base_len: len, len, pages: HashMap::new() }
    }
}

impl Image {
    /// How long the file is.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `out` from `offset` on. False when the file ends before.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        if offset.checked_add(out.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        let mut at = offset;
        let mut out = out;
        while !out.is_empty() {
            let within = at % PAGE;
            let (part, rest) = out.split_at_mut(out.len().min(PAGE - within));
            match self.pages.get(&(at / PAGE)) {
                Some(page) => part.copy_from_slice(&page[within..within + part.len()]),
                None => self.read_base(at, part),
            }
            at += part.len();
            out = rest;
        }
        true
    }

    fn read_base(&self, at: usize, out: &mut [u8]) {
        let known = self.base_len.saturating_sub(at).min(out.len());
        let (from_base, zeroes) = out.split_at_mut(known);
        if known > 0 {
            from_base.copy_from_slice(&self.base[at..at + known]);
        }
        zeroes.fill(0);
    }

    /// Writes `data` at `offset`. The file grows as far as needed; a gap is zero.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = place(offset);
        self.len = self.len.max(at + data.len());
        let mut data = data;
        while !data.is_empty() {
            let within = at % PAGE;
            let (part, rest) = data.split_at(data.len().min(PAGE - within));
            match <[u8; PAGE]>::try_from(part) {
                // What the page held before is of no interest.
                Ok(whole) => drop(self.pages.insert(at / PAGE, Box::new(whole))),
                Err(_) => self.page(at / PAGE)[within..within + part.len()].copy_from_slice(part),
            }
            at += part.len();
            data = rest;
        }
    }

    fn page(&mut self, number: usize) -> &mut [u8; PAGE] {
        if !self.pages.contains_key(&number) {
            let mut page = Box::new([0; PAGE]);
            self.read_base(number * PAGE, &mut page[..]);
            self.pages.insert(number, page);
        }
        self.pages.get_mut(&number).expect("it was just put there")
    }

    /// Sets the length. What is new is zero.
    pub fn set_len(&mut self, len: u64) {
        let len = place(len);
        if len < self.len {
            self.base_len = self.base_len.min(len);
            self.pages.retain(|number, _| number * PAGE < len);
            if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
                page[len % PAGE..].fill(0);
            }
        }
        self.len = len;
    }

    /// Inverts one bit. False when the file ends before it.
    pub fn flip(&mut self, offset: u64, bit: u8) -> bool {
        let mut byte = [0];
        let there = self.read(offset, &mut byte);
        if there {
            self.write(offset, &[byte[0] ^ (1 << (bit % 8))]);
        }
        there
    }

    /// All of it.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        let known = self.base_len.min(self.len);
        bytes[..known].copy_from_slice(&self.base[..known]);
        for (number, page) in &self.pages {
            let start = number * PAGE;
            let end = (start + PAGE).min(self.len);
            bytes[start..end].copy_from_slice(&page[..end - start]);
        }
        bytes
    }

    /// Makes what was written part of what copies share. Copies made before keep what they have.
    pub fn settle(&mut self) {
        let base = Arc::make_mut(&mut self.base);
        base.truncate(self.base_len);
        base.resize(self.len, 0);
        for (number, page) in self.pages.drain() {
            let start = number * PAGE;
            let end = (start + PAGE).min(self.len);
            base[start..end].copy_from_slice(&page[..end - start]);
        }
        self.base_len = self.len;
    }
}

/// A place in a file that is held in memory.
fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("the file fits into memory")
}
