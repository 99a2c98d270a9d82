//! Rules about what the default build needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::Fault;

/// The package whose default build is looked at.
const PACKAGE: &str = "poolqueue";
/// The most crates its default build may have, itself among them.
const CRATES_MAX: usize = 60;
/// Crates that run a C compiler or need its libraries.
const NEED_C: [&str; 3] = ["bindgen", "cc", "cmake"];

/// How many crates the default build has, and what is wrong with them.
pub fn check_default_build(root: &Path) -> (usize, Vec<Fault>) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let asked = ["tree", "--package", PACKAGE, "--edges", "normal,build", "--prefix", "none"];
    let output = match Command::new(cargo).args(asked).current_dir(root).output() {
        Ok(output) => output,
        Err(error) => return (0, vec![Fault::new("cargo tree", 0, error.to_string())]),
    };
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return (0, vec![Fault::new("cargo tree", 0, message)]);
    }
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    (crates(&tree).len(), check(&tree))
}

/// The names and versions in the output of `cargo tree --prefix none`.
fn crates(tree: &str) -> BTreeSet<(&str, &str)> {
    let pairs = tree.lines().filter_map(|line| {
        let mut parts = line.split_whitespace();
        Some((parts.next()?, parts.next()?))
    });
    pairs.filter(|(_, version)| version.starts_with('v')).collect()
}

fn check(tree: &str) -> Vec<Fault> {
    let crates = crates(tree);
    let mut faults = Vec::new();
    if crates.len() > CRATES_MAX {
        let text = format!("the default build has {} crates, at most {CRATES_MAX} are allowed", crates.len());
        faults.push(Fault::new(PACKAGE, 0, text));
    }
    let need_c = crates.iter().filter(|(name, _)| NEED_C.contains(name));
    faults.extend(need_c.map(|(name, version)| {
        Fault::new(PACKAGE, 0, format!("the default build needs a C compiler: {name} {version}"))
    }));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
poolqueue v0.0.1 (/home/me/poolqueue)
chrono v0.4.45
num-traits v0.2.19
[build-dependencies]
autocfg v1.5.0
thiserror-impl v2.0.17 (proc-macro)
chrono v0.4.45 (*)
";

    #[test]
    fn crates_are_counted_once_each() {
        assert_eq!(crates(TREE).len(), 5);
        assert_eq!(check(TREE), []);
    }

    #[test]
    fn a_crate_that_needs_a_c_compiler_is_caught() {
        for name in NEED_C {
            let found = check(&format!("{TREE}{name} v1.2.3\n"));
            assert_eq!(found.len(), 1, "{name}");
            assert!(found[0].text.ends_with(&format!("{name} v1.2.3")), "{}", found[0]);
        }
        assert_eq!(check(&format!("{TREE}cc-like v1.0.0\n")), []);
    }

    #[test]
    fn a_default_build_of_61_crates_is_caught_and_one_of_60_is_not() {
        let tree_of = |count: usize| (0..count).map(|n| format!("crate-{n} v1.0.0\n")).collect::<String>();
        assert_eq!(check(&tree_of(60)), []);
        assert_eq!(check(&tree_of(61)).len(), 1);
    }
}
