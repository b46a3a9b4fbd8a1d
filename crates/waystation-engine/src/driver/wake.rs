//! What happens to runs by themselves: recovery at start, the alarm for sleeping ones, retention.

use std::sync::Arc;
use std::time::Duration;

use waystation_core::error::Error;

use super::schedule;
use super::shared::Shared;
use crate::id::now_ms;

/// Runs handled in one go.
const PAGE: usize = 1_000;
/// How long the alarm rests when it cannot wake what is due.
const REST_OF_BUSY: Duration = Duration::from_millis(100);
/// How long the alarm rests when nothing sleeps.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How often old runs are looked for.
const RETENTION_ROUND: Duration = Duration::from_secs(60);
/// The pause between two deletions, so that runs under way have the store to themselves.
const RETENTION_PAUSE: Duration = Duration::from_millis(50);

/// Brings every run that was under way back to memory.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<(), Error> {
    let runs = shared.store.unfinished().await?;
    if !runs.is_empty() {
        tracing::info!(runs = runs.len(), "recovering unfinished runs");
    }
    for run in runs {
        shared.ensure_live(run);
    }
    Ok(())
}

/// Starts what runs beside the runs, until the engine closes.
pub(super) fn spawn_services(shared: &Arc<Shared>) {
    shared.courier.spawn_sweeper();
    let services = Arc::clone(shared);
    tokio::spawn(async move {
        let mut closing = services.closing.subscribe();
        tokio::select! {
            () = alarm(&services) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    });
    let services = Arc::clone(shared);
    tokio::spawn(async move {
        let mut closing = services.closing.subscribe();
        tokio::select! {
            () = schedule::serve(&services) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    });
    let Some(retention) = shared.settings.retention else { return };
    let services = Arc::clone(shared);
    tokio::spawn(async move {
        let mut closing = services.closing.subscribe();
        tokio::select! {
            () = expire(&services, retention) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    });
}

/// Wakes sleeping runs when their moment has come.
async fn alarm(shared: &Arc<Shared>) {
    loop {
        let rest = match wake_due(shared).await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::warn!(%error, "sleeping runs could not be looked up");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = shared.slept.notified() => {}
        }
    }
}

async fn wake_due(shared: &Arc<Shared>) -> Result<Duration, Error> {
    let due = shared.store.due(now_ms(), PAGE).await?;
    // A run that was woken counts as due until its next append.
    let woken = shared.to_be_woken(due);
    let is_more = woken.len() == PAGE;
    let has_woken = !woken.is_empty();
    for run in woken {
        shared.ensure_live(run);
    }
    let next = shared.store.next_wake().await?;
    let rest = next.map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
    // Where all that are due are in memory, or there is no room, the end of some run is waited for.
    let floor = match (is_more, has_woken) {
        (true, _) => Duration::from_millis(1),
        (false, true) => Duration::from_millis(20),
        (false, false) => REST_OF_BUSY,
    };
    Ok(rest.unwrap_or(LONGEST_REST).clamp(floor, LONGEST_REST))
}

async fn expire(shared: &Arc<Shared>, retention: Duration) {
    loop {
        let before = now_ms().saturating_sub(retention.as_millis() as u64);
        match shared.store.expire(before, PAGE).await {
            Ok(0) => tokio::time::sleep(RETENTION_ROUND).await,
            Ok(runs) => {
                tracing::debug!(runs, "old runs deleted");
                tokio::time::sleep(RETENTION_PAUSE).await;
            }
            Err(failed) => {
                tracing::warn!(detail = %failed.detail, "old runs could not be deleted");
                tokio::time::sleep(RETENTION_ROUND).await;
            }
        }
    }
}
