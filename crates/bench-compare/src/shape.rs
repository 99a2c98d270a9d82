use std::fmt;
use std::str::FromStr;

/// What is done in a measurement. As text: a name, and where it has one, its size behind a hyphen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So many callers, each awaiting its own enqueue.
    Enqueue(u64),
    /// One caller that enqueues so many jobs a call.
    Batch(u64),
    /// Jobs wait; 4 streams of 16 take them, and each completion is acknowledged singly.
    Drain,
    /// The same with 4 streams of 256, and completions acknowledged a delivered batch at a time.
    DrainBatched,
    /// 64 callers enqueue and 4 streams of 16 drain at once, in balance.
    Steady,
    /// An empty queue and a waiting stream; from before the enqueue until the job is in a handler's hands.
    Idle,
    /// The same at half the rate of the drain, with 4 streams of 16.
    Loaded,
    /// So many jobs wait: the time to claim and complete 16; memory, bytes in the file, and opening it again.
    Backlog(u64),
    /// So many jobs wait, one in a hundred with a tag: the drain of those, and of as many without asking for a tag.
    Tags(u64),
    /// 10,000 jobs wait behind so many of a higher priority that are not due: the time to claim and complete 16.
    Future(u64),
    /// So many finished jobs are cleaned up while others enqueue.
    Cleanup(u64),
    /// A drain by so many streams.
    Streams(u64),
    /// A drain by so many streams, each of a tag of its own.
    TagStreams(u64),
    /// A drain of so many queues.
    Queues(u64),
}

/// Makes a shape of its size.
type Make = fn(u64) -> Shape;

const SIZED: [(&str, Make); 9] = [
    ("enqueue", Shape::Enqueue),
    ("batch", Shape::Batch),
    ("backlog", Shape::Backlog),
    ("tags", Shape::Tags),
    ("future", Shape::Future),
    ("cleanup", Shape::Cleanup),
    ("streams", Shape::Streams),
    ("tag-streams", Shape::TagStreams),
    ("queues", Shape::Queues),
];

const PLAIN: [(&str, Shape); 5] = [
    ("drain", Shape::Drain),
    ("drain-batched", Shape::DrainBatched),
    ("steady", Shape::Steady),
    ("idle", Shape::Idle),
    ("loaded", Shape::Loaded),
];

impl Shape {
    /// The name without the size.
    #[must_use]
    pub fn family(self) -> &'static str {
        let plain = PLAIN.iter().find(|(_, shape)| *shape == self).map(|(name, _)| *name);
        let sized =
            || SIZED.iter().find(|(_, make)| make(self.size()) == self).map_or("unknown", |(name, _)| name);
        plain.unwrap_or_else(sized)
    }

    /// The size; 0 where there is none.
    #[must_use]
    pub fn size(self) -> u64 {
        match self {
            Shape::Enqueue(size)
            | Shape::Batch(size)
            | Shape::Backlog(size)
            | Shape::Tags(size)
            | Shape::Future(size)
            | Shape::Cleanup(size)
            | Shape::Streams(size)
            | Shape::TagStreams(size)
            | Shape::Queues(size) => size,
            Shape::Drain | Shape::DrainBatched | Shape::Steady | Shape::Idle | Shape::Loaded => 0,
        }
    }

    /// Tasks that enqueue while it is measured.
    #[must_use]
    pub fn callers(self) -> u64 {
        match self {
            Shape::Enqueue(callers) => callers,
            Shape::Steady => 64,
            Shape::Cleanup(_) => 16,
            Shape::Batch(_) | Shape::Idle | Shape::Loaded => 1,
            _ => 0,
        }
    }

    /// Jobs in a call that enqueues, or, where nothing enqueues, in a delivery at most.
    #[must_use]
    pub fn batch(self) -> u64 {
        match self {
            Shape::Batch(jobs) => jobs,
            Shape::DrainBatched => 256,
            Shape::Backlog(_) | Shape::Future(_) | Shape::Drain | Shape::Tags(_) | Shape::Queues(_) => 16,
            _ => 1,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size() {
            0 => f.write_str(self.family()),
            size => write!(f, "{}-{size}", self.family()),
        }
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, shape)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(*shape);
        }
        let sized = text.rsplit_once('-').and_then(|(name, size)| {
            let size = size.parse().ok().filter(|size| *size > 0)?;
            SIZED.iter().find(|(known, _)| *known == name).map(|(_, make)| make(size))
        });
        sized.ok_or_else(|| format!("there is no shape {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_back_from_its_text() {
        let sized = SIZED.iter().map(|(_, make)| make(1_000));
        for shape in PLAIN.iter().map(|(_, shape)| *shape).chain(sized) {
            assert_eq!(shape.to_string().parse(), Ok(shape));
            assert!(shape.to_string().starts_with(shape.family()));
        }
        for text in ["", "drian", "enqueue", "enqueue-0", "enqueue-x", "drain-4"] {
            assert!(text.parse::<Shape>().is_err(), "{text}");
        }
    }
}
