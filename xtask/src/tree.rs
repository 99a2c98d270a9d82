//! The files of the repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directory that holds the workspace.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A text file and its path from the root, with `/` between its parts.
pub struct File {
    /// Where it lies.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// Every Rust source and cargo manifest below `root`, in the order of their paths. Hidden directories and
/// build output are left out, symbolic links are not followed.
pub fn files(root: &Path) -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() && !name.starts_with('.') && name != "target" {
                directories.push(entry.path());
            } else if kind.is_file() && (name.ends_with(".rs") || name == "Cargo.toml") {
                found.push(File {
                    path: relative(root, &entry.path()),
                    text: fs::read_to_string(entry.path())?,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

/// The directory a path lies in; empty for the root.
pub fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}
