//! Dependencies: what their names refer to, cycles, and the order in which steps are listed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::super::definition::Findings;
use super::step::Step;
use crate::error::nearest;
use crate::limits::EDGES_PER_PLAN;

/// Problems up to which unknown names are compared with the known ones, which takes a while.
const HINTS: usize = 20;
/// Names that the run's input always has.
const GIVEN: [&str; 2] = ["original_input", "input_data"];

/// How the names of selections begin.
const SELECTION: &str = "selection_";

/// Whether a dependency of that name is a gate rather than a need for data.
pub(super) fn names_selection(name: &str) -> bool {
    name.starts_with(SELECTION)
}

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
        names_selection(&self.name)
    }
}

/// The names by which steps can be referred to, each with the indexes of the steps behind it.
pub(super) struct Names<'a> {
    outputs: HashMap<&'a str, Vec<usize>>,
    usids: HashMap<&'a str, Vec<usize>>,
    steps: HashMap<&'a str, Vec<usize>>,
    labels: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Names<'a> {
    pub(super) fn new(steps: &'a [Step]) -> Names<'a> {
        Names {
            outputs: index(steps, |step| &step.outputs),
            usids: index(steps, |step| std::slice::from_ref(&step.usid)),
            steps: index(steps, |step| std::slice::from_ref(&step.name)),
            labels: index(steps, |step| &step.labels),
        }
    }

    /// The steps behind a dependency: those that make the output, else those with that usid, name or
    /// label.
    fn resolve(&self, name: &str) -> Option<&[usize]> {
        let levels = [&self.outputs, &self.usids, &self.steps, &self.labels];
        levels.into_iter().find_map(|level| level.get(name)).map(Vec::as_slice)
    }

    /// The steps that make an output.
    pub(super) fn makers(&self, output: &str) -> Option<&[usize]> {
        self.outputs.get(output).map(Vec::as_slice)
    }

    /// The steps that templates know by this usid or name.
    pub(super) fn called(&self, name: &str) -> Option<&[usize]> {
        self.usids.get(name).or_else(|| self.steps.get(name)).map(Vec::as_slice)
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        let levels = [&self.outputs, &self.usids, &self.steps, &self.labels];
        levels.into_iter().flat_map(|level| level.keys().copied())
    }
}

fn index<'a>(
    steps: &'a [Step],
    names: impl Fn(&'a Step) -> &'a [String],
) -> HashMap<&'a str, Vec<usize>> {
    let mut index: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, step) in steps.iter().enumerate() {
        for name in names(step).iter().filter(|name| !name.is_empty()) {
            let known = index.entry(name).or_default();
            if known.last() != Some(&number) {
                known.push(number);
            }
        }
    }
    index
}

/// Resolves every dependency of every step; unknown names are problems.
pub(super) fn resolve(
    steps: &[Step],
    names: &Names<'_>,
    room: &mut Room,
    findings: &mut Findings,
) -> Vec<Vec<Dependency>> {
    let mut resolved = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let mut found = Vec::with_capacity(step.dependencies.len());
        let mut seen = HashSet::new();
        for name in step.dependencies.iter().filter(|name| seen.insert(name.as_str())) {
            match names.resolve(name) {
                Some(steps) => found.push(dependency(name, room.take(steps), index)),
                None if GIVEN.contains(&name.as_str()) => {}
                None => {
                    // The first few are enough to see what is meant.
                    let has_hint = findings.errors.len() < HINTS;
                    findings.errors.push(unknown(step, index, name, has_hint.then_some(names)));
                }
            }
            if names_selection(name) && names.makers(name).is_none() {
                findings.warnings.push(no_selection(step, index, name));
            }
        }
        resolved.push(found);
    }
    resolved
}

/// How many edges a plan may yet get. A few names that many steps make and many use would otherwise
/// fill the memory.
pub(super) struct Room {
    left: Option<usize>,
}

impl Room {
    pub(super) fn new() -> Room {
        Room { left: Some(EDGES_PER_PLAN) }
    }

    /// The same steps, or none where they are too many.
    pub(super) fn take<'s>(&mut self, steps: &'s [usize]) -> &'s [usize] {
        self.left = self.left.and_then(|left| left.checked_sub(steps.len()));
        if self.left.is_some() { steps } else { &[] }
    }

    /// What is wrong, if it did not suffice.
    pub(super) fn problem(&self) -> Option<String> {
        let text =
            || format!("STEPS_CONFIG has more than {EDGES_PER_PLAN} connections between steps");
        self.left.is_none().then(text)
    }
}

fn dependency(name: &str, producers: &[usize], index: usize) -> Dependency {
    let others = || producers.iter().copied().filter(|producer| *producer != index).collect();
    // A step may refine an output that others make too; then it waits for them.
    let producers = if producers.len() > 1 { others() } else { producers.to_vec() };
    Dependency { name: name.to_owned(), producers }
}

fn unknown(step: &Step, index: usize, name: &str, names: Option<&Names<'_>>) -> String {
    let near = names.map(|names| nearest(name, names.all())).unwrap_or_default();
    let hint = match near.is_empty() {
        true => String::new(),
        false => format!(" (did you mean {}?)", near.join(", ")),
    };
    format!("Step {} ({}): Unknown dependency: {name}{hint}", index + 1, step.name)
}

fn no_selection(step: &Step, index: usize, name: &str) -> String {
    let place = format!("Step {} ({})", index + 1, step.name);
    format!("{place}: {name} is no output, so that the step will always be aborted")
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
