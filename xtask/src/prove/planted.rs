//! The faults that the suite has to catch: each is planted in a copy of the tree, and a test has to fail.

/// One fault and the test that has to notice it.
pub struct Plant {
    /// What is wrong, in words.
    pub name: &'static str,
    /// What is replaced where.
    pub edits: &'static [Edit],
    /// The test that fails then: what follows `cargo test`.
    pub caught_by: &'static [&'static str],
    /// Variables of the environment that the test runs with.
    pub figures: &'static [(&'static str, &'static str)],
}

/// One replacement. What is sought stands in the file exactly once.
pub struct Edit {
    pub file: &'static str,
    pub find: &'static str,
    pub replace: &'static str,
}

const WRITER: &str = "crates/core/src/embedded/writer.rs";
const LIFECYCLE: &str = "crates/core/src/lifecycle.rs";

/// The twelve of the scoreboard's row R13, in its order.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "SQLite with synchronous=NORMAL",
        edits: &[Edit {
            file: "backends/sqlite/src/settings.rs",
            find: "    }\n    set(conn, site, \"synchronous\", \"FULL\", \"2\")?;",
            replace: "    }\n    set(conn, site, \"synchronous\", \"NORMAL\", \"1\")?;",
        }],
        caught_by: &["-p", "poolqueue-testkit-fault", "--test", "power_sqlite"],
        figures: &[],
    },
    Plant {
        name: "redb with Durability::None",
        edits: &[Edit {
            file: "backends/redb/src/store.rs",
            find: "if self.unsynced.takes_commit()",
            replace: "if false",
        }],
        caught_by: &["-p", "poolqueue-redb", "--test", "power_loss"],
        figures: &[],
    },
    Plant {
        name: "answer before commit",
        edits: &[Edit {
            file: WRITER,
            find: "            Ok(if group.done.wrote { Verdict::Commit } else { Verdict::Rollback })",
            replace: "            for (receipt, answer) in group.receipts.drain(..).zip(group.answers.drain(..)) {\n                \
                      let _ = answer.send(receipt);\n            }\n            \
                      Ok(if group.done.wrote { Verdict::Commit } else { Verdict::Rollback })",
        }],
        caught_by: &["-p", "poolqueue-core", "--lib", "before_the_commit"],
        figures: &[],
    },
    Plant {
        name: "claim without guard",
        edits: &[Edit {
            file: "crates/core/src/lifecycle/table.rs",
            find: "        (S::InitialPending, E::Claim) => S::Running,",
            replace: "        (S::InitialPending | S::Running, E::Claim) => S::Running,",
        }],
        caught_by: &["-p", "poolqueue-core", "--lib", "lifecycle::"],
        figures: &[],
    },
    Plant {
        name: "completion without attempt check",
        edits: &[Edit {
            file: LIFECYCLE,
            find: "fence.filter(|given| *given != job.attempt)",
            replace: "fence.filter(|given| given.0 > job.attempt.0)",
        }],
        caught_by: &["-p", "poolqueue-testkit", "--test", "memory", "outcome::"],
        figures: &[],
    },
    Plant {
        name: "rescue by wall clock",
        edits: &[Edit {
            file: "src/queue/sweeper.rs",
            find: "        let now = self.clock.monotonic();",
            replace: "        let now = std::time::Duration::from_micros(self.clock.now().as_micros().unsigned_abs());",
        }],
        caught_by: &["-p", "poolqueue-testkit", "--test", "memory", "lease::"],
        figures: &[],
    },
    Plant {
        name: "two transactions for one transition",
        edits: &[Edit {
            file: "backends/sqlite/src/txn/write.rs",
            find: "        let owner = self.owner(&old, step)?;\n",
            replace: "        let owner = self.owner(&old, step)?;\n        \
                      self.conn.execute_batch(\"COMMIT; BEGIN IMMEDIATE\").expect(\"the first half is written\");\n",
        }],
        caught_by: &["-p", "poolqueue-testkit-fault", "--test", "power_sqlite"],
        figures: &[],
    },
    Plant {
        name: "failed sync retried",
        edits: &[Edit {
            file: "backends/redb/src/storage.rs",
            find: "    fn sync_data(&self) -> io::Result<()> {\n        self.io.sync_data()\n",
            replace: "    fn sync_data(&self) -> io::Result<()> {\n        self.io.sync_data().or_else(|_| self.io.sync_data())\n",
        }],
        caught_by: &["-p", "poolqueue-redb", "--test", "faults"],
        figures: &[],
    },
    Plant {
        name: "index not updated on cancel",
        edits: &[Edit {
            file: "backends/redb/src/txn/write.rs",
            find: "        self.kept.change(Step::Leave, Seat::of(old.state()));\n        self.kept.change(Step::Take",
            replace: "        if !(row.is_final() && old.state().is_claimable()) {\n            \
                      self.kept.change(Step::Leave, Seat::of(old.state()));\n        }\n        self.kept.change(Step::Take",
        }],
        caught_by: &["-p", "poolqueue-redb", "--test", "conformance", "cancel::"],
        figures: &[],
    },
    Plant {
        name: "attempt counted after the run",
        edits: &[
            Edit {
                file: LIFECYCLE,
                find: "            job.attempt = Attempt(job.attempt.0 + 1);\n",
                replace: "",
            },
            Edit {
                file: LIFECYCLE,
                find: "        Event::Complete { .. } | Event::Suspend { .. } | Event::Release => {\n",
                replace: "        Event::Complete { .. } | Event::Suspend { .. } | Event::Release => {\n            \
                          job.attempt = Attempt(job.attempt.0 + 1);\n",
            },
        ],
        caught_by: &["-p", "poolqueue-core", "--lib", "lifecycle::"],
        figures: &[],
    },
    Plant {
        name: "notification lost between check and wait",
        edits: &[Edit {
            file: "crates/core/src/embedded/inbox.rs",
            find: "            state.wanted = Some(1);\n",
            replace: "            drop(state);\n            std::thread::yield_now();\n            state = self.lock();\n            \
                      state.wanted = Some(1);\n",
        }],
        caught_by: &["-p", "poolqueue-testkit", "--test", "wakeups", "memory"],
        figures: &[("POOLQUEUE_PROVE_R11_MEMORY", "20000")],
    },
    Plant {
        name: "checksum not verified",
        edits: &[Edit {
            file: "backends/redb/src/codec.rs",
            find: "    if owner.checksum(version, payload) != *checksum {",
            replace: "    if owner.checksum(version, payload).is_empty() && !checksum.is_empty() {",
        }],
        caught_by: &["-p", "poolqueue-redb", "--test", "damage"],
        figures: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_fault_can_still_be_planted() {
        assert_eq!(PLANTS.len(), 12);
        for plant in PLANTS {
            assert!(!plant.edits.is_empty() && !plant.caught_by.is_empty(), "{}", plant.name);
            for edit in plant.edits {
                let path = crate::tree::root().join(edit.file);
                let text = fs::read_to_string(&path).unwrap();
                let found = text.matches(edit.find).count();
                assert_eq!(
                    found, 1,
                    "{}: what is sought in {} stands there {found} times",
                    plant.name, edit.file
                );
                assert_ne!(edit.find, edit.replace, "{}", plant.name);
            }
        }
    }
}
