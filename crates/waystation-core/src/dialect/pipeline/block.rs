//! Blocks of a namespace into a pipeline's definition.

use serde_json::{Map, Value, json};

/// Turns blocks, each with its `id`, `title`, `content` and `labels`, into the steps of a pipeline.
/// The error lists every block that cannot be a step.
pub fn steps(blocks: &[Value]) -> Result<Vec<Value>, Vec<String>> {
    let mut ordered: Vec<&Value> = blocks.iter().collect();
    // A stable sort: blocks without a position keep their places among themselves, at the end.
    ordered.sort_by_key(|block| position(block).unwrap_or(u64::MAX));
    let numbered = ordered.iter().enumerate();
    let results: Vec<_> = numbered.map(|(index, block)| step(block, index + 1)).collect();
    let problems: Vec<String> =
        results.iter().filter_map(|result| result.as_ref().err().cloned()).collect();
    match problems.is_empty() {
        true => Ok(results.into_iter().flatten().collect()),
        false => Err(problems),
    }
}

fn step(block: &Value, number: usize) -> Result<Value, String> {
    let id = text(block, "id");
    let title = text(block, "title");
    let data = api_config(block).ok_or_else(|| {
        format!("block {id} ({title}) has no api_config content with a service_url and a method")
    })?;
    let name = Some(slug(title)).filter(|name| !name.is_empty()).unwrap_or_else(|| slug(id));
    let first_word = name.split('_').next().unwrap_or_default();
    let mut outputs = vec![format!("step_{number}_result"), format!("{first_word}_result")];
    outputs.dedup();
    let mut step = json!({
        "step_name": name,
        "usid": id,
        "service_url": data["service_url"],
        "method": data["method"],
        "outputs": outputs,
        "dependencies": dependencies(block),
        "labels": workflow_labels(block),
    });
    for field in ["headers", "body_template", "timeout", "max_retries"] {
        if let Some(value) = data.get(field) {
            step[field] = value.clone();
        }
    }
    Ok(step)
}

fn text<'a>(block: &'a Value, field: &str) -> &'a str {
    block[field].as_str().unwrap_or_default()
}

fn api_config(block: &Value) -> Option<&Map<String, Value>> {
    let content = block.get("content")?;
    let data = content.get("data")?.as_object()?;
    let complete = data.contains_key("service_url") && data.contains_key("method");
    (content["type"] == "api_config" && complete).then_some(data)
}

fn labels(block: &Value) -> impl Iterator<Item = (&str, &str)> {
    let labels = block["labels"].as_object().into_iter().flatten();
    labels.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
}

/// The labels `workflow:<name>:<position>`, by which blocks refer to one another.
fn workflow_labels(block: &Value) -> Vec<&str> {
    labels(block).map(|(name, _)| name).filter(|name| name.starts_with("workflow:")).collect()
}

fn position(block: &Value) -> Option<u64> {
    let label = workflow_labels(block).into_iter().next()?;
    label.rsplit(':').next()?.parse().ok()
}

fn dependencies(block: &Value) -> Vec<&str> {
    let lists = labels(block).filter(|(name, _)| *name == "depends_on").map(|(_, list)| list);
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Lower-case words joined by underscores.
pub fn slug(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_alphanumeric());
    let words: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.join("_")
}
