//! Bytes as what a target wants of them.

use std::time::Duration;

/// Reads bytes as numbers, texts and choices. When they are used up, all is zero or empty.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads these.
    pub fn new(bytes: &'a [u8]) -> Self {
        Input { bytes }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Up to `count` of the bytes that are left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number of any size.
    pub fn number(&mut self) -> u64 {
        // Small ones are as likely as those at the edges.
        match self.byte() {
            small @ 0..=127 => u64::from(small),
            128..=159 => u64::from(self.byte()) << 32,
            160..=175 => u64::MAX - u64::from(self.byte()),
            176..=191 => i64::MAX as u64 - u64::from(self.byte()),
            _ => self.take(8).iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        }
    }

    /// A span of any length.
    pub fn span(&mut self) -> Duration {
        Duration::new(self.number(), u32::from(self.byte()) << 20)
    }

    /// Up to 255 bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.take(count.into())
    }

    /// A text; what is no UTF-8 in it is replaced.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Up to three texts.
    pub fn texts(&mut self) -> Vec<String> {
        (0..self.below(4)).map(|_| self.text()).collect()
    }
}

/// Changes an input in a few places: bits, bytes, pieces that go, come or are repeated.
pub fn mutate(random: &mut fastrand::Rng, input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.usize(1..5) {
        let at = random.usize(0..bytes.len().max(1));
        match random.u8(..6) {
            _ if bytes.is_empty() => bytes.push(random.u8(..)),
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.choice([0, 1, 127, 128, 250, 251, 252, 253, 255]).unwrap_or(0),
            2 => bytes[at] = random.u8(..),
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.u8(..)),
            _ => {
                let end = (at + random.usize(1..32)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.usize(0..bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}
