pub struct Embedded;
pub struct WriterOptions;
