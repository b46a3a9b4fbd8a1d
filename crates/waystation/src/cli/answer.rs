//! The answer that a model is giving, as far as a terminal shows it: its last lines.

use super::terminal::plain;

/// Bytes that are kept at the most: more than the lines that are shown can have.
const KEPT_BYTES: usize = 8 << 10;
/// Lines that are shown.
const LINES: usize = 8;

/// The end of an answer.
#[derive(Default)]
pub(super) struct Answer {
    attempt: u32,
    text: String,
}

impl Answer {
    /// Adds a piece. Another attempt begins the answer anew.
    pub(super) fn push(&mut self, attempt: u32, piece: &str) {
        if self.attempt != attempt {
            *self = Answer { attempt, text: String::new() };
        }
        self.text.push_str(&plain(piece));
        let surplus = self.text.len().saturating_sub(KEPT_BYTES);
        self.text.drain(..self.text.ceil_char_boundary(surplus));
    }

    /// The last lines, broken between words where they are too wide, each after a line break.
    pub(super) fn tail(&self, width: usize) -> String {
        let lines: Vec<String> = self.text.lines().flat_map(|line| broken(line, width)).collect();
        let shown = lines[lines.len().saturating_sub(LINES)..].iter();
        shown.map(|line| format!("\n  {line}")).collect()
    }
}

fn broken(line: &str, width: usize) -> Vec<String> {
    let (mut lines, mut letters) = (vec![String::new()], 0);
    for word in line.split_inclusive(' ') {
        let length = word.chars().count();
        if letters > 0 && letters + word.trim_end().chars().count() > width {
            lines.push(String::new());
            letters = 0;
        }
        // A word that is wider than the terminal is cut by it.
        lines.last_mut().into_iter().for_each(|last| last.push_str(word));
        letters += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_the_last_ones_shown() {
        let mut answer = Answer::default();
        for piece in ["One two ", "three four", " five\nsix"] {
            answer.push(1, piece);
        }
        assert_eq!(answer.tail(9), "\n  One two \n  three \n  four five\n  six");
        answer.push(1, &"\nmore".repeat(20));
        assert_eq!(answer.tail(9), "\n  more".repeat(8));
    }

    #[test]
    fn another_attempt_begins_anew_and_only_the_end_is_kept() {
        let mut answer = Answer::default();
        answer.push(1, "lost");
        answer.push(2, "\u{1b}[2Jkept");
        assert_eq!(answer.tail(80), "\n  \u{fffd}[2Jkept");
        answer.push(2, &"é".repeat(KEPT_BYTES));
        assert_eq!(answer.text.len(), KEPT_BYTES);
    }
}
