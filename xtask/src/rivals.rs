//! The other queues: each is built by itself, since they link different versions of SQLite, and all are measured
//! together.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::program::{Ended, Program};
use crate::{Failed, tree};

/// Where they are.
const DIRECTORY: &str = "benches/rivals";
/// The longest a build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(3_600);

/// Builds all of them and measures those that did build, as `arguments` say to `bench-compare`.
pub fn run(arguments: &[&str]) -> Result<String, Failed> {
    let root = tree::root();
    let names = names(&root).map_err(|error| Failed::Usage(format!("{DIRECTORY}: {error}")))?;
    let (mut built, mut not_built) = (Vec::new(), String::new());
    for name in &names {
        match build(&root, name)? {
            Ok(program) => built.push(program),
            Err(why) => not_built += &format!("{name} is not measured: {why}\n"),
        }
    }
    let measured = measure(&root, &built, arguments)?;
    match (measured, not_built.is_empty()) {
        (true, true) => Ok(String::new()),
        (false, true) => Err(Failed::Check("bench-compare failed\n".to_owned())),
        (_, false) => Err(Failed::Check(not_built)),
    }
}

/// The directories that hold a program, in the order of their names.
fn names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join(DIRECTORY))? {
        let entry = entry?;
        if entry.path().join("src/main.rs").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The program of the rival, or why there is none.
fn build(root: &Path, name: &str) -> Result<Result<PathBuf, String>, Failed> {
    let target = tree::target().join("rivals");
    let log = target.join(format!("{name}.log"));
    eprintln!("building {name} (log: {})", log.display());
    let program = Program::cargo(&root.join(DIRECTORY).join(name), &target, &log);
    let ended = program.arguments(&["build", "--release"]).limit(BUILD_LIMIT).run()?;
    let what = match ended {
        Ended::Well => return Ok(Ok(target.join("release").join(format!("rival-{name}")))),
        Ended::Badly => "it does not build",
        Ended::TooLate => "its build did not end",
    };
    Ok(Err(format!("{what}, see {}", log.display())))
}

/// Whether `bench-compare` succeeds. Its output is the chore's.
fn measure(root: &Path, rivals: &[PathBuf], arguments: &[&str]) -> Result<bool, Failed> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["run", "--quiet", "--release", "--package", "bench-compare", "--"]);
    for rival in rivals {
        command.arg("--rival").arg(rival);
    }
    let ended = command.args(arguments).status();
    ended.map(|status| status.success()).map_err(|error| Failed::Usage(format!("bench-compare: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    #[test]
    fn every_rival_is_a_package_of_its_own_with_its_rival_pinned() {
        let root = tree::root();
        let names = names(&root).unwrap();
        assert!(names.len() >= 5, "{names:?}");
        for name in names {
            let manifest = fs::read_to_string(root.join(DIRECTORY).join(&name).join("Cargo.toml")).unwrap();
            let entries = manifest::entries(&manifest);
            let has = |section: &str, key: &str, value: &str| {
                let found = |entry: &&manifest::Entry| (entry.section, entry.key) == (section, key);
                entries.iter().find(found).is_some_and(|entry| entry.value.contains(value))
            };
            assert!(has("package", "name", &format!("\"rival-{name}\"")), "{name}");
            assert!(has("package", "publish", "false"), "{name}");
            assert!(has("dependencies", &name, "\"="), "{name}");
            assert!(manifest.contains("\n[workspace]\n"), "{name}");
        }
    }
}
