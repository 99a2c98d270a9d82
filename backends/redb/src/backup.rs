//! A consistent copy of a store in a file of its own, made while the store is in use.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use poolqueue_core::{BackendError, BackendErrorKind, Verification};
use redb::{Database, Key, ReadTransaction, ReadableTable, TableDefinition, Value};

use crate::codec::{COMMITS, OWNER};
use crate::create::{self, Published};
use crate::memory::Memory;
use crate::options::RedbOptions;
use crate::reader;
use crate::shared::Shared;
use crate::site::Site;
use crate::verify;

/// Bytes copied in one transaction, about.
const BATCH_BYTES: usize = 16 << 20;

/// Copies the tables to a new file at `path`, checks them there, and only then gives the file its name.
pub(crate) fn backup(shared: &Shared, path: &Path, options: &RedbOptions) -> Result<(), BackendError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| shared.site().at(path.to_owned()).io("find its directory", error))?;
    let target = shared.site().at(absolute);
    let exists = || target.error(BackendErrorKind::Invalid, "exists already; it was not changed");
    if std::fs::symlink_metadata(target.path()).is_ok() {
        return Err(exists());
    }
    let view = shared.view()?;
    let fill = |db: Database, site: &Site| {
        copy(&view.txn, shared.site(), &db, site)?;
        check(db, shared.site(), site)
    };
    match create::create(&target, options, fill)? {
        Published::New => Ok(()),
        Published::Taken => Err(exists()),
    }
}

fn copy(from: &ReadTransaction, from_site: &Site, to: &Database, site: &Site) -> Result<(), BackendError> {
    create::write_format(to, site)?;
    let layout = site.layout();
    let copier = Copier { from, from_site, to, site };
    copier.rows(layout.live(), |_| true)?;
    copier.rows(layout.done(), |_| true)?;
    copier.rows(layout.body(), |_| true)?;
    copier.rows(layout.outcome(), |_| true)?;
    copier.rows(layout.history(), |_| true)?;
    copier.rows(layout.unique(), |_| true)?;
    copier.rows(layout.records(), |_| true)?;
    // Nobody's transactions belong to the copy.
    copier.rows(layout.meta(), |key| key != OWNER && key != COMMITS)
}

struct Copier<'a> {
    from: &'a ReadTransaction,
    from_site: &'a Site,
    to: &'a Database,
    site: &'a Site,
}

impl Copier<'_> {
    /// Copies the rows of one table whose keys are `wanted`.
    fn rows<K, V>(
        &self,
        definition: TableDefinition<'_, K, V>,
        wanted: impl Fn(K::SelfType<'_>) -> bool,
    ) -> Result<(), BackendError>
    where
        K: Key + 'static,
        V: Value + 'static,
    {
        let reading = |error| self.from_site.engine("read what is to be copied", error);
        let Some(table) = reader::table(self.from, definition, self.from_site)? else { return Ok(()) };
        let mut rows = table.iter().map_err(reading)?.peekable();
        while rows.peek().is_some() {
            let engine = |error: redb::Error| self.site.engine("write the copy", error);
            let txn = self.to.begin_write().map_err(|error| engine(error.into()))?;
            let mut copy = txn.open_table(definition).map_err(|error| engine(error.into()))?;
            let mut bytes = 0;
            while bytes < BATCH_BYTES {
                let Some(row) = rows.next() else { break };
                let (key, value) = row.map_err(reading)?;
                if wanted(key.value()) {
                    bytes += V::as_bytes(&value.value()).as_ref().len();
                    copy.insert(key.value(), value.value()).map_err(|error| engine(error.into()))?;
                }
            }
            drop(copy);
            txn.commit().map_err(|error| engine(error.into()))?;
        }
        Ok(())
    }
}

/// Reads the copy as a store that is opened would, and all of it: damage is not handed on. It has every row as it was
/// found, so what is wrong with one is said of where it came `from`.
fn check(db: Database, from: &Site, site: &Site) -> Result<(), BackendError> {
    let memory = Memory::load(&db, from)?;
    let copy = Shared::new(site.clone(), None);
    copy.install(Arc::new(db), &memory, Verification::Unverified);
    verify::verify(&copy.exact_view()?, from, &AtomicBool::new(false))?;
    copy.close()
}
