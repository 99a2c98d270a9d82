//! Programs that are run: with a log, and not for ever.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failed;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With success.
    Well,
    /// With a failure.
    Badly,
    /// Not in time, so it was killed.
    TooLate,
}

/// A program to be run, its output going to a file.
pub struct Program {
    command: Command,
    log: PathBuf,
    limit: Duration,
}

impl Program {
    /// The program of this name, in this directory.
    pub fn new(name: impl AsRef<OsStr>, directory: &Path, log: &Path) -> Self {
        let mut command = Command::new(name);
        command.current_dir(directory);
        Program { command, log: log.to_owned(), limit: Duration::from_secs(1_200) }
    }

    /// `cargo`, in this directory, building there.
    pub fn cargo(directory: &Path, build: &Path, log: &Path) -> Self {
        let mut program = Program::cargo_anywhere(directory, log);
        program.command.env("CARGO_TARGET_DIR", build);
        program
    }

    /// `cargo`, in this directory, building where it likes.
    pub fn cargo_anywhere(directory: &Path, log: &Path) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut program = Program::new(cargo, directory, log);
        program.command.env_remove("CARGO_TARGET_DIR").env("CARGO_TERM_COLOR", "never");
        program
    }

    /// Adds arguments.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Kills the program when it runs longer.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Result<Ended, Failed> {
        let shown = format!("{:?}", self.command.get_program());
        let failed = |error: std::io::Error| Failed::Usage(format!("{shown}: {error}"));
        if let Some(directory) = self.log.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let output = File::create(&self.log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        own_group(&mut self.command);
        let child =
            self.command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(failed)?;
        wait(child, self.limit).map_err(failed)
    }
}

/// Puts the program into a process group of its own, so that what it starts can be ended with it.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

fn wait(mut child: Child, limit: Duration) -> std::io::Result<Ended> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Ended::Well } else { Ended::Badly });
        }
        if begun.elapsed() > limit {
            // The group, where there is one: cargo's tests are its children.
            let _ = Command::new("kill").args(["-9", "--", &format!("-{}", child.id())]).status();
            let _ = child.kill();
            child.wait()?;
            return Ok(Ended::TooLate);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> (Ended, String) {
        let directory = std::env::temp_dir().join(format!("poolqueue-xtask-{}", std::process::id()));
        let log = directory.join(format!("{}.log", script.len()));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let ended = Program { command, log: log.clone(), limit }.run();
        let Ok(ended) = ended else { panic!("sh does not start") };
        (ended, fs::read_to_string(log).unwrap())
    }

    #[test]
    fn a_program_ends_well_or_badly_or_is_ended_with_what_it_started() {
        let patience = Duration::from_secs(60);
        assert_eq!(shell("echo out; echo err >&2", patience), (Ended::Well, "out\nerr\n".to_owned()));
        assert_eq!(shell("echo no; exit 3", patience), (Ended::Badly, "no\n".to_owned()));
        let (ended, _) = shell("sleep 600 & wait", Duration::from_millis(50));
        assert_eq!(ended, Ended::TooLate);
    }
}
