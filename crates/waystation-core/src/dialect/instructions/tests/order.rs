//! The order of steps, against an interpreter written straight from the format's rules.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{Answer, Answers, execute};
use crate::dialect::instructions::reply;

/// An instruction as the rules see it.
#[derive(Clone, Debug)]
struct Rule {
    condition: Option<Branches>,
}

#[derive(Clone, Debug)]
struct Branches {
    /// What is found when it is judged.
    holds: bool,
    if_true: Option<Vec<usize>>,
    if_false: Option<Vec<usize>>,
}

/// A FIFO queue starts with index 0. Take an index; skip it if it was executed before or is out of
/// range; run it. Afterwards, with a condition: true queues `ifTrue`, false queues `ifFalse`; an empty or
/// missing list queues index + 1. Without: queue index + 1, unless this index is in some list.
fn interpret(rules: &[Rule]) -> Vec<usize> {
    let lists = rules.iter().filter_map(|rule| rule.condition.as_ref());
    let lists = lists.flat_map(|branches| [&branches.if_true, &branches.if_false]);
    let targets: HashSet<usize> = lists.flatten().flatten().copied().collect();
    let (mut queue, mut executed) = (VecDeque::from([0]), Vec::new());
    while let Some(index) = queue.pop_front() {
        if executed.contains(&index) || index >= rules.len() {
            continue;
        }
        executed.push(index);
        match &rules[index].condition {
            Some(Branches { holds, if_true, if_false }) => {
                let list = if *holds { if_true } else { if_false };
                match list.as_deref() {
                    None | Some([]) => queue.push_back(index + 1),
                    Some(list) => queue.extend(list),
                }
            }
            None if targets.contains(&index) => {}
            None => queue.push_back(index + 1),
        }
    }
    executed
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    (1..9usize).prop_flat_map(|count| {
        let list = || prop::option::of(prop::collection::vec(0..count, 0..4));
        let branches = (any::<bool>(), list(), list());
        let branches =
            branches.prop_map(|(holds, if_true, if_false)| Branches { holds, if_true, if_false });
        let rule = prop::option::of(branches).prop_map(|condition| Rule { condition });
        prop::collection::vec(rule, count)
    })
}

fn request(rules: &[Rule]) -> String {
    let instruction = |(index, rule): (usize, &Rule)| {
        let mut instruction = json!({ "instruction": format!("do {index}") });
        if let Some(Branches { if_true, if_false, .. }) = &rule.condition {
            instruction["condition"] =
                json!({ "expression": "?", "ifTrue": if_true, "ifFalse": if_false });
        }
        instruction
    };
    let instructions: Vec<Value> = rules.iter().enumerate().map(instruction).collect();
    json!({ "context": "c", "instructions": instructions }).to_string()
}

/// What each instruction and each condition answers.
fn answers(rules: &[Rule]) -> Answers {
    let mut answers = Answers::new();
    for (index, rule) in rules.iter().enumerate() {
        let text = [Answer::text(&format!("result of {index}"))];
        answers.insert(index.to_string(), text.into());
        if let Some(branches) = &rule.condition {
            let verdict = [Answer::holds(branches.holds)];
            answers.insert(format!("{index}:condition"), verdict.into());
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn steps_run_in_the_order_of_the_rules_and_each_at_most_once(rules in rules()) {
        let story = execute(&request(&rules), answers(&rules)).expect("a right request");
        let status = reply::status(&story.run, &[]);
        prop_assert_eq!(&status["status"], "complete");
        let steps = status["output"]["steps"].as_array().unwrap();
        let order: Vec<u64> =
            steps.iter().map(|step| step["stepIndex"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = interpret(&rules).iter().map(|index| *index as u64).collect();
        prop_assert_eq!(&order, &expected);
        let distinct: HashSet<u64> = order.iter().copied().collect();
        prop_assert_eq!(distinct.len(), order.len());
    }

    #[test]
    fn each_step_sees_the_result_of_the_one_before_and_tells_its_branch(rules in rules()) {
        let story = execute(&request(&rules), answers(&rules)).expect("a right request");
        let status = reply::status(&story.run, &[]);
        let steps = status["output"]["steps"].as_array().unwrap();
        let asked = story.services.requests.iter().filter(|request| request["type"] == "llm");
        let mut before = "c".to_owned();
        for (place, (step, asked)) in steps.iter().zip(asked).enumerate() {
            prop_assert_eq!(&step["stepNumber"], place + 1);
            let index = step["stepIndex"].as_u64().unwrap() as usize;
            prop_assert_eq!(&asked["settings"]["prompt"], &format!("do {index}\n\n{before}"));
            before = format!("result of {index}");
            prop_assert_eq!(&step["result"], &before);
            let holds = rules[index].condition.as_ref().map(|branches| branches.holds);
            prop_assert_eq!(&step["conditionEvaluated"], holds.is_some());
            let branch = holds.map_or("sequential".into(), |holds| holds.to_string());
            prop_assert_eq!(&step["branchTaken"], &branch);
        }
    }
}
