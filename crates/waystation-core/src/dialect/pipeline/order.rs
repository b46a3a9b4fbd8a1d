//! Dependencies: what their names refer to, cycles, and the order in which steps are listed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::step::Step;
use crate::error::nearest;

/// Names that the run's input always has.
const GIVEN: [&str; 2] = ["original_input", "input_data"];

/// What one dependency refers to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dependency {
    /// The name in the definition.
    pub(super) name: String,
    /// The steps that make it, by their index; several where an output has several producers.
    pub(super) producers: Vec<usize>,
}

impl Dependency {
    /// Whether it is a gate rather than a need for data.
    pub(super) fn is_selection(&self) -> bool {
        self.name.starts_with("selection_")
    }
}

/// The names by which steps can be referred to.
pub(super) struct Names<'a> {
    outputs: HashMap<&'a str, Vec<usize>>,
    others: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    pub(super) fn new(steps: &'a [Step]) -> Names<'a> {
        let mut outputs: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut others = HashMap::new();
        for (index, step) in steps.iter().enumerate() {
            for output in &step.outputs {
                let producers = outputs.entry(output).or_default();
                if producers.last() != Some(&index) {
                    producers.push(index);
                }
            }
        }
        for (index, step) in steps.iter().enumerate() {
            others.entry(step.usid.as_str()).or_insert(index);
        }
        for (index, step) in steps.iter().enumerate() {
            others.entry(step.name.as_str()).or_insert(index);
        }
        for (index, step) in steps.iter().enumerate() {
            for label in &step.labels {
                others.entry(label.as_str()).or_insert(index);
            }
        }
        Names { outputs, others }
    }

    /// The steps behind a name: producers of the output, else the step with that usid, name or label.
    pub(super) fn resolve(&self, name: &str) -> Option<Vec<usize>> {
        let single = || self.others.get(name).map(|index| vec![*index]);
        self.outputs.get(name).cloned().or_else(single)
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.outputs.keys().chain(self.others.keys()).copied()
    }
}

/// Resolves every dependency of every step; unknown names are problems.
pub(super) fn resolve(
    steps: &[Step],
    names: &Names<'_>,
    errors: &mut Vec<String>,
) -> Vec<Vec<Dependency>> {
    let mut resolved = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let mut found = Vec::with_capacity(step.dependencies.len());
        for name in &step.dependencies {
            match names.resolve(name) {
                Some(mut producers) => {
                    // A step may refine an output that others make too; then it waits for them.
                    if producers.len() > 1 {
                        producers.retain(|producer| *producer != index);
                    }
                    found.push(Dependency { name: name.clone(), producers });
                }
                None if GIVEN.contains(&name.as_str()) => {}
                None => errors.push(unknown(step, index, name, names)),
            }
        }
        resolved.push(found);
    }
    resolved
}

fn unknown(step: &Step, index: usize, name: &str, names: &Names<'_>) -> String {
    let near = nearest(name, names.all());
    let hint = match near.is_empty() {
        true => String::new(),
        false => format!(" (did you mean {}?)", near.join(", ")),
    };
    format!("Step {} ({}): Unknown dependency: {name}{hint}", index + 1, step.name)
}

/// The topological order, with ties by usid; or the names along a cycle.
pub(super) fn topological(
    steps: &[Step],
    dependencies: &[Vec<Dependency>],
) -> Result<Vec<usize>, Vec<String>> {
    let mut dependents = vec![Vec::new(); steps.len()];
    let mut pending = vec![0usize; steps.len()];
    for (index, wanted) in dependencies.iter().enumerate() {
        for producer in wanted.iter().flat_map(|dependency| &dependency.producers) {
            dependents[*producer].push(index);
            pending[index] += 1;
        }
    }
    let key = |index: usize| Reverse((steps[index].usid.as_str(), index));
    let free = (0..steps.len()).filter(|index| pending[*index] == 0);
    let mut ready: BinaryHeap<_> = free.map(key).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(Reverse((_, index))) = ready.pop() {
        order.push(index);
        for dependent in &dependents[index] {
            pending[*dependent] -= 1;
            if pending[*dependent] == 0 {
                ready.push(key(*dependent));
            }
        }
    }
    match order.len() == steps.len() {
        true => Ok(order),
        false => Err(cycle(steps, dependencies, &pending)),
    }
}

/// Follows unmet dependencies until a step comes up again.
fn cycle(steps: &[Step], dependencies: &[Vec<Dependency>], pending: &[usize]) -> Vec<String> {
    let Some(mut at) = pending.iter().position(|count| *count > 0) else { return Vec::new() };
    let mut seen_at = vec![None; steps.len()];
    let mut path = Vec::new();
    while seen_at[at].is_none() {
        seen_at[at] = Some(path.len());
        path.push(at);
        let producers = dependencies[at].iter().flat_map(|dependency| &dependency.producers);
        match producers.copied().find(|producer| pending[*producer] > 0) {
            Some(producer) => at = producer,
            None => break,
        }
    }
    let mut round = path.split_off(seen_at[at].unwrap_or(0));
    round.push(at);
    round.reverse();
    round.into_iter().map(|index| steps[index].name.clone()).collect()
}
