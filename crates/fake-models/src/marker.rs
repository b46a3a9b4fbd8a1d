//! Markers in a prompt by which a test says what it wants: `[[name: text]]`.

/// The text of the last marker of this name.
pub(crate) fn last<'a>(prompt: &'a str, name: &str) -> Option<&'a str> {
    let opening = format!("[[{name}:");
    let start = prompt.rfind(&opening)? + opening.len();
    let rest = &prompt[start..];
    Some(rest[..end(rest)?].trim())
}

/// Where the marker's text ends. Brackets inside it are counted, so that it may be JSON; where they
/// do not balance, the first closing pair ends it.
fn end(rest: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, byte) in rest.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' if depth > 0 => depth -= 1,
            b']' if rest[index..].starts_with("]]") => return Some(index),
            _ => {}
        }
    }
    rest.find("]]")
}

#[cfg(test)]
mod tests {
    use super::last;

    #[test]
    fn the_last_marker_wins_and_may_hold_brackets() {
        for (prompt, text) in [
            ("[[answer: yes]]", Some("yes")),
            ("a [[answer: one]] b [[answer: two]] c", Some("two")),
            ("[[answer:]]", Some("")),
            ("[[answer: [[1],[2]]]]", Some("[[1],[2]]")),
            (r#"[[answer: {"a":[[1]]}]] and more"#, Some(r#"{"a":[[1]]}"#)),
            (r#"[[answer: {"a": [1]] and more"#, Some(r#"{"a": [1"#)),
            ("[[answer: never closed", None),
            ("[[delay: 5]]", None),
            ("nothing", None),
        ] {
            assert_eq!(last(prompt, "answer"), text, "{prompt}");
        }
    }
}
