//! The committed counts, and others beside them.

use std::fmt::Write;

/// A count further above the baseline than so many per cent is a failure, one further below a chance to lower the baseline.
const TOLERANCE_PERCENT: u64 = 5;
/// What the line with the compiler begins with.
const COMPILER: &str = "Compiler: ";
/// The table's columns.
const HEAD: &str = "| path | engine | instructions per job |\n|---|---|--:|\n";

/// The instructions of one path on one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub path: String,
    pub engine: String,
    /// For one job.
    pub instructions: u64,
}

impl Row {
    fn is_of(&self, other: &Row) -> bool {
        (&self.path, &self.engine) == (&other.path, &other.engine)
    }
}

/// Counts, and what compiled that which was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    pub compiler: String,
    pub rows: Vec<Row>,
}

impl Baseline {
    /// Reads what [`document`](Self::document) wrote.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let named = text.lines().find_map(|line| line.strip_prefix(COMPILER));
        let compiler = named.ok_or_else(|| format!("no line begins with {COMPILER:?}"))?.trim().to_owned();
        let (_, table) = text.split_once(HEAD).ok_or("there is no table of instructions")?;
        let lines = table.lines().take_while(|line| line.starts_with('|'));
        let rows = lines.map(|line| row(line).ok_or_else(|| format!("{line:?} is not a row of the table")));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        if rows.is_empty() { Err("the table is empty".to_owned()) } else { Ok(Baseline { compiler, rows }) }
    }

    /// The table alone.
    pub fn table(&self) -> String {
        let line = |row: &Row| format!("| {} | {} | {} |\n", row.path, row.engine, grouped(row.instructions));
        HEAD.to_owned() + &self.rows.iter().map(line).collect::<String>()
    }

    /// The file. `what` says what each path is; one that comes again is the same.
    pub fn document<'a>(&self, what: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let mut explained: Vec<_> = what.collect();
        explained.dedup_by_key(|(name, _)| *name);
        let list: String = explained.iter().map(|(name, what)| format!("- `{name}`: {what}.\n")).collect();
        format!("{INTRODUCTION}\n{COMPILER}{}\n\n{}\n{list}", self.compiler, self.table())
    }
}

const INTRODUCTION: &str = "\
# Instructions

What a job costs on the hot paths, in instructions of the process, counted by callgrind. `cargo xtask instructions` counts them again and
fails where one takes more than 5 % more than here; `cargo xtask instructions --write` writes this file. How busy the machine is makes no
difference, so a regression shows where times do not show it. It is not a time: what the system does, syncs above all, is not in it, nor
are caches, and one instruction is not another.

The counts depend on the compiler, and a little on the C library and on the processor, by which it chooses how to copy memory. With
another compiler than this one they are shown and not judged.
";

/// A number with a comma after each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn row(line: &str) -> Option<Row> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let [path, engine, count] = inner.split('|').map(str::trim).collect::<Vec<_>>().try_into().ok()?;
    let instructions = count.replace(',', "").parse().ok()?;
    Some(Row { path: path.to_owned(), engine: engine.to_owned(), instructions })
}

/// What came of a comparison.
#[derive(Debug)]
pub struct Compared {
    /// For people.
    pub text: String,
    /// Whether the counts are not what the baseline allows.
    pub failed: bool,
}

/// Compares what was counted with the baseline. Counts of another compiler's code are shown and not judged.
pub fn compare(counted: &Baseline, before: &Baseline) -> Compared {
    let mut text =
        "| path | engine | instructions per job | baseline | change |\n|---|---|--:|--:|--:|\n".to_owned();
    let (mut faults, mut chances) = (String::new(), String::new());
    for row in &counted.rows {
        let Row { path, engine, instructions } = row;
        let known = before.rows.iter().find(|known| known.is_of(row)).map(|known| known.instructions);
        let (was, change) = match known {
            Some(was) => (grouped(was), percent(*instructions, was)),
            None => ("–".to_owned(), "–".to_owned()),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {path} | {engine} | {} | {was} | {change} |", grouped(*instructions));
        match known {
            None => faults += &format!("{path} on {engine} is not in the baseline\n"),
            Some(was) if is_more(*instructions, was) => {
                faults += &format!(
                    "{path} on {engine} takes {change}: more than {TOLERANCE_PERCENT} % above the baseline\n"
                );
            }
            Some(was) if is_less(*instructions, was) => {
                chances += &format!("{path} on {engine} takes {change}: the baseline can be lowered\n");
            }
            Some(_) => {}
        }
    }
    for gone in before.rows.iter().filter(|known| !counted.rows.iter().any(|row| row.is_of(known))) {
        faults += &format!("{} on {} is in the baseline and was not counted\n", gone.path, gone.engine);
    }
    text += "\n";
    if counted.compiler != before.compiler {
        text +=
            &format!("not judged: the baseline is of {}, this is {}\n", before.compiler, counted.compiler);
        return Compared { text, failed: false };
    }
    let failed = !faults.is_empty();
    text += &faults;
    text += &chances;
    if failed || !chances.is_empty() {
        text += "`cargo xtask instructions --write` makes these counts the baseline\n";
    } else {
        text += &format!("all within {TOLERANCE_PERCENT} % of the baseline\n");
    }
    Compared { text, failed }
}

fn is_more(now: u64, was: u64) -> bool {
    u128::from(now) * 100 > u128::from(was) * u128::from(100 + TOLERANCE_PERCENT)
}

fn is_less(now: u64, was: u64) -> bool {
    u128::from(now) * 100 < u128::from(was) * u128::from(100 - TOLERANCE_PERCENT)
}

/// How much more `now` is than `was`.
fn percent(now: u64, was: u64) -> String {
    let tenths = ((now as f64 / was as f64 - 1.0) * 1_000.0).round();
    if tenths == 0.0 { "0.0 %".to_owned() } else { format!("{:+.1} %", tenths / 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(compiler: &str, rows: &[(&str, &str, u64)]) -> Baseline {
        let row = |(path, engine, instructions): &(&str, &str, u64)| Row {
            path: (*path).to_owned(),
            engine: (*engine).to_owned(),
            instructions: *instructions,
        };
        Baseline { compiler: compiler.to_owned(), rows: rows.iter().map(row).collect() }
    }

    const ROWS: [(&str, &str, u64); 3] =
        [("enqueue", "redb", 1_234_567), ("enqueue", "sqlite", 99_999), ("decide", "none", 700)];

    #[test]
    fn a_document_is_read_back_and_says_what_each_path_is() {
        let written = counts("rustc 1.95.0 (abc 2026-01-01)", &ROWS);
        let what = [("enqueue", "a job is enqueued"), ("enqueue", "a job is enqueued"), ("decide", "rules")];
        let text = written.document(what.into_iter());
        assert_eq!(Baseline::parse(&text), Ok(written));
        assert_eq!(text.matches("- `enqueue`: a job is enqueued.\n").count(), 1, "{text}");
        assert!(text.contains("| enqueue | redb | 1,234,567 |\n"), "{text}");
        assert!(INTRODUCTION.contains(&format!("{TOLERANCE_PERCENT} %")));
    }

    #[test]
    fn what_is_no_baseline_is_refused_with_the_reason() {
        let text = counts("rustc 1", &ROWS).document([].into_iter());
        let cases = [
            (COMPILER, "compiled by ", "\"Compiler: \""),
            ("| path |", "| what |", "no table"),
            ("| 700 |", "| few |", "few"),
            ("| 700 |", "|", "not a row"),
        ];
        for (from, to, expected) in cases {
            let why = Baseline::parse(&text.replace(from, to)).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        assert!(Baseline::parse(&counts("rustc 1", &[]).document([].into_iter())).is_err());
    }

    #[test]
    fn more_than_five_per_cent_above_is_a_failure_and_below_a_chance() {
        let before = counts("rustc 1", &[("enqueue", "redb", 1_000)]);
        let cases = [
            (1_000, false, "all within 5 %"),
            (1_050, false, "all within 5 %"),
            (1_051, true, "enqueue on redb takes +5.1 %: more than 5 % above"),
            (950, false, "all within 5 %"),
            (949, false, "enqueue on redb takes -5.1 %: the baseline can be lowered"),
        ];
        for (now, failed, expected) in cases {
            let compared = compare(&counts("rustc 1", &[("enqueue", "redb", now)]), &before);
            assert_eq!(compared.failed, failed, "{now}");
            assert!(compared.text.contains(expected), "{}", compared.text);
        }
    }

    #[test]
    fn a_path_that_only_one_side_has_is_a_failure_that_names_it() {
        let all = counts("rustc 1", &ROWS);
        let few = counts("rustc 1", &ROWS[..2]);
        for (counted, before, expected) in [
            (&all, &few, "decide on none is not in the baseline"),
            (&few, &all, "decide on none is in the baseline and was not counted"),
        ] {
            let compared = compare(counted, before);
            assert!(compared.failed && compared.text.contains(expected), "{}", compared.text);
        }
    }

    #[test]
    fn a_change_has_a_sign_unless_there_is_none() {
        for (now, expected) in [(10_000, "0.0 %"), (9_997, "0.0 %"), (9_990, "-0.1 %"), (10_510, "+5.1 %")] {
            assert_eq!(percent(now, 10_000), expected);
        }
    }

    #[test]
    fn counts_of_another_compiler_are_shown_and_not_judged() {
        let before = counts("rustc 1", &[("enqueue", "redb", 1_000)]);
        let compared = compare(&counts("rustc 2", &[("enqueue", "redb", 2_000)]), &before);
        assert!(!compared.failed);
        assert!(compared.text.contains("| enqueue | redb | 2,000 | 1,000 | +100.0 % |"), "{}", compared.text);
        assert!(compared.text.ends_with("not judged: the baseline is of rustc 1, this is rustc 2\n"));
    }
}
