use std::fs::OpenOptions;

use super::*;

/// A file through the zero-filling, and what it should hold.
struct World {
    directory: tempfile::TempDir,
    model: Vec<u8>,
}

impl World {
    fn open(&self, allocated: u64, step: u64) -> ZeroFilled {
        let path = self.directory.path().join("file");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        ZeroFilled::new(&path, FileBackend::new(file).unwrap(), allocated, step, None, false).unwrap()
    }

    fn check(&self, storage: &ZeroFilled) {
        assert_eq!(StorageBackend::len(storage).unwrap(), self.model.len() as u64);
        let mut read = vec![1; self.model.len()];
        StorageBackend::read(storage, 0, &mut read).unwrap();
        assert!(read == self.model, "the file does not hold what was written");
    }
}

/// Whatever is written where, in whatever order, over reopenings with whatever guess of what is allocated: the
/// file holds what a file without zero-filling would, and has the same length.
#[test]
fn zero_filling_changes_nothing_that_can_be_read() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..30 {
        let mut world = World { directory: tempfile::tempdir().unwrap(), model: Vec::new() };
        let step = [0, 4096, 20_000, 1 << 20][round % 4];
        let mut storage = world.open(0, step);
        for _ in 0..60 {
            match random.u8(..10) {
                0 => {
                    let guess = random.u64(..=world.model.len() as u64 + 4096);
                    drop(storage);
                    storage = world.open(guess, step);
                }
                1 | 2 => {
                    let len = random.usize(..600_000);
                    storage.set_len(len as u64).unwrap();
                    world.model.resize(len, 0);
                }
                _ if world.model.len() > 10_000 => {
                    let at = random.usize(..world.model.len() - 9_000);
                    let mut data = vec![0; random.usize(1..9_000)];
                    random.fill(&mut data);
                    StorageBackend::write(&storage, at as u64, &data).unwrap();
                    world.model[at..at + data.len()].copy_from_slice(&data);
                }
                _ => {}
            }
            world.check(&storage);
        }
    }
}

#[cfg(unix)]
#[test]
fn pages_ahead_of_the_one_written_have_blocks() {
    use std::os::unix::fs::MetadataExt;
    let world = World { directory: tempfile::tempdir().unwrap(), model: Vec::new() };
    let storage = world.open(0, 1 << 20);
    let blocks = || {
        storage.sync_data().unwrap();
        std::fs::metadata(world.directory.path().join("file")).unwrap().blocks() * 512
    };
    storage.set_len(64 << 20).unwrap();
    let at_first = blocks();
    assert!((1 << 20..3 << 20).contains(&at_first), "{at_first} bytes have blocks");
    StorageBackend::write(&storage, 2 << 20, &[1; 4096]).unwrap();
    let further = blocks();
    assert!((3 << 20..5 << 20).contains(&further), "{further} bytes have blocks");
    // A page far out does not fill all that lies before it.
    StorageBackend::write(&storage, 50 << 20, &[1; 4096]).unwrap();
    assert!(blocks() < 8 << 20);
}

/// Fails every write of zeroes.
#[derive(Debug)]
struct Full(Box<dyn Storage>);

impl Storage for Full {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_disk_without_room_for_the_zeroes_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
    let wrap: Wrap = Arc::new(|_: &Path, inner| -> Box<dyn Storage> { Box::new(Full(inner)) });
    let storage =
        ZeroFilled::new(&path, FileBackend::new(file).unwrap(), 0, 4096, Some(&wrap), false).unwrap();
    assert_eq!(storage.set_len(1 << 20).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn locks_reach_the_file() {
    let world = World { directory: tempfile::tempdir().unwrap(), model: Vec::new() };
    let (one, other) = (world.open(0, 0), world.open(0, 0));
    let whole = (Bound::Unbounded, Bound::Unbounded);
    assert!(one.try_lock_range(whole.0, whole.1).unwrap());
    assert!(!other.try_lock_range(whole.0, whole.1).unwrap());
    assert!(!other.try_lock_shared_range(whole.0, whole.1).unwrap());
    StorageBackend::close(&one).unwrap();
    assert!(other.try_lock_range(whole.0, whole.1).unwrap());
}
