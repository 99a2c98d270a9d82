//! What callgrind writes down.

/// The event that is an instruction.
const INSTRUCTION: &str = "Ir";

/// How many instructions a run took, all threads together, by its output file.
///
/// # Errors
/// Says what the file lacks.
pub fn instructions(text: &str) -> Result<u64, String> {
    let values = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::split_whitespace);
    let mut events = values("events:").ok_or("it names no events")?;
    let at = events.position(|event| event == INSTRUCTION).ok_or("it counts no instructions")?;
    let mut totals = values("totals:").ok_or("it has no totals: the program may not have ended")?;
    let total = totals.nth(at).ok_or("its totals are too few")?;
    total.parse().map_err(|_| format!("{total:?} is not a number of instructions"))
}

/// The instructions for one job, of a run with `jobs` of them and one with twice as many.
///
/// # Errors
/// When the longer run took less.
pub fn per_job(once: u64, twice: u64, jobs: u64) -> Result<u64, String> {
    let more = twice.checked_sub(once).ok_or("twice the work took fewer instructions")?;
    more.saturating_add(jobs / 2).checked_div(jobs).ok_or_else(|| "it does no jobs".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 2170
cmd:  hot-paths run decide none 5000 /tmp/files
part: 1


desc: I1 cache: 
desc: Timerange: Basic block 0 - 83112
desc: Trigger: Program termination

positions: line
events: Ir
summary: 389562


ob=(1) /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
fl=(1) ./elf/../sysdeps/x86_64/dl-machine.h
fn=(1) _dl_relocate_object
462 7
totals: 389562
";

    #[test]
    fn the_total_of_the_instructions_is_read() {
        assert_eq!(instructions(FILE), Ok(389_562));
        let more = FILE.replace("events: Ir", "events: Dr Ir Dw").replace("totals: 389562", "totals: 1 23 4");
        assert_eq!(instructions(&more), Ok(23));
    }

    #[test]
    fn a_file_without_a_total_is_refused_with_the_reason() {
        let cases = [
            ("totals: 389562\n", "", "no totals"),
            ("totals: 389562", "totals: many", "\"many\""),
            ("totals: 389562", "totals:", "too few"),
            ("events: Ir", "events: Dr", "no instructions"),
            ("events: Ir\n", "", "no events"),
        ];
        for (from, to, expected) in cases {
            let why = instructions(&FILE.replace(from, to)).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn what_both_runs_do_falls_out() {
        for setup in [0, 1_000_000] {
            assert_eq!(per_job(setup + 50 * 700, setup + 100 * 700, 50), Ok(700));
        }
        assert_eq!(per_job(0, 149, 100), Ok(1));
        assert_eq!(per_job(0, 150, 100), Ok(2));
        assert!(per_job(9, 8, 1).is_err());
        assert!(per_job(8, 9, 0).is_err());
    }
}
