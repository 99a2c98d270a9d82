//! Every behaviour, on the store in memory.

use poolqueue_testkit::{Behind, MemoryFixture, conformance};

mod memory {
    use super::*;

    conformance!(MemoryFixture);
}

mod memory_behind_another_arc {
    use super::*;

    conformance!(Behind<MemoryFixture>);
}
