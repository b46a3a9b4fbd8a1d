//! Which of several options a model's answer means, and how a model is told of them.

use std::fmt::Write as _;

use serde::Deserialize;

/// Bytes at the start of an answer in which a name is looked for; an answer that says more is no choice.
const ANSWER_BYTES: usize = 16 << 10;

/// One option, or one tool.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::node) struct Choice {
    pub(in crate::node) id: String,
    #[serde(default)]
    pub(in crate::node) name: String,
    #[serde(default)]
    pub(in crate::node) description: String,
}

/// The options as a numbered list.
pub(in crate::node) fn list(choices: &[Choice]) -> String {
    let mut list = String::new();
    for (index, Choice { id, name, description }) in choices.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(list, "{}. {id}", index + 1);
        if !name.is_empty() {
            let _ = write!(list, " ({name})");
        }
        if !description.is_empty() {
            let _ = write!(list, ": {description}");
        }
        list.push('\n');
    }
    list
}

/// The option that an answer names outright: by its id, else by its number in the list.
pub(in crate::node) fn named(answer: &str, choices: &[Choice]) -> Option<usize> {
    let answer = bare(answer);
    let same = |choice: &Choice| choice.id.trim().to_lowercase() == answer;
    let exact = choices.iter().position(same);
    exact.or_else(|| {
        let number = answer.trim_end_matches(['.', ')']).parse::<usize>().ok()?;
        number.checked_sub(1).filter(|index| *index < choices.len())
    })
}

/// The option whose id or name stands in an answer, if there is just one.
pub(in crate::node) fn mentioned(answer: &str, choices: &[Choice]) -> Option<usize> {
    let answer = bare(answer);
    let stands = |text: &str| {
        let text = text.trim().to_lowercase();
        !text.is_empty() && answer.contains(&text)
    };
    let mut matching = (0..choices.len())
        .filter(|index| stands(&choices[*index].id) || stands(&choices[*index].name));
    matching.next().filter(|_| matching.next().is_none())
}

/// An answer trimmed, without quotation marks around it, in lower case.
fn bare(answer: &str) -> String {
    let start = &answer[..answer.floor_char_boundary(ANSWER_BYTES)];
    let quotes_and_space = |letter: char| letter.is_whitespace() || "\"'`“”‘’«»".contains(letter);
    start.trim_matches(quotes_and_space).to_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choices(pairs: &[(&str, &str)]) -> Vec<Choice> {
        let choice = |(id, name): &(&str, &str)| Choice {
            id: (*id).into(),
            name: (*name).into(),
            description: String::new(),
        };
        pairs.iter().map(choice).collect()
    }

    fn read(answer: &str, choices: &[Choice]) -> Option<usize> {
        named(answer, choices).or_else(|| mentioned(answer, choices))
    }

    #[test]
    fn an_answer_means_the_first_rule_that_applies() {
        let options = choices(&[("weather", "Weather data"), ("news", "Headlines"), ("2", "Two")]);
        let huge = format!("{}news", "x".repeat(1 << 20));
        for (answer, expected) in [
            ("weather", Some(0)),
            ("  \"NEWS\"\n", Some(1)),
            ("'`news`'", Some(1)),
            ("“Weather”", Some(0)),
            // An id goes before a number in the list, a number before what is contained.
            ("2", Some(2)),
            ("1", Some(0)),
            ("1.", Some(0)),
            ("3)", Some(2)),
            ("0", None),
            ("4", None),
            ("-1", None),
            ("99999999999999999999999", None),
            ("I choose news.", Some(1)),
            ("The HEADLINES option", Some(1)),
            // Id and name of one option count once, two options are no choice.
            ("weather: Weather data", Some(0)),
            ("weather or news", None),
            ("newsweather", None),
            ("", None),
            ("\"\"", None),
            ("   \n", None),
            ("das weiß ich nicht", None),
            ("{\"choice\": \"news\"}", Some(1)),
            (&huge, None),
        ] {
            assert_eq!(read(answer, &options), expected, "{:.40}", answer);
        }
    }

    #[test]
    fn empty_names_match_nothing() {
        let options = choices(&[("", ""), ("b", " ")]);
        assert_eq!(read("anything", &options), None);
        assert_eq!(read("only b", &options), Some(1));
        assert_eq!(read("x", &[]), None);
    }

    #[test]
    fn letters_of_any_alphabet_are_compared_without_case() {
        let options = choices(&[("ПОГОДА", ""), ("straße", "")]);
        assert_eq!(read("погода", &options), Some(0));
        assert_eq!(read("die STRAßE", &options), Some(1));
    }

    #[test]
    fn a_list_says_what_there_is() {
        let mut options = choices(&[("weather", "Weather data"), ("news", "")]);
        options[0].description = "Forecasts".into();
        assert_eq!(list(&options), "1. weather (Weather data): Forecasts\n2. news\n");
    }

    proptest! {
        #[test]
        fn any_answer_means_one_of_the_options_or_none(
            answer in "\\PC{0,80}",
            ids in prop::collection::vec("\\PC{0,6}", 0..6),
        ) {
            let pairs: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
            let options = choices(&pairs);
            if let Some(index) = read(&answer, &options) {
                prop_assert!(index < options.len());
            }
        }

        #[test]
        fn an_id_in_any_clothing_is_found(
            ids in prop::collection::hash_set("[a-z]{3,9}", 1..6),
            which in any::<prop::sample::Index>(),
            (before, after) in ("[ \n\"'`]{0,4}", "[ \n\"'`]{0,4}"),
        ) {
            let ids: Vec<String> = ids.into_iter().collect();
            let pairs: Vec<_> = ids.iter().map(|id| (id.as_str(), "")).collect();
            let index = which.index(ids.len());
            let answer = format!("{before}{}{after}", ids[index].to_uppercase());
            prop_assert_eq!(read(&answer, &choices(&pairs)), Some(index));
        }
    }
}
