//! Schedules: the moments at which stored workflows begin by themselves, each once.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use serde_json::Value;
use waystation_core::entry::{Data, Start};
use waystation_core::error::{Code, Error};

use super::live::Live;
use super::shared::{Shared, Stored};
use super::{Origin, SCHEDULED_NAMESPACE};
use crate::id::now_ms;
use crate::limits::{SCHEDULE_GRACE_MS, SCHEDULES_DUE};
use crate::store::{Fired, TriggerRow};

/// How long the service rests when no schedule is due.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// The pause after a schedule could not begin its run.
const PAUSE: Duration = Duration::from_secs(5);

/// The moments of a schedule.
pub struct Moments {
    cron: Cron,
    zone: Tz,
}

impl Moments {
    /// Reads a cron expression and the name of a time zone; the error is in words for its author.
    pub fn parse(cron: &str, zone: &str) -> Result<Moments, String> {
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron = parser.parse(cron).map_err(|error| {
            format!("{cron:?} is no cron expression of five fields, or six with seconds: {error}")
        })?;
        let zone = Tz::from_str(zone).map_err(|_| {
            format!("there is no time zone {zone}; use a name such as Europe/Berlin or UTC")
        })?;
        Ok(Moments { cron, zone })
    }

    /// The moments that a stored schedule's settings tell.
    pub fn of(settings: &Value) -> Result<Moments, Error> {
        let text = |name: &str| settings.get(name).and_then(Value::as_str).unwrap_or_default();
        Moments::parse(text("cron"), text("timezone"))
            .map_err(|problem| Error::new(Code::DefinitionInvalid, problem))
    }

    /// The first one after a moment, in Unix milliseconds. Some expressions have none.
    pub fn after(&self, unix_ms: u64) -> Option<u64> {
        let from = DateTime::<Utc>::from_timestamp_millis(i64::try_from(unix_ms).ok()?)?;
        let next = self.cron.find_next_occurrence(&from.with_timezone(&self.zone), false).ok()?;
        u64::try_from(next.timestamp_millis()).ok()
    }
}

/// Begins what is due, until the engine closes.
pub(super) async fn serve(shared: &Arc<Shared>) {
    loop {
        let rest = match begin_due(shared).await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::warn!(%error, "schedules could not be looked up");
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = shared.rescheduled.notified() => {}
        }
    }
}

/// Begins what is due; answers when to look again.
async fn begin_due(shared: &Arc<Shared>) -> Result<Duration, Error> {
    let mut failed = false;
    for row in shared.store.schedules_due(now_ms(), SCHEDULES_DUE).await? {
        if let Err(error) = fire(shared, &row).await {
            let (workflow, trigger) = (row.workflow, &row.id);
            tracing::warn!(%workflow, trigger, %error, "a schedule could not begin its run");
            failed = true;
        }
    }
    if failed {
        return Ok(PAUSE);
    }
    let next = shared.store.next_schedule().await?;
    let rest = next.map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
    Ok(rest.unwrap_or(LONGEST_REST).min(LONGEST_REST))
}

/// Begins the run of a schedule's moment, or lets it pass, as the schedule says of missed ones.
async fn fire(shared: &Arc<Shared>, row: &TriggerRow) -> Result<(), Error> {
    let Some(occurrence) = row.next_at else { return Ok(()) };
    let moments = Moments::of(&row.settings)?;
    let now = now_ms();
    let missed = row.settings.get("missed").and_then(Value::as_str).unwrap_or("once");
    let following = moments.after(occurrence);
    let is_late = now.saturating_sub(occurrence) > SCHEDULE_GRACE_MS;
    let next_at = if missed == "all" { following } else { moments.after(now) };
    if is_late && missed == "skip" {
        shared.store.skip_occurrence(&row.workflow, &row.id, occurrence, next_at).await?;
        return Ok(());
    }
    let fired = Fired {
        workflow: row.workflow,
        trigger: row.id.clone(),
        occurrence: Some(occurrence),
        next_at,
    };
    match begin(shared, row, fired).await {
        // Another process was first, or somebody has changed the schedule.
        Err(error) if error.code == Code::Conflict => Ok(()),
        // It never will: the next moment may find a definition that is mended.
        Err(error) if matches!(error.code, Code::NotFound | Code::DefinitionInvalid) => {
            shared.store.skip_occurrence(&row.workflow, &row.id, occurrence, next_at).await?;
            Err(error)
        }
        other => other,
    }
}

async fn begin(shared: &Arc<Shared>, row: &TriggerRow, fired: Fired) -> Result<(), Error> {
    shared.admit()?;
    let workflow = row.workflow.to_string();
    let stored = shared.library.stored(&shared.plans, &workflow, None).await?;
    let Stored { definition, version, name } = stored;
    let start = Start {
        plan: definition.program.hash.to_string(),
        workflow,
        namespace: SCHEDULED_NAMESPACE.into(),
        name,
        input: Data::from(row.settings.get("input").cloned().unwrap_or_default()),
        version: Some(version),
        trigger: Some(row.id.clone()),
        ..Start::default()
    };
    let origin = Origin { version: Some(version), fired: Some(fired), ..Origin::default() };
    let live = Live::begin(shared, &definition, start, Vec::new(), Vec::new());
    live.coming_from(origin).launch().await?.accepted().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis() as u64
    }

    fn next(cron: &str, zone: &str, from: &str) -> Option<u64> {
        Moments::parse(cron, zone).unwrap().after(at(from))
    }

    #[test]
    fn moments_are_those_of_the_time_zone() {
        let from = "2026-01-31T23:30:00Z";
        assert_eq!(next("0 3 * * *", "UTC", from), Some(at("2026-02-01T03:00:00Z")));
        assert_eq!(next("0 3 * * *", "Asia/Tokyo", from), Some(at("2026-02-01T18:00:00Z")));
        assert_eq!(next("*/10 * * * * *", "UTC", from), Some(at("2026-01-31T23:30:10Z")));
        assert_eq!(next("0 0 30 2 *", "UTC", from), None, "there is no such day");
    }

    #[test]
    fn a_moment_that_the_clock_leaves_out_or_repeats_comes_once() {
        let spring = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z").unwrap();
        let after = Moments::parse("30 2 * * *", "Europe/Berlin").unwrap().after(spring).unwrap();
        assert!(after - spring >= 22 * 3_600_000, "{spring} {after}");
        let autumn = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z").unwrap();
        let after = Moments::parse("30 2 * * *", "Europe/Berlin").unwrap().after(autumn).unwrap();
        assert!(after - autumn >= 23 * 3_600_000, "{autumn} {after}");
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        let problem = |cron, zone| Moments::parse(cron, zone).err().unwrap();
        assert!(problem("every day", "UTC").contains("is no cron expression of five fields"));
        assert!(problem("0 3 * * *", "Berlin").contains("there is no time zone Berlin"));
    }
}
