use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::Flaw;

/// The version of what is sealed.
const VERSION: u8 = 1;

/// Which table a row is of.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Part {
    State = 1,
    Body = 2,
    Outcome = 3,
    History = 4,
    Meta = 5,
    Record = 6,
    Unique = 7,
    Counts = 8,
}

/// Bytes gathered before they are hashed: many short updates cost more than one.
const GATHERED_MAX: usize = 512;

/// A checksum in the making. Every value goes in with its length or a mark, so that neighbours cannot trade bytes.
pub(super) struct Seal {
    hasher: crc32fast::Hasher,
    gathered: [u8; GATHERED_MAX],
    length: usize,
}

impl Seal {
    pub(super) fn of(part: Part) -> Self {
        let mut seal = Seal { hasher: crc32fast::Hasher::new(), gathered: [0; GATHERED_MAX], length: 0 };
        seal.update(&[VERSION, part as u8]);
        seal
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(room) = self.gathered.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len();
            return;
        }
        self.flush();
        match self.gathered.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length = bytes.len();
            }
            None => self.hasher.update(bytes),
        }
    }

    fn flush(&mut self) {
        let gathered = self.gathered.get(..self.length).unwrap_or_default();
        self.hasher.update(gathered);
        self.length = 0;
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        self.update(&value.to_le_bytes());
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.update(&(value.len() as u64).to_le_bytes());
        self.update(value);
        self
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    pub(super) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.mark(1).int(value),
            None => self.mark(0),
        }
    }

    pub(super) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        self.opt_bytes(value.map(str::as_bytes))
    }

    pub(super) fn opt_bytes(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.mark(1).bytes(value),
            None => self.mark(0),
        }
    }

    pub(super) fn finish(&mut self) -> i64 {
        self.flush();
        i64::from(self.hasher.clone().finalize())
    }

    fn mark(&mut self, mark: u8) -> &mut Self {
        self.update(&[mark]);
        self
    }
}

/// The columns of a row, one after the other.
pub(crate) struct Columns<'a> {
    row: &'a Row<'a>,
    at: usize,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(row: &'a Row<'_>) -> Self {
        Columns { row, at: 0 }
    }

    /// The columns from this one on.
    pub(super) fn from(row: &'a Row<'_>, name: &str) -> Result<Self, Flaw> {
        let at = row.as_ref().column_index(name).map_err(|error| Flaw(error.to_string()))?;
        Ok(Columns { row, at })
    }

    fn next(&mut self) -> Result<ValueRef<'a>, Flaw> {
        let value = self.row.get_ref(self.at);
        let value = value.map_err(|error| Flaw(format!("column {} cannot be read: {error}", self.at)))?;
        self.at += 1;
        Ok(value)
    }

    fn wrong<T>(&self, value: ValueRef<'_>) -> Result<T, Flaw> {
        Err(Flaw(format!("column {} holds a value of type {}", self.at - 1, value.data_type())))
    }

    pub(crate) fn opt_int(&mut self) -> Result<Option<i64>, Flaw> {
        match self.next()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(value) => Ok(Some(value)),
            other => self.wrong(other),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64, Flaw> {
        match self.opt_int()? {
            Some(value) => Ok(value),
            None => self.wrong(ValueRef::Null),
        }
    }

    pub(crate) fn opt_text(&mut self) -> Result<Option<&'a str>, Flaw> {
        match self.next()? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(Flaw(format!("column {} is not UTF-8", self.at - 1))),
            },
            other => self.wrong(other),
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Flaw> {
        match self.opt_text()? {
            Some(value) => Ok(value),
            None => self.wrong(ValueRef::Null),
        }
    }

    pub(crate) fn opt_blob(&mut self) -> Result<Option<&'a [u8]>, Flaw> {
        match self.next()? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => Ok(Some(bytes)),
            other => self.wrong(other),
        }
    }

    pub(crate) fn blob(&mut self) -> Result<&'a [u8], Flaw> {
        match self.opt_blob()? {
            Some(value) => Ok(value),
            None => self.wrong(ValueRef::Null),
        }
    }
}
