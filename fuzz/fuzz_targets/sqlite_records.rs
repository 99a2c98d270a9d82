#![no_main]

use libfuzzer_sys::fuzz_target;
use poolqueue_testkit::fuzz::{hush_engines, target};

fuzz_target!(init: hush_engines(), |bytes: &[u8]| (target("sqlite_records").run)(bytes));
