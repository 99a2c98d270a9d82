//! Rules about Rust source.

use std::ops::Range;

use super::Fault;
use super::mask::{is_word, mask};

/// The longest function, from the line of its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// The longest file, its tests not counted.
const FILE_LINES_MAX: usize = 500;
/// What is not left behind in finished code, tests included.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// A Rust file.
pub struct Source<'a> {
    path: &'a str,
    /// The code, comments and literals blanked.
    code: String,
    /// The parts that are tests.
    tests: Vec<Range<usize>>,
}

impl<'a> Source<'a> {
    /// The file at `path` from the root. Files in a directory `tests` and files named `tests.rs` are tests
    /// as a whole.
    pub fn new(path: &'a str, text: &str) -> Self {
        let code = mask(text);
        let is_test = path.split('/').any(|part| part == "tests" || part == "tests.rs");
        let tests = if is_test { std::iter::once(0..code.len()).collect() } else { test_items(&code) };
        Source { path, code, tests }
    }

    /// Every rule that holds for all source.
    pub fn check(&self) -> Vec<Fault> {
        [self.long_functions(), self.long_file(), self.unfinished(), self.ignored_tests()].concat()
    }

    /// `unsafe`, which no published package holds.
    pub fn unsafe_code(&self) -> Vec<Fault> {
        let found = words(&self.code, "unsafe");
        found.map(|at| self.fault(at, "`unsafe` in a published package")).collect()
    }

    fn long_functions(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for at in words(&self.code, "fn").filter(|at| !self.is_test(*at)) {
            let Some((name, body)) = function(&self.code, at) else { continue };
            let lines = line(&self.code, body.end - 1) - line(&self.code, at) + 1;
            if lines > FUNCTION_LINES_MAX {
                let text = format!(
                    "the function {name} has {lines} lines, at most {FUNCTION_LINES_MAX} are allowed"
                );
                faults.push(self.fault(at, text));
            }
        }
        faults
    }

    fn long_file(&self) -> Vec<Fault> {
        let in_tests: usize = self.tests.iter().map(|part| self.code[part.clone()].lines().count()).sum();
        let lines = self.code.lines().count().saturating_sub(in_tests);
        if lines <= FILE_LINES_MAX {
            return Vec::new();
        }
        let text = format!("the file has {lines} lines besides tests, at most {FILE_LINES_MAX} are allowed");
        vec![Fault::new(self.path, 0, text)]
    }

    fn unfinished(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for name in UNFINISHED {
            let called = |at: &usize| self.code[at + name.len()..].trim_start().starts_with('!');
            faults.extend(
                words(&self.code, name).filter(called).map(|at| self.fault(at, format!("`{name}!`"))),
            );
        }
        faults
    }

    fn ignored_tests(&self) -> Vec<Fault> {
        let ignores = |attribute: &Range<usize>| {
            let inside = self.code[attribute.clone()].trim_start_matches(['#', '[', ' ']);
            let conditional = starts_with_word(inside, "cfg_attr");
            starts_with_word(inside, "ignore") || (conditional && words(inside, "ignore").next().is_some())
        };
        let found = attributes(&self.code).filter(ignores);
        found
            .map(|attribute| self.fault(attribute.start, "`#[ignore]`: a test runs or is not there"))
            .collect()
    }

    fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|part| part.contains(&at))
    }

    fn fault(&self, at: usize, text: impl Into<String>) -> Fault {
        Fault::new(self.path, line(&self.code, at), text)
    }
}

/// The line of an offset, the first being 1.
fn line(code: &str, at: usize) -> usize {
    code.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where `word` stands as a word of its own.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    let apart = move |at: &usize| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let after = bytes.get(at + word.len());
        // `r#fn` is a name.
        before.is_none_or(|byte| !is_word(*byte) && *byte != b'#') && after.is_none_or(|byte| !is_word(*byte))
    };
    code.match_indices(word).map(|(at, _)| at).filter(apart)
}

fn starts_with_word(code: &str, word: &str) -> bool {
    words(code, word).next() == Some(0)
}

/// The name and the body of the function whose `fn` stands at `at`; `None` for a type or a method without body.
fn function(code: &str, at: usize) -> Option<(&str, Range<usize>)> {
    let behind = code[at + 2..].trim_start();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '#');
    let name = &behind[..behind.find(|c| !is_name(c)).unwrap_or(behind.len())];
    if name.is_empty() {
        return None;
    }
    let end = item_end(code, at)?;
    code[..end].ends_with('}').then_some((name, at..end))
}

/// Behind the `;` or the block that ends the item that `from` stands in.
fn item_end(code: &str, from: usize) -> Option<usize> {
    let mut nested = 0_usize;
    let mut braces = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested = nested.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && nested == 0 {
                    return Some(at + 1);
                }
            }
            b';' if nested == 0 && braces == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The attributes `#[…]`.
fn attributes(code: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    code.match_indices("#[").map(|(at, _)| {
        let mut depth = 0;
        let closing = code[at..].bytes().position(|byte| {
            depth += i32::from(byte == b'[') - i32::from(byte == b']');
            byte == b']' && depth == 0
        });
        at..closing.map_or(code.len(), |closing| at + closing + 1)
    })
}

/// The items that are only compiled for tests.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let only_for_tests = |attribute: &Range<usize>| {
        let inside = code[attribute.clone()].trim_start_matches(['#', '[', ' ']);
        starts_with_word(inside, "cfg") && words(inside, "test").next().is_some() && !inside.contains("not(")
    };
    let mut items: Vec<Range<usize>> = Vec::new();
    for attribute in attributes(code).filter(only_for_tests) {
        let inside_last = items.last().is_some_and(|last| last.contains(&attribute.start));
        if !inside_last {
            items.push(attribute.start..item_end(code, attribute.end).unwrap_or(code.len()));
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<(usize, String)> {
        let source = Source::new(path, text);
        source.check().into_iter().map(|fault| (fault.line, fault.text)).collect()
    }

    fn function_of(lines: usize) -> String {
        format!("/// Does it.\nfn work(x: [u8; 4]) -> u8 {{\n{}}}\n", "    step('{');\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_71_lines_is_caught_and_one_of_70_is_not() {
        let found = faults("src/a.rs", &function_of(71));
        let expected = "the function work has 71 lines, at most 70 are allowed";
        assert_eq!(found, [(2, expected.to_owned())]);
        assert!(faults("src/a.rs", &function_of(70)).is_empty());
        let in_macro = function_of(71).replace("work", "$name");
        assert_eq!(faults("src/a.rs", &in_macro).len(), 1);
    }

    #[test]
    fn a_long_function_is_caught_behind_a_trait_method_a_test_module_and_a_function_pointer() {
        let before = "trait T { fn a(&self) -> [u8; 4]; }\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n\
                      struct S { f: fn(u8) -> u8 }\n";
        let found = faults("src/a.rs", &format!("{before}{}", function_of(80)));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, 8);
    }

    #[test]
    fn long_functions_and_files_are_allowed_in_tests_only() {
        let long = function_of(80) + &"\n".repeat(600);
        assert_eq!(faults("src/a.rs", &long).len(), 2);
        assert!(faults("tests/a.rs", &long).is_empty());
        assert!(faults("src/a/tests.rs", &long).is_empty());
        let module = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(faults("src/a.rs", &module).is_empty());
        assert_eq!(faults("src/a.rs", &module.replace("cfg(test)", "cfg(not(test))")).len(), 2);
        assert_eq!(faults("src/a.rs", &module.replace("cfg(test)", "cfg(feature = \"test\")")).len(), 2);
    }

    #[test]
    fn a_file_of_501_lines_is_caught_and_one_of_500_is_not() {
        let found = faults("src/a.rs", &"// line\n".repeat(501));
        assert_eq!(found, [(0, "the file has 501 lines besides tests, at most 500 are allowed".to_owned())]);
        assert!(faults("src/a.rs", &"// line\n".repeat(500)).is_empty());
    }

    #[test]
    fn unfinished_code_is_caught_in_tests_too_but_not_in_words_about_it() {
        for name in UNFINISHED {
            let planted = format!("fn f() {{\n    {name}!()\n}}\n");
            for path in ["src/a.rs", "tests/a.rs", "examples/a.rs"] {
                assert_eq!(faults(path, &planted), [(2, format!("`{name}!`"))], "{path}");
            }
            let harmless = format!("// {name}!()\nfn {name}() {{ f(\"{name}!\"); my_{name}!() }}\n");
            assert!(faults("src/a.rs", &harmless).is_empty(), "{harmless}");
        }
    }

    #[test]
    fn ignored_tests_are_caught_in_every_spelling() {
        let planted = [
            "#[ignore]",
            "#[ignore = \"slow\"]",
            "#[ ignore ]",
            "#[cfg_attr(miri, ignore)]",
            "#[test] #[ignore]",
        ];
        for attribute in planted {
            let found = faults("tests/a.rs", &format!("{attribute}\nfn a_case() {{}}\n"));
            assert_eq!(found.len(), 1, "{attribute}");
        }
        for harmless in
            ["// #[ignore]", "#[test]", "#[doc(alias = \"ignore\")]", "#[cfg_attr(docsrs, doc(cfg))]"]
        {
            assert!(
                faults("tests/a.rs", &format!("{harmless}\nfn a_case() {{}}\n")).is_empty(),
                "{harmless}"
            );
        }
    }

    #[test]
    fn unsafe_is_caught_as_a_keyword_only() {
        let found = |text: &str| Source::new("src/a.rs", text).unsafe_code().len();
        assert_eq!(found("unsafe fn f() {}\nunsafe impl Send for S {}\n"), 2);
        assert_eq!(found("#![forbid(unsafe_code)]\n// unsafe\nconst X: &str = \"unsafe\";\n"), 0);
    }
}
