//! Rules about the documents at the root.

use super::Fault;

/// Looks at the document at a path and its text.
pub type Check = fn(&str, &str) -> Vec<Fault>;

/// The documents that must be there, and what is looked at in each.
pub const CHECKS: [(&str, Check); 3] =
    [("README.md", first_commands), ("CHANGELOG.md", unreleased), ("docs/state_machine.md", not_empty)];

/// What a reader of the README types first.
const FIRST_COMMANDS: [&str; 2] =
    ["cargo run --example 10_checksum_tree", "cargo test --workspace --all-features"];
/// The languages of code blocks that hold commands.
const SHELLS: [&str; 5] = ["", "sh", "bash", "shell", "console"];

fn first_commands(path: &str, text: &str) -> Vec<Fault> {
    let found: Vec<&str> = commands(text).take(FIRST_COMMANDS.len()).collect();
    if found == FIRST_COMMANDS {
        return Vec::new();
    }
    vec![Fault::new(path, 0, format!("the first two commands are {found:?}, not {FIRST_COMMANDS:?}"))]
}

/// The commands in the code blocks of a Markdown text, in their order, without prompts and comments.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let mut language = None;
    text.lines().map(str::trim).filter_map(move |line| {
        if let Some(info) = line.strip_prefix("```") {
            language = if language.is_none() { Some(info) } else { None };
            return None;
        }
        let command = line.strip_prefix("$ ").unwrap_or(line).trim();
        let in_shell = language.is_some_and(|language| SHELLS.contains(&language));
        (in_shell && !command.is_empty() && !command.starts_with('#')).then_some(command)
    })
}

fn unreleased(path: &str, text: &str) -> Vec<Fault> {
    let first = text.lines().find(|line| line.starts_with("## "));
    if first.map(str::trim_end) == Some("## [Unreleased]") {
        return Vec::new();
    }
    vec![Fault::new(path, 0, "the first section is not `## [Unreleased]`")]
}

fn not_empty(path: &str, text: &str) -> Vec<Fault> {
    if text.trim().is_empty() { vec![Fault::new(path, 0, "the file is empty")] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "\
# poolqueue

```sh
cargo run --example 10_checksum_tree
cargo test --workspace --all-features
```

```rust
let queue = PoolQueue::open(path).await?;
```
";

    #[test]
    fn a_readme_that_starts_with_other_commands_is_caught() {
        assert!(first_commands("README.md", README).is_empty());
        assert!(first_commands("README.md", &README.replace("cargo", "$ cargo")).is_empty());
        assert!(
            first_commands("README.md", &README.replace("cargo test", "# The tests:\ncargo test")).is_empty()
        );
        let planted = [
            README.replace("10_checksum_tree", "01_enqueue_and_stream"),
            README.replace(" --all-features", ""),
            README.replace("cargo run", "cargo build\ncargo run"),
            README.replace("```sh", "```rust"),
            "```sh\ncargo install poolqueue-cli\n```\n".to_owned() + README,
            String::new(),
        ];
        for text in planted {
            assert_eq!(first_commands("README.md", &text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_changelog_without_an_unreleased_section_on_top_is_caught() {
        assert!(unreleased("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## [0.1.0]\n").is_empty());
        for text in ["", "# Changelog\n", "## [0.1.0]\n\n## [Unreleased]\n", "### [Unreleased]\n"] {
            assert_eq!(unreleased("CHANGELOG.md", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn an_empty_document_is_caught() {
        assert_eq!(not_empty("docs/state_machine.md", " \n").len(), 1);
        assert!(not_empty("docs/state_machine.md", "| from |\n").is_empty());
    }
}
