use super::*;

/// A file in memory.
#[derive(Debug, Default, Clone)]
struct Memory(Arc<Mutex<(Vec<u8>, Vec<String>)>>);

impl Memory {
    fn of(bytes: &[u8]) -> Self {
        Memory(Arc::new(Mutex::new((bytes.to_vec(), Vec::new()))))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.clone()
    }

    fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Storage for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let file = self.0.lock().unwrap();
        let found = file.0.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut file = self.0.lock().unwrap();
        file.0.resize(usize::try_from(len).unwrap(), 0);
        file.1.push(format!("set_len {len}"));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().unwrap().1.push("sync".into());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut file = self.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let end = file.0.len().max(at + data.len());
        file.0.resize(end, 0);
        file.0[at..at + data.len()].copy_from_slice(data);
        file.1.push(format!("write {offset} {}", data.len()));
        Ok(())
    }
}

fn all(storage: &impl Storage) -> Vec<u8> {
    let mut out = vec![9; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read(0, &mut out).unwrap();
    out
}

#[test]
fn what_is_held_is_read_back_and_the_file_is_as_it_was() {
    let file = Memory::of(b"0123456789");
    let staged = Arc::new(Staged::holding(Box::new(file.clone())).unwrap());
    staged.write(2, b"ab").unwrap();
    staged.sync_data().unwrap();
    staged.set_len(4).unwrap();
    staged.set_len(8).unwrap();
    staged.write(6, b"XYZ").unwrap();
    assert_eq!(all(&staged), b"01ab\0\0XYZ");
    let mut middle = [9; 4];
    staged.read(3, &mut middle).unwrap();
    assert_eq!(&middle, b"b\0\0X");
    assert!(staged.read(8, &mut middle).is_err());
    assert_eq!(file.bytes(), b"0123456789");
    assert!(file.calls().is_empty());
}

#[test]
fn what_was_held_is_done_in_its_order_and_what_follows_at_once() {
    let file = Memory::of(b"0123456789");
    let staged = Arc::new(Staged::holding(Box::new(file.clone())).unwrap());
    staged.write(2, b"ab").unwrap();
    staged.sync_data().unwrap();
    staged.set_len(4).unwrap();
    staged.release().unwrap();
    staged.release().unwrap();
    assert_eq!(file.calls(), ["write 2 2", "sync", "set_len 4"]);
    staged.write(0, b"!").unwrap();
    assert_eq!(file.bytes(), b"!1ab");
    assert_eq!(all(&staged), b"!1ab");
}

#[test]
fn random_steps_are_read_as_a_file_would_have_them() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        let start: Vec<u8> = (0..random.u8(..40)).collect();
        let (file, plain) = (Memory::of(&start), Memory::of(&start));
        let staged = Arc::new(Staged::holding(Box::new(file.clone())).unwrap());
        for _ in 0..random.usize(..8) {
            if random.bool() {
                let len = random.u64(..60);
                staged.set_len(len).unwrap();
                plain.set_len(len).unwrap();
            } else {
                let (offset, data) = (random.u64(..50), vec![random.u8(100..); random.usize(1..12)]);
                staged.write(offset, &data).unwrap();
                plain.write(offset, &data).unwrap();
            }
        }
        assert_eq!(all(&staged), plain.bytes(), "seed {seed}");
        assert_eq!(file.bytes(), start, "seed {seed}");
        staged.release().unwrap();
        assert_eq!(file.bytes(), plain.bytes(), "seed {seed}");
    }
}

#[test]
fn writing_all_again_writes_the_file_as_it_is_syncs_it_and_leaves_what_is_kept() {
    let bytes: Vec<u8> = (0..CHUNK + 5_000).map(|at| (at % 251) as u8).collect();
    let file = Memory::of(&bytes);
    let staged = Arc::new(Staged::holding(Box::new(file.clone())).unwrap());
    staged.write(0, b"kept").unwrap();
    staged.write_again().unwrap();
    assert_eq!(file.calls(), [format!("write 0 {CHUNK}"), format!("write {CHUNK} 5000"), "sync".to_owned()]);
    assert!(file.bytes() == bytes);
    staged.release().unwrap();
    assert_eq!(file.bytes()[..4], *b"kept");
}
