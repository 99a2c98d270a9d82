//! As much of a `Cargo.toml` as the chores look at, line by line.

/// One `key = value` of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The section it stands in, without brackets; empty before the first.
    pub section: &'a str,
    /// Its key.
    pub key: &'a str,
    /// Its value as far as it stands on the key's line, without a comment.
    pub value: &'a str,
    /// The line, the first being 1.
    pub line: usize,
    /// Whether a comment stands right above it or behind it.
    pub commented: bool,
}

/// The entries of a manifest, in their order. Values may go over several lines if they are arrays.
pub fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut found = Vec::new();
    let mut section = "";
    let mut open_brackets = 0;
    let mut comment_above = false;
    for (at, line) in text.lines().enumerate() {
        let (code, comment) = split_comment(line);
        let code = code.trim();
        let inside_array = open_brackets > 0;
        if !inside_array && code.starts_with('[') {
            section = code.trim_matches(['[', ']']);
        } else {
            if let (false, Some((key, value))) = (inside_array, code.split_once('=')) {
                let commented = comment_above || comment;
                found.push(Entry { section, key: key.trim(), value: value.trim(), line: at + 1, commented });
            }
            open_brackets += brackets(code);
        }
        comment_above = code.is_empty() && comment;
    }
    found
}

/// A line without its comment, and whether there is one.
fn split_comment(line: &str) -> (&str, bool) {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return (&line[..at], true),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    (line, false)
}

/// How many more brackets a line opens than it closes.
fn brackets(code: &str) -> i32 {
    code.chars().map(|c| i32::from(c == '[') - i32::from(c == ']')).sum()
}

/// The features, in their order, `default` left out.
pub fn features(text: &str) -> impl Iterator<Item = &str> {
    let all = entries(text).into_iter();
    all.filter(|entry| entry.section == "features" && entry.key != "default").map(|entry| entry.key)
}

/// Whether the manifest is of a package that is published.
pub fn is_published(text: &str) -> bool {
    let all = entries(text);
    let package = || all.iter().filter(|entry| entry.section == "package");
    package().next().is_some() && !package().any(|entry| entry.key == "publish" && entry.value == "false")
}

/// Whether the manifest is of a package.
pub fn is_package(text: &str) -> bool {
    entries(text).iter().any(|entry| entry.section == "package")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r##"
[package]
name = "example" # the name
homepage = "https://example.org/#top"

[features]
default = ["redb"]
# The redb store.
redb = [
    "dep:redb", # the engine
    "std",
]
all = ["redb"]

[dependencies]
redb = { version = "4", optional = true }
"##;

    #[test]
    fn features_are_read_over_arrays_of_several_lines_and_default_is_left_out() {
        assert_eq!(features(MANIFEST).collect::<Vec<_>>(), ["redb", "all"]);
        assert_eq!(features("[workspace]\nmembers = []\n").count(), 0);
    }

    #[test]
    fn comments_count_above_and_behind_and_a_hash_in_a_string_is_none() {
        let commented: Vec<(&str, bool)> =
            entries(MANIFEST).iter().map(|entry| (entry.key, entry.commented)).collect();
        let expected =
            [("name", true), ("homepage", false), ("default", false), ("redb", true), ("all", false)];
        assert_eq!(commented[..5], expected);
    }

    #[test]
    fn only_a_package_that_does_not_say_otherwise_is_published() {
        assert!(is_published(MANIFEST));
        assert!(!is_published("[package]\nname = \"xtask\"\npublish = false\n"));
        assert!(!is_published("[workspace]\nmembers = []\n"));
        assert!(is_package(MANIFEST) && !is_package("[workspace]\n"));
    }
}
