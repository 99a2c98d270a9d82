//! Rust source with everything that is not code blanked out.

/// `source` with comments and the insides of literals replaced by spaces, byte for byte: offsets and lines
/// stay where they are.
pub fn mask(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + not_code(&bytes[at..], at > 0 && is_word(bytes[at - 1])).max(1);
        if end > at + 1 {
            blank(&mut out[at..end]);
        }
        at = end;
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Replaces everything but line ends by spaces.
pub fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Whether a byte can be part of a name.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// How many bytes the comment or literal at the start of `rest` has; 0 when there is none.
fn not_code(rest: &[u8], inside_word: bool) -> usize {
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest),
        [b'\'', b'\\', ..] => 2 + quoted_char_end(&rest[2..]),
        [b'\'', ..] => plain_char(rest),
        [b'r' | b'b' | b'c', ..] if !inside_word => raw_string(rest),
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The end of `'\…'`, counted from behind the backslash. What follows the backslash may be the quote itself.
fn quoted_char_end(rest: &[u8]) -> usize {
    let behind_escaped = rest.get(1..).unwrap_or_default();
    behind_escaped.iter().position(|byte| *byte == b'\'').map_or(rest.len(), |quote| quote + 2)
}

/// `'x'` is a literal; `'x` without a closing quote is a lifetime or a label, which is code.
fn plain_char(rest: &[u8]) -> usize {
    let width = match rest.get(1) {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        Some(0xc0..) => 2,
        _ => 1,
    };
    if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

fn raw_string(rest: &[u8]) -> usize {
    let prefix = match rest {
        [b'r', ..] => 1,
        [b'b' | b'c', b'r', ..] => 2,
        _ => return 0,
    };
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return 0;
    }
    let mut close = vec![b'#'; hashes + 1];
    close[0] = b'"';
    let inside = &rest[open + 1..];
    let length = inside.windows(close.len()).position(|window| window == close);
    length.map_or(rest.len(), |length| open + 1 + length + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_kept() {
        let cases = [
            ("a // b {\nc", "a\nc"),
            ("a /* { /* } */ { */ b", "a b"),
            ("a /* never closed {", "a"),
            (r#"f("{ \" }") {"#, "f( ) {"),
            (r##"f(r#"{" }"#) {"##, "f( ) {"),
            (r#"f(br"\") {"#, "f( ) {"),
            (r"if c == '{' {", "if c == {"),
            (r"if c == '\'' {", "if c == {"),
            (r"if c == '\u{7b}' {", "if c == {"),
            ("'ä' {", "{"),
            ("fn f<'a>(x: &'a str) {", "fn f<'a>(x: &'a str) {"),
            ("'outer: loop { break 'outer }", "'outer: loop { break 'outer }"),
            ("let r#fn = var\"\";", "let r#fn = var ;"),
            ("\"never closed {", ""),
        ];
        for (source, expected) in cases {
            let masked = mask(source);
            assert_eq!(masked.len(), source.len(), "{source}");
            let lines = masked.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            assert_eq!(lines.collect::<Vec<_>>().join("\n"), expected, "{source}");
        }
    }
}
