//! The rows of the scoreboard: which test proves what, and how much it tries.

/// One test and its figures.
#[derive(Debug)]
pub struct Row {
    /// The row of the scoreboard.
    pub row: &'static str,
    /// The test reads `POOLQUEUE_PROVE_<figure>`.
    pub figure: &'static str,
    /// How much is tried before a release, in the test's own unit.
    pub release: u64,
    /// How much is tried for every change.
    pub quick: u64,
    /// Where the test is.
    pub place: Place,
    /// The test's name there.
    pub test: &'static str,
}

/// A package and a test target in it; without one, the tests beside the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub package: &'static str,
    pub target: Option<&'static str>,
    /// Whether it is built so that shuttle tries the interleavings.
    pub shuttle: bool,
}

impl Place {
    /// The packages that are built, as arguments of `cargo test`: the whole workspace with all features, so that nothing is
    /// built twice, but not the bench, in which there is nothing to prove.
    pub fn packages(&self) -> Vec<&'static str> {
        if self.shuttle {
            vec!["--package", self.package, "--no-default-features"]
        } else {
            vec!["--workspace", "--exclude", "bench-compare", "--all-features"]
        }
    }

    /// The target alone. Another package may have one of the same name; the test's name then tells them apart.
    pub fn target(&self) -> Vec<&'static str> {
        match self.target {
            Some(target) => vec!["--test", target],
            None => vec!["--lib"],
        }
    }
}

const fn place(package: &'static str, target: &'static str) -> Place {
    Place { package, target: Some(target), shuttle: false }
}

const REDB_POWER: Place = place("poolqueue-redb", "power_loss");
const REDB_POWER_INTERVAL: Place = place("poolqueue-redb", "power_interval");
const FILES_POWER: Place = place("poolqueue-testkit-fault", "power_files");
const SQLITE_POWER: Place = place("poolqueue-testkit-fault", "power_sqlite");
const SQLITE_POWER_POLICIES: Place = place("poolqueue-testkit-fault", "power_policies");
const FAULTS: Place = place("poolqueue-testkit-fault", "faults");
const MODELS: Place = Place { package: "poolqueue-core", target: Some("shuttle"), shuttle: true };
const PUMP: Place = Place { package: "poolqueue", target: None, shuttle: true };
const FORGOTTEN: Place = place("poolqueue-testkit-fault", "forgotten");
const FUZZ: Place = place("poolqueue-testkit", "fuzz");
const HISTORIES: Place = place("poolqueue-testkit", "histories");
const JUMPS: Place = place("poolqueue-testkit", "jumps");
const KILL: Place = place("poolqueue-testkit", "kill");
const KILL_SEVERAL: Place = place("poolqueue-testkit", "kill_several");
const MODEL: Place = place("poolqueue-testkit", "model");
const POISON: Place = place("poolqueue-testkit", "poison");
const SOAK: Place = place("poolqueue-testkit", "soak");
const WAKEUPS: Place = place("poolqueue-testkit", "wakeups");
const ZOMBIES: Place = place("poolqueue-testkit", "zombies");
const REDB_DAMAGE: Place = place("poolqueue-redb", "damage_many");
const SQLITE_DAMAGE: Place = place("poolqueue-sqlite", "damage_many");
const REDB_FORMATS: Place = place("poolqueue-redb", "formats");
const REDB_UNITS: Place = Place { package: "poolqueue-redb", target: None, shuttle: false };
const SQLITE_SCHEMA: Place = Place { package: "poolqueue-sqlite", target: None, shuttle: false };

type Figures = (&'static str, u64, u64);

const fn row(row: &'static str, (figure, release, quick): Figures, place: Place, test: &'static str) -> Row {
    Row { row, figure, release, quick, place, test }
}

/// All rows, in their order.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("R1", ("R1_REDB", 1_000_000, 50_000), REDB_POWER, "nothing_acknowledged_is_lost_with_the_power"),
    row("R1", ("R1_REDB_INTERVAL", 20_000, 1_000), REDB_POWER_INTERVAL, "of_what_was_acknowledged_only_the_end_since_the_last_sync_is_lost_with_the_power"),
    row("R1", ("R1_REDB_APPLICATION", 20_000, 1_000), REDB_UNITS, "application::tests::power::nothing_of_the_queue_s_or_the_application_s_is_lost_with_the_power"),
    row("R1", ("R1_SQLITE", 1_000_000, 50_000), SQLITE_POWER, "nothing_acknowledged_is_lost_with_the_power"),
    row("R1", ("R1_SQLITE_INTERVAL", 20_000, 1_000), SQLITE_POWER_POLICIES, "at_an_interval_only_what_was_acknowledged_since_the_last_sync_is_lost_with_the_power"),
    row("R1", ("R1_SQLITE_OS", 20_000, 1_000), SQLITE_POWER_POLICIES, "without_syncs_only_what_was_acknowledged_last_is_lost_with_the_power"),
    row("R1", ("R1_FILES_REDB", 20_000, 1_000), FILES_POWER, "redb_files_are_whole_or_not_there_when_the_power_is_lost"),
    row("R1", ("R1_FILES_SQLITE", 20_000, 1_000), FILES_POWER, "sqlite_files_are_whole_or_not_there_when_the_power_is_lost"),
    row("R1", ("R1_MODEL", 1_000_000, 20_000), MODELS, "answers::nobody_is_answered_before_the_commit_in_any_interleaving"),
    row("R2", ("R2_REDB", 500_000, 20_000), REDB_POWER, "nothing_is_lost_when_the_power_goes_again_during_recovery"),
    row("R2", ("R2_SQLITE", 500_000, 20_000), SQLITE_POWER, "nothing_is_lost_when_the_power_goes_again_while_the_store_is_opened"),
    row("R3", ("R3_REDB", 1_000, 50), KILL, "no_acknowledged_job_is_lost_by_kill_9"),
    row("R3", ("R3_SQLITE", 1_000, 20), KILL_SEVERAL, "no_acknowledged_job_is_lost_or_done_twice_when_processes_on_one_file_are_killed"),
    row("R4", ("R4_REDB", 1_000, 100), FAULTS, "redb_loses_nothing_whatever_operation_fails"),
    row("R4", ("R4_SQLITE", 1_000, 100), FAULTS, "sqlite_loses_nothing_whatever_operation_fails"),
    row("R4", ("R4_FORGOTTEN_REDB", 20_000, 2_000), FORGOTTEN, "redb_does_not_stand_on_what_a_failed_sync_forgot"),
    row("R4", ("R4_FORGOTTEN_SQLITE", 20_000, 2_000), FORGOTTEN, "sqlite_does_not_stand_on_what_a_failed_sync_forgot"),
    row("R5", ("R5_REDB", 10_000, 1_000), REDB_DAMAGE, "a_damaged_file_is_read_rightly_or_refused_and_what_is_left_of_it_can_be_salvaged"),
    row("R5", ("R5_SQLITE", 10_000, 1_000), SQLITE_DAMAGE, "a_damaged_file_is_read_rightly_or_told_as_damaged_and_what_is_left_of_it_can_be_salvaged"),
    row("R6", ("R6_REDB", 5_000_000, 100_000), MODEL, "random_batches_do_the_same_in_redb_as_in_memory"),
    row("R6", ("R6_SQLITE", 5_000_000, 100_000), MODEL, "random_batches_do_the_same_in_sqlite_as_in_memory"),
    row("R7", ("R7_MEMORY", 2_500, 75), HISTORIES, "every_history_can_be_explained_memory"),
    row("R7", ("R7_REDB", 2_500, 75), HISTORIES, "every_history_can_be_explained_redb"),
    row("R7", ("R7_SQLITE", 2_500, 75), HISTORIES, "every_history_can_be_explained_sqlite"),
    row("R7", ("R7_SQLITE_TWO", 2_500, 75), HISTORIES, "every_history_of_two_handles_on_one_file_can_be_explained_sqlite"),
    row("R8", ("R8_MEMORY", 10_000, 300), ZOMBIES, "zombies_are_refused_and_change_nothing_memory"),
    row("R8", ("R8_REDB", 10_000, 300), ZOMBIES, "zombies_are_refused_and_change_nothing_redb"),
    row("R8", ("R8_SQLITE", 10_000, 300), ZOMBIES, "zombies_are_refused_and_change_nothing_sqlite"),
    row("R9", ("R9_MEMORY", 1_000, 1_000), JUMPS, "jumps_of_the_clock_do_no_harm_memory"),
    row("R9", ("R9_REDB", 1_000, 1_000), JUMPS, "jumps_of_the_clock_do_no_harm_redb"),
    row("R9", ("R9_SQLITE", 1_000, 1_000), JUMPS, "jumps_of_the_clock_do_no_harm_sqlite"),
    row("R10", ("R10_REDB", 1_000, 1), POISON, "poison_ends_alone_and_the_others_are_done_redb"),
    row("R10", ("R10_SQLITE", 1_000, 1), POISON, "poison_ends_alone_and_the_others_are_done_sqlite"),
    row("R11", ("R11_MEMORY", 100_000, 5_000), WAKEUPS, "no_wake_up_is_lost_memory"),
    row("R11", ("R11_REDB", 100_000, 5_000), WAKEUPS, "no_wake_up_is_lost_redb"),
    row("R11", ("R11_SQLITE", 100_000, 5_000), WAKEUPS, "no_wake_up_is_lost_sqlite"),
    row("R11", ("R11_MODEL", 1_000_000, 50_000), MODELS, "wakeups::whoever_waits_is_woken_in_every_interleaving"),
    row("R11", ("R11_PUMP", 1_000_000, 50_000), PUMP, "queue::model::every_job_of_a_stream_is_read_or_handed_back_in_every_interleaving"),
    row("R12", ("R12_CORPUS", 100_000, 2_000), FUZZ, "no_input_of_a_fuzz_target_is_taken_badly"),
    row("R14", ("R14_REDB", 50_000_000, 1_000_000), SOAK, "a_queue_on_redb_is_steady"),
    row("R14", ("R14_SQLITE", 50_000_000, 1_000_000), SOAK, "a_queue_on_sqlite_is_steady"),
    row("R15", ("R15_REDB", 20_000, 1_000), REDB_FORMATS, "a_power_loss_within_a_step_leaves_the_old_format_or_the_new"),
    row("R15", ("R15_SQLITE", 400, 400), SQLITE_SCHEMA, "schema::tests::crash::a_crash_within_a_step_leaves_the_version_before_it_or_the_next"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    /// A row whose test has gone would try nothing.
    #[test]
    fn each_row_names_a_test_and_a_figure_that_are_there() {
        let files = tree::files(&tree::root()).unwrap();
        let mut places = std::collections::BTreeSet::new();
        for row in ROWS {
            assert!(
                places.insert((row.place.target, row.test)),
                "{} cannot be told from another row",
                row.figure
            );
            let function = row.test.rsplit("::").next().unwrap();
            let has = |text: &str| {
                files.iter().any(|file| !file.path.starts_with("xtask/") && file.text.contains(text))
            };
            assert!(
                has(&format!("fn {function}(")),
                "{} names a test that is not there: {}",
                row.figure,
                row.test
            );
            assert!(has(&format!("\"{}\"", row.figure)), "no test asks for the figure {}", row.figure);
            assert!(row.quick > 0 && row.release >= row.quick, "{}", row.figure);
        }
    }
}
