//! Plants each fault in a copy of the tree and runs the test that has to notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::planted::{PLANTS, Plant};
use crate::program::{Ended, Program};
use crate::{Failed, tree};

/// The longest a test may take. One that never ends with the fault and does without it has noticed.
const TEST_LIMIT: Duration = Duration::from_secs(300);

/// Runs the plants with these numbers, counted from 1; all of them when there are none.
pub fn run(numbers: &[usize]) -> Result<String, Failed> {
    if let Some(unknown) = numbers.iter().find(|number| !(1..=PLANTS.len()).contains(number)) {
        return Err(Failed::Usage(format!(
            "there is no planted fault {unknown}; they go from 1 to {}",
            PLANTS.len()
        )));
    }
    let chosen: Vec<(usize, &Plant)> =
        (1..).zip(PLANTS).filter(|(number, _)| numbers.is_empty() || numbers.contains(number)).collect();
    let copy = Copy::make()?;
    let mut missed = 0;
    for (number, plant) in &chosen {
        let verdict = copy.try_out(*number, plant)?;
        println!("planted {number:2} {}: {}", plant.name, verdict.text());
        missed += usize::from(verdict != Verdict::Caught);
    }
    let summary = format!("planted faults: {} of {} caught\n", chosen.len() - missed, chosen.len());
    if missed == 0 { Ok(summary) } else { Err(Failed::Check(summary)) }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Caught,
    Missed,
    /// The test fails without the fault as well.
    AlwaysFails,
}

impl Verdict {
    fn text(&self) -> &'static str {
        match self {
            Verdict::Caught => "caught",
            Verdict::Missed => "NOT CAUGHT",
            Verdict::AlwaysFails => "NO PROOF: the test fails without the fault",
        }
    }
}

/// The tracked files as they are now, somewhere else.
struct Copy {
    tree: PathBuf,
    logs: PathBuf,
    build: PathBuf,
}

impl Copy {
    fn make() -> Result<Self, Failed> {
        let base = tree::target().join("planted");
        let copy = Copy { tree: base.join("tree"), logs: base.join("logs"), build: base.join("build") };
        let failed = |error: std::io::Error| Failed::Usage(format!("{}: {error}", base.display()));
        let _ = fs::remove_dir_all(&copy.tree);
        fs::create_dir_all(&copy.logs).map_err(failed)?;
        for file in tracked(&tree::root())? {
            let (from, to) = (tree::root().join(&file), copy.tree.join(&file));
            // A file that is gone from the work tree and not yet from the index.
            if !from.exists() {
                continue;
            }
            if let Some(directory) = to.parent() {
                fs::create_dir_all(directory).map_err(failed)?;
            }
            fs::copy(&from, &to).map_err(failed)?;
        }
        Ok(copy)
    }

    fn try_out(&self, number: usize, plant: &Plant) -> Result<Verdict, Failed> {
        // First without the fault: a test that fails anyway catches nothing.
        if self.test(&format!("{number}-without"), plant)? != Ended::Well {
            return Ok(Verdict::AlwaysFails);
        }
        let before = self.plant(plant)?;
        let ended = self.test(&format!("{number}-planted"), plant);
        for (path, text) in before {
            fs::write(&path, text).map_err(|error| unwritable(&path, &error))?;
        }
        Ok(if ended? == Ended::Well { Verdict::Missed } else { Verdict::Caught })
    }

    /// Makes the edits. What the files said before.
    fn plant(&self, plant: &Plant) -> Result<Vec<(PathBuf, String)>, Failed> {
        let mut before: Vec<(PathBuf, String)> = Vec::new();
        for edit in plant.edits {
            let path = self.tree.join(edit.file);
            let text = fs::read_to_string(&path).map_err(|error| unwritable(&path, &error))?;
            if text.matches(edit.find).count() != 1 {
                return Err(Failed::Check(format!(
                    "{}: {} has changed, the fault cannot be planted\n",
                    plant.name, edit.file
                )));
            }
            let planted = text.replacen(edit.find, edit.replace, 1);
            fs::write(&path, planted).map_err(|error| unwritable(&path, &error))?;
            if !before.iter().any(|(known, _)| *known == path) {
                before.push((path, text));
            }
        }
        Ok(before)
    }

    /// Builds the test, which has to succeed, and runs it.
    fn test(&self, name: &str, plant: &Plant) -> Result<Ended, Failed> {
        let program = |more: &[&str]| {
            let program = Program::cargo(&self.tree, &self.build, &self.logs.join(format!("{name}.log")));
            let program =
                program.arguments(&["test", "--offline"]).arguments(plant.caught_by).arguments(more);
            plant.figures.iter().fold(program, |program, (name, value)| program.variable(name, value))
        };
        let built = program(&["--no-run"]).run()?;
        if built != Ended::Well {
            return Err(Failed::Check(format!(
                "{}: it does not build; see {}\n",
                plant.name,
                self.logs.display()
            )));
        }
        program(&[]).limit(TEST_LIMIT).run()
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failed {
    Failed::Usage(format!("{}: {error}", path.display()))
}

/// The files under version control, from the root.
fn tracked(root: &Path) -> Result<Vec<PathBuf>, Failed> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let listed = listed.map_err(|error| Failed::Usage(format!("git ls-files: {error}")))?;
    let names = String::from_utf8_lossy(&listed.stdout);
    let files: Vec<PathBuf> = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    if files.is_empty() {
        return Err(Failed::Usage(
            "git knows no files here: planting needs a clone of the repository".to_owned(),
        ));
    }
    Ok(files)
}
