//! Rows of the table of formats.

/// A value as the store writes it: version, checksum, bytes.
pub fn sealed(version: u8, key: &str, bytes: &[u8]) -> Vec<u8> {
    const META_PART: u8 = 5;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version, META_PART]);
    hasher.update(&0u32.to_le_bytes());
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(bytes);
    [&[version][..], &hasher.finalize().to_le_bytes(), bytes].concat()
}
