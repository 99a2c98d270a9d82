//! The rules a machine can keep. Each check takes text and gives back what it found, and is tested with a
//! planted fault that it must catch.

mod code;
mod dependencies;
mod documents;
mod manifests;
mod mask;

use std::fmt;
use std::fs;
use std::path::Path;

use crate::tree::{self, File};
use crate::{Failed, manifest};

/// A broken rule and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: String,
    /// The line, the first being 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl Fault {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Fault { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.text),
            line => write!(f, "{}:{line}: {}", self.path, self.text),
        }
    }
}

/// Checks the repository at `root`.
pub fn run(root: &Path) -> Result<String, Failed> {
    let files =
        tree::files(root).map_err(|error| Failed::Usage(format!("cannot read the files: {error}")))?;
    let (sources, manifests): (Vec<&File>, Vec<&File>) =
        files.iter().partition(|file| file.path.ends_with(".rs"));
    let mut faults = manifests::check(&manifests);
    faults.extend(check_sources(&sources, &manifests));
    for (path, check) in documents::CHECKS {
        match fs::read_to_string(root.join(path)) {
            Ok(text) => faults.extend(check(path, &text)),
            Err(error) => faults.push(Fault::new(path, 0, error.to_string())),
        }
    }
    let (crates, in_tree) = dependencies::check_default_build(root);
    faults.extend(in_tree);
    report(&faults, sources.len(), manifests.len(), crates)
}

fn check_sources(sources: &[&File], manifests: &[&File]) -> Vec<Fault> {
    let packages: Vec<(&str, bool)> = manifests
        .iter()
        .filter(|file| manifest::is_package(&file.text))
        .map(|file| (tree::directory(&file.path), manifest::is_published(&file.text)))
        .collect();
    let mut faults = Vec::new();
    for file in sources {
        let source = code::Source::new(&file.path, &file.text);
        faults.extend(source.check());
        if is_published(&file.path, &packages) {
            faults.extend(source.unsafe_code());
        }
    }
    faults
}

/// Whether the file at `path` belongs to a published package: the package of the nearest directory above it.
fn is_published(path: &str, packages: &[(&str, bool)]) -> bool {
    let holds = |directory: &str| {
        directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
    };
    let nearest = packages.iter().filter(|(directory, _)| holds(directory));
    nearest.max_by_key(|(directory, _)| directory.len()).is_some_and(|(_, published)| *published)
}

/// A check that looked at nothing has shown nothing, so it counts as failed.
fn report(faults: &[Fault], sources: usize, manifests: usize, crates: usize) -> Result<String, Failed> {
    let looked_at = [sources, manifests, crates].iter().all(|count| *count > 0);
    let mut lines: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
    lines += &format!(
        "tidy: {sources} sources, {manifests} manifests, {} documents, {crates} crates in the default build, \
         {} faults\n",
        documents::CHECKS.len(),
        faults.len()
    );
    if looked_at && faults.is_empty() { Ok(lines) } else { Err(Failed::Check(lines)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_nearest_package_above_it() {
        let packages = [("", true), ("xtask", false), ("crates/core", true)];
        let cases = [
            ("src/lib.rs", true),
            ("xtask/src/main.rs", false),
            ("xtasks/src/main.rs", true),
            ("crates/core/src/lib.rs", true),
        ];
        for (path, expected) in cases {
            assert_eq!(is_published(path, &packages), expected, "{path}");
        }
        assert!(!is_published("src/lib.rs", &[("xtask", false)]));
    }

    #[test]
    fn unsafe_code_is_a_fault_in_a_published_package_and_allowed_in_another() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let published = file("Cargo.toml", "[package]\nname = \"poolqueue\"\n");
        let unpublished = file("faults/Cargo.toml", "[package]\nname = \"faults\"\npublish = false\n");
        let code = "fn f(p: *const u8) -> u8 { unsafe { *p } }\n";
        let sources = [file("src/lib.rs", code), file("faults/src/lib.rs", code)];
        let faults = check_sources(&sources.each_ref(), &[&published, &unpublished]);
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["src/lib.rs"]);
    }

    #[test]
    fn a_run_that_looked_at_nothing_is_a_failure() {
        assert!(report(&[], 1, 1, 1).is_ok());
        for (sources, manifests, crates) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
            assert!(report(&[], sources, manifests, crates).is_err());
        }
        assert!(report(&[Fault::new("a.rs", 1, "bad")], 1, 1, 1).is_err());
    }
}
