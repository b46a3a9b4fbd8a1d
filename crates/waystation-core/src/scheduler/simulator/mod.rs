//! Random runs in a simulated world, each repeated with a crash after every entry of its journal.
//!
//! `WAYSTATION_SIM_PLANS` sets how many; `WAYSTATION_SIM_SEED` replays exactly one.

mod driver;
mod exhaustive;
pub(super) mod plans;
mod random;
mod reference;
mod verdict;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use self::driver::{Disk, Driver, Rest};
use self::random::Random;
use self::world::World;
use crate::entry::{Entry, Fact};
use crate::plan::OnFailure;
use crate::program::Program;
use crate::run::Run;

const PLANS: u64 = 10_000;
/// Far more crashes than a run has commits, so that only a run that never ends exceeds it.
const CRASHES_MAX: usize = 1_000;

#[test]
fn every_run_ends_as_the_rules_say_whatever_crashes() {
    if let Some(seed) = number("WAYSTATION_SIM_SEED") {
        return simulate(seed);
    }
    let plans = number("WAYSTATION_SIM_PLANS").unwrap_or(PLANS);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        let share = |first| move || (first..plans).step_by(threads as usize).for_each(reported);
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(share(first))).collect();
        let failed = workers.into_iter().filter_map(|worker| worker.join().err()).next();
        if let Some(panic) = failed {
            resume_unwind(panic);
        }
    });
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.replace('_', "").parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

#[expect(clippy::print_stderr, reason = "whoever sees the failure needs the seed")]
fn reported(seed: u64) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
        eprintln!(
            "seed {seed} failed; replay it with\n    \
             WAYSTATION_SIM_SEED={seed} cargo nextest run -p waystation-core simulator"
        );
        resume_unwind(panic);
    }
}

fn simulate(seed: u64) {
    let mut random = Random::new(seed);
    let plan = plans::random_plan(&mut random);
    let world = World::random(seed, &mut random);
    let program = Arc::new(Program::load(plan, "hash").expect("no templates, no problems"));
    let (whole, run) = undisturbed(&program, &world);
    check_prefixes(&program, &whole, &run);
    for length in 1..whole.journal.len() {
        crash_after(&program, &world, (&whole, &run), length);
    }
    storm(&program, &world, 30);
    storm(&program, &world.deadly(), 0);
}

fn undisturbed(program: &Arc<Program>, world: &World) -> (Disk, Run) {
    let mut disk = Disk::default();
    let random = Random::of(world.seed, [3, 0, 0]);
    let Rest::Finished(run) = Driver::new(program, world, &mut disk, random).watching().drive()
    else {
        panic!("a run without crashes crashed");
    };
    verdict::check(&program.plan, world, &disk, &run);
    (disk, *run)
}

/// The journal as it is stored folds to the state that was live.
fn check_prefixes(program: &Arc<Program>, whole: &Disk, run: &Run) {
    let stored = serde_json::to_string(&whole.journal).expect("a journal serializes");
    let journal: Vec<Entry> = serde_json::from_str(&stored).expect("and comes back");
    let replayed = Run::replay(Arc::clone(program), &journal);
    assert_eq!(replayed.scheduler, run.scheduler, "a replay differs from what was live");
    assert_eq!(replayed.nodes, run.nodes, "a replay's records differ");
}

/// The process dies when this much of the journal is durable. Effects have begun, and whatever came
/// after is lost.
fn crash_after(program: &Arc<Program>, world: &World, (whole, run): (&Disk, &Run), length: usize) {
    let mut disk = Disk { crashes: 1, ..Disk::default() };
    disk.journal.extend_from_slice(&whole.journal[..length]);
    let begun = whole.ledger.iter().filter(|effect| effect.durable <= length);
    disk.ledger.extend(begun.cloned());
    let mut random = Random::of(world.seed, [4, length as u64, 0]);
    disk.now = whole.journal[length - 1].at + 1 + random.below(300);
    let Rest::Finished(recovered) = Driver::new(program, world, &mut disk, random).drive() else {
        panic!("a second crash");
    };
    verdict::check(&program.plan, world, &disk, &recovered);
    if is_settled_by_outcomes(program, world) {
        let statuses = (verdict::statuses(&recovered), verdict::statuses(run));
        assert_eq!(statuses.0, statuses.1, "a crash after entry {length} changes the statuses");
        assert_eq!(recovered.outcome, run.outcome, "a crash changes the outcome");
    }
}

/// Whether the end depends on nothing but how the nodes come out.
fn is_settled_by_outcomes(program: &Program, world: &World) -> bool {
    let plan = &program.plan;
    let timeless = plan.deadline_ms.is_none() && world.cancel_at.is_none();
    timeless && plan.on_failure == OnFailure::Continue
}

/// The process dies again and again.
fn storm(program: &Arc<Program>, world: &World, crashing: u64) {
    let mut disk = Disk::default();
    for crash in 0..CRASHES_MAX {
        let random = Random::of(world.seed, [5, crash as u64, crashing]);
        let driver = Driver::new(program, world, &mut disk, random).crashing(crashing);
        match driver.drive() {
            Rest::Finished(run) => {
                verdict::check(&program.plan, world, &disk, &run);
                return check_stored_starts(&disk);
            }
            Rest::Crashed => {
                disk.crashes += 1;
                disk.now += 1 + crash as u64 % 50;
            }
        }
    }
    panic!("the run does not get to its end between {CRASHES_MAX} crashes");
}

/// Every effect of the ledger has its start in the journal that is left at the end.
fn check_stored_starts(disk: &Disk) {
    for effect in &disk.ledger {
        let announced = disk.journal[..effect.durable].iter().any(|entry| {
            matches!(entry.fact, Fact::NodeStarted { node, attempt }
                if (node, attempt) == (effect.node, effect.attempt))
        });
        assert!(announced, "{effect:?} is not in the journal");
    }
}
