//! Rules about the manifests.

use super::Fault;
use crate::manifest::{entries, is_published};
use crate::tree::File;

/// Every rule about manifests. The one named `Cargo.toml` is the workspace's.
pub fn check(manifests: &[&File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in manifests {
        faults.extend(uncommented_features(&file.path, &file.text));
        faults.extend(implied_features(&file.path, &file.text));
        faults.extend(own_lints(&file.path, &file.text));
        if file.path == "Cargo.toml" {
            faults.extend(unsafe_not_forbidden(&file.path, &file.text));
        }
    }
    faults
}

/// `default` needs no comment: it only names others.
fn uncommented_features(path: &str, text: &str) -> Vec<Fault> {
    let all = entries(text).into_iter();
    let features = all.filter(|entry| entry.section == "features" && entry.key != "default");
    features
        .filter(|entry| !entry.commented)
        .map(|entry| {
            Fault::new(path, entry.line, format!("the feature `{}` has no comment above it", entry.key))
        })
        .collect()
}

/// An optional dependency that no feature names by `dep:` becomes a feature that nobody described.
fn implied_features(path: &str, text: &str) -> Vec<Fault> {
    let optional = entries(text).into_iter().filter(|entry| {
        entry.section.ends_with("dependencies") && entry.value.replace(' ', "").contains("optional=true")
    });
    let implied = optional.filter(|entry| {
        let named = format!("\"dep:{}\"", entry.key);
        !text.contains(&named)
    });
    implied
        .map(|entry| {
            Fault::new(path, entry.line, format!("no feature turns `{0}` on by `dep:{0}`", entry.key))
        })
        .collect()
}

/// A published package takes the workspace's lints, and with them the ban on `unsafe`.
fn own_lints(path: &str, text: &str) -> Vec<Fault> {
    let all = entries(text);
    let taken =
        all.iter().any(|entry| (entry.section, entry.key, entry.value) == ("lints", "workspace", "true"));
    if taken || !is_published(text) {
        return Vec::new();
    }
    vec![Fault::new(path, 0, "a published package without `[lints] workspace = true`")]
}

fn unsafe_not_forbidden(path: &str, text: &str) -> Vec<Fault> {
    let all = entries(text);
    let mut lints = all.iter().filter(|entry| entry.section == "workspace.lints.rust");
    if lints.any(|entry| entry.key == "unsafe_code" && entry.value == "\"forbid\"") {
        return Vec::new();
    }
    vec![Fault::new(path, 0, "the workspace's lints do not say `unsafe_code = \"forbid\"`")]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = r#"
[workspace.lints.rust]
unsafe_code = "forbid"

[package]
name = "poolqueue"

[lints]
workspace = true

[features]
default = ["redb"]
# The redb store: pure Rust, one file.
redb = ["dep:poolqueue-redb"]

[dependencies]
poolqueue-redb = { workspace = true, optional = true }
"#;

    fn faults(text: &str) -> Vec<Fault> {
        check(&[&File { path: "Cargo.toml".into(), text: text.into() }])
    }

    #[test]
    fn every_rule_catches_its_planted_fault_and_nothing_else() {
        assert_eq!(faults(ROOT), []);
        let planted = [
            ("# The redb store: pure Rust, one file.\n", "", "the feature `redb` has no comment above it"),
            (
                "[\"dep:poolqueue-redb\"]",
                "[]",
                "no feature turns `poolqueue-redb` on by `dep:poolqueue-redb`",
            ),
            (
                "[lints]\nworkspace = true",
                "[lints]",
                "a published package without `[lints] workspace = true`",
            ),
            ("\"forbid\"", "\"deny\"", "the workspace's lints do not say `unsafe_code = \"forbid\"`"),
        ];
        for (from, to, expected) in planted {
            let found: Vec<String> =
                faults(&ROOT.replace(from, to)).into_iter().map(|fault| fault.text).collect();
            assert_eq!(found, [expected]);
        }
    }
}
