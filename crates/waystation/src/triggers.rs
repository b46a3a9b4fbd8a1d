//! Triggers of stored workflows: from a definition to what the store keeps, and back.

use serde_json::{Value, json};
use waystation_core::dialect::graph::definition::Definition;
use waystation_core::dialect::graph::issue::{Issue, Issues};
pub use waystation_core::dialect::graph::trigger::Hook;
use waystation_core::dialect::graph::trigger::{self, Missed, Schedule, Trigger, TriggerKind};
use waystation_core::error::{Code, Error};
use waystation_engine::driver::Moments;
use waystation_engine::id::{WorkflowId, now_ms};
use waystation_engine::store::{self, NewTrigger, TriggerRow};

use crate::app::App;
use crate::workflows;

/// The triggers of a definition, each with its next moment; all that is wrong with their moments.
pub fn of(definition: &Definition) -> Result<Vec<NewTrigger>, Vec<Issue>> {
    let mut issues = Vec::new();
    let is_active = definition.status == "active";
    let made = definition.triggers.iter().filter_map(|trigger| {
        let enabled = trigger.is_enabled && is_active;
        new_trigger(trigger, enabled).map_err(|issue| issues.push(issue)).ok()
    });
    let made = made.collect();
    if issues.is_empty() { Ok(made) } else { Err(issues) }
}

fn new_trigger(trigger: &Trigger, enabled: bool) -> Result<NewTrigger, Issue> {
    let id = trigger.id.clone();
    Ok(match &trigger.kind {
        TriggerKind::Schedule(schedule) => {
            let Schedule { cron, timezone, missed, input } = schedule;
            let wrong = |problem| {
                let is_zone = Moments::parse(cron, "UTC").is_ok();
                let field = if is_zone { "timezone" } else { "cron" };
                Issue::new(trigger.place.field(field), problem)
            };
            let moments = Moments::parse(cron, timezone).map_err(wrong)?;
            let missed = match missed {
                Missed::Skip => "skip",
                Missed::Once => "once",
                Missed::All => "all",
            };
            let settings = json!({
                "type": "schedule", "cron": cron, "timezone": timezone, "missed": missed,
                "input": input,
            });
            let (kind, next_at) = (store::TriggerKind::Schedule, moments.after(now_ms()));
            NewTrigger { id, kind, settings, path: None, enabled, next_at }
        }
        TriggerKind::Hook(hook) => {
            let (kind, path) = (store::TriggerKind::Hook, Some(hook.path.clone()));
            NewTrigger { id, kind, settings: hook_settings(hook), path, enabled, next_at: None }
        }
    })
}

fn hook_settings(hook: &Hook) -> Value {
    let signature = hook.signature.as_ref().map(|signed| {
        let scheme = if signed.is_standard { "standard-webhooks" } else { "hmac-sha256" };
        json!({ "secret": signed.secret, "header": signed.header, "scheme": scheme })
    });
    json!({
        "type": "webhook",
        "path": hook.path,
        "methods": hook.methods,
        "signature": signature,
        "reply": if hook.waits { "result" } else { "at_once" },
    })
}

/// The hook that a row keeps.
pub fn hook_of(row: &TriggerRow) -> Result<Hook, Error> {
    let mut issues = Issues::default();
    let mut triggers = trigger::parse(Some(&json!([row.settings])), &mut issues);
    match triggers.pop().map(|trigger| trigger.kind) {
        Some(TriggerKind::Hook(hook)) => Ok(hook),
        _ => Err(Error::new(Code::Internal, "a stored hook cannot be read")),
    }
}

/// Switches a trigger; one that is switched on waits for its next moment. Answers how it stands then.
pub async fn switch(
    app: &App,
    workflow: &WorkflowId,
    id: &str,
    enabled: bool,
) -> Result<Option<TriggerRow>, Error> {
    let store = app.engine.store();
    let find = async || -> Result<Option<TriggerRow>, Error> {
        let rows = store.triggers(Some(workflow)).await?;
        Ok(rows.into_iter().find(|row| row.id == id))
    };
    let Some(row) = find().await? else { return Ok(None) };
    let status = workflows::load(app, workflow, None).await?.status;
    if enabled && status != "active" {
        let text =
            format!("The workflow is {status}: its triggers begin nothing until it is active");
        return Err(Error::new(Code::Conflict, text));
    }
    let next_at = match row.kind {
        store::TriggerKind::Hook => None,
        store::TriggerKind::Schedule => Moments::of(&row.settings)?.after(now_ms()),
    };
    store.set_trigger(workflow, id, enabled, next_at).await?;
    app.engine.schedules_changed();
    find().await
}
