use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::acknowledged::is_trouble;

/// Longer than a child that works is ever silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `stress-child`, which ends with this handle. What it prints is kept in files beside the store.
pub struct Child {
    process: std::process::Child,
    reader: Option<JoinHandle<()>>,
    says: Receiver<String>,
    lines: Vec<String>,
    name: String,
    errors: PathBuf,
}

impl Child {
    /// Starts one on the store. `arguments` are those between `--seed` and the end, separated by blanks.
    pub fn start(backend: &str, path: &Path, seed: usize, arguments: &str) -> Self {
        let beside = |what: &str| path.with_file_name(format!("child-{seed}.{what}"));
        let (errors, mut log) = (beside("errors"), File::create(beside("lines")).unwrap());
        let mut process = Command::new(env!("CARGO_BIN_EXE_stress-child"))
            .args(["--backend", backend, "--seed", &seed.to_string()])
            .args(arguments.split(' '))
            .arg("--path")
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let (say, says) = channel();
        let stdout = process.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            while stdout.read_line(&mut line).unwrap() > 0 {
                log.write_all(line.as_bytes()).unwrap();
                // A pipe takes a long line in parts, and a kill may come between them.
                let Some(whole) = line.strip_suffix('\n') else { return };
                if say.send(whole.to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        let name = format!("the child with seed {seed}");
        Child { process, reader: Some(reader), says, lines: Vec::new(), name, errors }
    }

    /// Waits until it has said so many lines more than it had so far, and for at least this long.
    pub fn listen(&mut self, lines: usize, span: Duration) {
        let begun = Instant::now();
        self.lines.extend(self.says.try_iter());
        let mut heard = 0;
        while heard < lines || begun.elapsed() < span {
            match self.says.recv_timeout(PATIENCE) {
                Ok(line) => self.lines.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("{} says nothing any more", self.name),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait().unwrap();
                    panic!("{} ended by itself: {status} {}", self.name, self.complaint());
                }
            }
            heard += 1;
        }
    }

    /// Kills it. What it had said by then.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        let complaint = self.complaint();
        assert!(
            !status.success() && complaint.is_empty(),
            "{} ended by itself: {status} {complaint}",
            self.name
        );
        self.lines()
    }

    /// Waits until it has made all its calls. What it said.
    pub fn finish(mut self) -> Vec<String> {
        let lines = self.lines();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{}: {status} {}", self.name, self.complaint());
        lines
    }

    fn lines(&mut self) -> Vec<String> {
        self.lines.extend(self.says.iter());
        self.reader.take().unwrap().join().unwrap();
        let trouble: Vec<&String> = self.lines.iter().filter(|line| is_trouble(line)).collect();
        assert!(trouble.is_empty(), "{}: {trouble:?} {}", self.name, self.complaint());
        std::mem::take(&mut self.lines)
    }

    /// What it printed to standard error.
    fn complaint(&self) -> String {
        let mut text = String::new();
        File::open(&self.errors).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
