//! How many instructions the hot paths take, counted by callgrind: the same on a busy machine as on an idle one.

mod baseline;
mod callgrind;

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::program::{Ended, Program};
use crate::{Failed, tree};

use baseline::{Baseline, Row};

/// The committed counts.
const BASELINE: &str = "docs/instructions.md";
/// The longest that building, or counting one path once, may take.
const LIMIT: Duration = Duration::from_secs(1_800);

/// A path as `hot-paths list` tells it.
#[derive(Debug, PartialEq, Eq)]
struct HotPath {
    name: String,
    engine: String,
    /// How often it is repeated in the first of two runs; twice as often in the second.
    repetitions: u64,
    /// Jobs of one repetition.
    jobs: u64,
    /// What it is, for people.
    what: String,
}

/// Counts every path and compares the counts with the baseline, or makes them the baseline (`write`).
pub fn run(write: bool) -> Result<String, Failed> {
    let root = tree::root();
    need_valgrind(Command::new("valgrind").arg("--version").output().map(|_| ()))?;
    let compiler = compiler(&root)?;
    let program = build(&root)?;
    let paths = listed(&output(Command::new(&program).arg("list"))?)?;
    let rows = paths.iter().map(|path| count(&root, &program, path)).collect::<Result<Vec<Row>, Failed>>()?;
    let counted = Baseline { compiler, rows };
    let file = root.join(BASELINE);
    let unusable = |error: io::Error| Failed::Usage(format!("{BASELINE}: {error}"));
    if write {
        let what = paths.iter().map(|path| (path.name.as_str(), path.what.as_str()));
        fs::write(file, counted.document(what)).map_err(unusable)?;
        return Ok(format!("{}{BASELINE} is written\n", counted.table()));
    }
    let text = fs::read_to_string(file).map_err(unusable)?;
    let before = Baseline::parse(&text).map_err(|why| Failed::Usage(format!("{BASELINE}: {why}")))?;
    let compared = baseline::compare(&counted, &before);
    if compared.failed { Err(Failed::Check(compared.text)) } else { Ok(compared.text) }
}

/// Says plainly when there is nothing to count with.
fn need_valgrind(found: io::Result<()>) -> Result<(), Failed> {
    found.map_err(|error| {
        Failed::Usage(format!(
            "nothing was measured: valgrind, which counts the instructions, does not run: {error}"
        ))
    })
}

/// The compiler that builds here, in its own words.
fn compiler(root: &Path) -> Result<String, Failed> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Ok(output(Command::new(rustc).arg("--version").current_dir(root))?.trim().to_owned())
}

/// What a program prints, which must succeed.
fn output(command: &mut Command) -> Result<String, Failed> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Failed::Usage(format!("{name}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failed::Usage(format!("{name}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds the program that holds the paths.
fn build(root: &Path) -> Result<std::path::PathBuf, Failed> {
    let target = tree::target();
    let log = target.join("instructions.log");
    eprintln!("building the hot paths (log: {})", log.display());
    let asked = ["build", "--release", "--package", "bench-compare", "--bin", "hot-paths"];
    let ended = Program::cargo(root, &target, &log).arguments(&asked).limit(LIMIT).run()?;
    if ended != Ended::Well {
        return Err(Failed::Usage(format!("the hot paths are not built, see {}", log.display())));
    }
    Ok(target.join("release").join("hot-paths"))
}

/// The paths in the output of `hot-paths list`.
fn listed(text: &str) -> Result<Vec<HotPath>, Failed> {
    let path = |line: &str| -> Option<HotPath> {
        let [name, engine, repetitions, jobs, what] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let more_than_none = |text: &str| text.parse().ok().filter(|number| *number > 0);
        Some(HotPath {
            name: name.to_owned(),
            engine: engine.to_owned(),
            repetitions: more_than_none(repetitions)?,
            jobs: more_than_none(jobs)?,
            what: what.to_owned(),
        })
    };
    let unread = |line: &str| Failed::Usage(format!("hot-paths list: {line:?} is not understood"));
    let paths =
        text.lines().map(|line| path(line).ok_or_else(|| unread(line))).collect::<Result<Vec<_>, _>>()?;
    if paths.is_empty() { Err(unread("")) } else { Ok(paths) }
}

/// Counts one path: it runs twice, the second time with twice the repetitions, so that whatever else the program does falls
/// out of the difference.
fn count(root: &Path, program: &Path, path: &HotPath) -> Result<Row, Failed> {
    eprintln!("counting {} on {}", path.name, path.engine);
    let once = instructions(root, program, path, path.repetitions)?;
    let twice = instructions(root, program, path, path.repetitions * 2)?;
    let per_job = callgrind::per_job(once, twice, path.repetitions * path.jobs)
        .map_err(|why| Failed::Usage(format!("{} on {}: {why}", path.name, path.engine)))?;
    Ok(Row { path: path.name.clone(), engine: path.engine.clone(), instructions: per_job })
}

/// The instructions of one run, its files in a directory of their own.
fn instructions(root: &Path, program: &Path, path: &HotPath, repetitions: u64) -> Result<u64, Failed> {
    let place = tree::target().join("instructions").join(format!("{}-{}", path.name, path.engine));
    let unusable = |error: io::Error| Failed::Usage(format!("{}: {error}", place.display()));
    let files = place.join("files");
    if place.exists() {
        fs::remove_dir_all(&place).map_err(unusable)?;
    }
    fs::create_dir_all(&files).map_err(unusable)?;
    let (counts, log) = (place.join("callgrind.out"), place.join("log"));
    let tool = format!("--callgrind-out-file={}", counts.display());
    let (program, files) = (program.to_string_lossy(), files.to_string_lossy());
    let repetitions = repetitions.to_string();
    let arguments =
        ["--tool=callgrind", &tool, &program, "run", &path.name, &path.engine, &repetitions, &files];
    let ended = Program::new("valgrind", root, &log).arguments(&arguments).limit(LIMIT).run()?;
    if ended != Ended::Well {
        return Err(Failed::Usage(format!(
            "{} on {} ended badly, see {}",
            path.name,
            path.engine,
            log.display()
        )));
    }
    let text = fs::read_to_string(&counts).map_err(unusable)?;
    let counted = callgrind::instructions(&text)
        .map_err(|why| Failed::Usage(format!("{}: {why}", counts.display())))?;
    fs::remove_dir_all(&place).map_err(unusable)?;
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_valgrind_the_chore_says_that_nothing_was_measured() {
        let missing = Command::new("there-is-no-such-valgrind").output().map(|_| ());
        let Err(Failed::Usage(message)) = need_valgrind(missing) else { panic!("it goes on") };
        assert!(message.starts_with("nothing was measured: valgrind"), "{message}");
    }

    #[test]
    fn what_the_program_lists_is_understood_or_refused_by_the_line() {
        let Ok(paths) = listed("a\tredb\t50\t64\tthe first\nb\tnone\t9\t1\tthe second\n") else {
            panic!("a good list is refused")
        };
        assert_eq!((paths.len(), paths[0].repetitions, paths[0].jobs), (2, 50, 64));
        assert_eq!((paths[1].name.as_str(), paths[1].what.as_str()), ("b", "the second"));
        for line in ["", "a\tredb\t50\t64", "a\tredb\t0\t64\tx", "a\tredb\t50\tmany\tx"] {
            let Err(Failed::Usage(message)) = listed(line) else { panic!("{line:?} is understood") };
            assert!(message.contains(&format!("{line:?}")), "{message}");
        }
    }

    #[test]
    fn the_committed_baseline_is_one() {
        let text = fs::read_to_string(tree::root().join(BASELINE)).unwrap();
        let baseline = Baseline::parse(&text).unwrap();
        assert!(baseline.compiler.starts_with("rustc "), "{}", baseline.compiler);
        for path in ["enqueue-64", "drain-16", "decide", "codec", "index"] {
            assert!(baseline.rows.iter().any(|row| row.path == path), "{path}");
        }
    }
}
