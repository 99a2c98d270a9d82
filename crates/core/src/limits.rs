/// How large what is stored may be. Passing one is an error that names it, and nothing is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a payload. Default 1 MiB.
    pub payload_bytes: usize,
    /// Bytes of an output. Default 1 MiB.
    pub output_bytes: usize,
    /// Bytes of an error or stop message; a longer one is cut, not refused. Default 4 KiB.
    pub error_bytes: usize,
    /// Tags of one job. Default 64.
    pub tags: usize,
    /// Bytes of one tag. Default 128.
    pub tag_bytes: usize,
    /// Bytes of all keys and values of a job's metadata together. Default 16 KiB.
    pub metadata_bytes: usize,
    /// Jobs in one call. Default 10,000.
    pub batch_jobs: usize,
    /// History entries kept for one job; past it the oldest are cut and counted. Default 1,000.
    pub history_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload_bytes: 1 << 20,
            output_bytes: 1 << 20,
            error_bytes: 4 << 10,
            tags: 64,
            tag_bytes: 128,
            metadata_bytes: 16 << 10,
            batch_jobs: 10_000,
            history_entries: 1_000,
        }
    }
}

/// `text` as it is stored: control characters made visible, and at most `bytes_max` bytes with the cut marked.
pub(crate) fn tidy(text: &str, bytes_max: usize) -> String {
    const CUT: &str = "…";
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        let shown =
            if c.is_control() && c != '\n' && c != '\t' { c.escape_default().to_string() } else { c.into() };
        if out.len() + shown.len() > bytes_max {
            while !out.is_empty() && out.len() + CUT.len() > bytes_max {
                out.pop();
            }
            if CUT.len() <= bytes_max {
                out.push_str(CUT);
            }
            break;
        }
        out.push_str(&shown);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_at_a_character_and_control_characters_shown() {
        let cases = [
            ("plain", 9, "plain"),
            ("a\u{7}b", 20, "a\\u{7}b"),
            ("äöü", 5, "ä…"),
            ("abc", 1, ""),
            ("", 4, ""),
        ];
        for (text, bytes_max, expected) in cases {
            assert_eq!(tidy(text, bytes_max), expected, "{text:?}");
        }
        assert!(tidy(&"x".repeat(10_000), 4096).len() <= 4096);
    }
}
