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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::pipeline::compile;
    use crate::plan::{Edge, Plan, Shape, When};

    fn block(id: &str, title: &str, labels: &Value) -> Value {
        let data = json!({ "service_url": "https://x.test", "method": "POST" });
        let content = json!({ "type": "api_config", "data": data });
        json!({ "id": id, "title": title, "content": content, "labels": labels })
    }

    fn plan(blocks: &[Value]) -> Plan {
        let steps = Value::from(steps(blocks).expect("blocks that can be steps")).to_string();
        compile(Some(&steps), None, 99).expect("steps that compile").plan
    }

    fn edges(plan: &Plan) -> Vec<(&str, &str)> {
        let Shape::Graph { edges } = &plan.shape else { return Vec::new() };
        let id = |node: u32| plan.nodes[node as usize].id.as_str();
        edges.iter().map(|edge| (id(edge.from), id(edge.to))).collect()
    }

    #[test]
    fn a_block_becomes_a_step() {
        let block = json!({
            "id": "block-123",
            "title": "Sentiment Analysis",
            "content": { "type": "api_config", "data": {
                "service_url": "https://api.openai.com/v1/chat/completions",
                "method": "POST",
                "headers": { "Authorization": "Bearer {{secrets.OPENAI}}" },
                "body_template": { "content": "{{original_input}}" },
                "timeout": 20,
                "max_retries": 1,
                "notes": "kept out",
            } },
            "labels": {
                "workflow:analysis:1": "workflow:analysis:1",
                "depends_on": "workflow:analysis:0",
            },
        });
        let expected = json!({
            "step_name": "sentiment_analysis",
            "usid": "block-123",
            "service_url": "https://api.openai.com/v1/chat/completions",
            "method": "POST",
            "outputs": ["step_1_result", "sentiment_result"],
            "dependencies": ["workflow:analysis:0"],
            "labels": ["workflow:analysis:1"],
            "headers": { "Authorization": "Bearer {{secrets.OPENAI}}" },
            "body_template": { "content": "{{original_input}}" },
            "timeout": 20,
            "max_retries": 1,
        });
        assert_eq!(steps(&[block]), Ok(vec![expected]));
    }

    #[test]
    fn labels_order_blocks_and_name_them() {
        let blocks = [
            block("free", "Without a place", &json!({})),
            block("ten", "Tenth", &json!({ "workflow:w:10": "", "depends_on": "workflow:w:2" })),
            block("two", "Second", &json!({ "workflow:w:2": "", "depends_on": "first_result" })),
            block("one", "First", &json!({ "workflow:w:1": "", "colour": "red" })),
            block("odd", "Odd place", &json!({ "workflow:w:last": "" })),
        ];
        let steps = steps(&blocks).unwrap();
        let ids: Vec<&Value> = steps.iter().map(|step| &step["usid"]).collect();
        assert_eq!(ids, ["one", "two", "ten", "free", "odd"]);
        assert_eq!(steps[2]["outputs"], json!(["step_3_result", "tenth_result"]));
        assert_eq!(edges(&plan(&blocks)), [("one", "two"), ("two", "ten")]);
    }

    #[test]
    fn depends_on_takes_labels_ids_names_and_outputs_by_comma() {
        let blocks = [
            block("a", "Fetch page", &json!({ "workflow:w:1": "" })),
            block("b", "Fetch rates", &json!({ "workflow:w:2": "" })),
            block("c", "Sum up", &json!({ "workflow:w:3": "", "depends_on": "" })),
            block(
                "d",
                "Send",
                &json!({
                    "workflow:w:4": "", "depends_on": " workflow:w:1, b ,sum_up,,step_3_result",
                }),
            ),
        ];
        assert_eq!(edges(&plan(&blocks)), [("a", "d"), ("b", "d"), ("c", "d"), ("c", "d")]);
    }

    #[test]
    fn blocks_that_share_a_place_are_all_waited_for() {
        let blocks = [
            block("a", "North", &json!({ "workflow:w:1": "" })),
            block("b", "South", &json!({ "workflow:w:1": "" })),
            block("c", "Both", &json!({ "workflow:w:2": "", "depends_on": "workflow:w:1" })),
        ];
        let plan = plan(&blocks);
        assert_eq!(edges(&plan), [("a", "merge 0"), ("b", "merge 0"), ("merge 0", "c")]);
        let Shape::Graph { edges } = plan.shape else { panic!("a pipeline is a graph") };
        let last = edges.last().cloned();
        let label = Some("workflow:w:1".into());
        assert_eq!(last, Some(Edge { from: 3, to: 2, when: When::Completed, label }));
    }

    #[test]
    fn blocks_that_cannot_be_steps_are_all_named() {
        let text = json!({ "id": "b1", "title": "A note", "content": { "type": "text" } });
        let bare = json!({ "id": "b2", "title": "Bare", "content": {
            "type": "api_config", "data": { "service_url": "https://x.test" },
        } });
        let other = json!({ "id": "b3", "title": "Other", "content": {
            "type": "table", "data": { "service_url": "https://x.test", "method": "GET" },
        } });
        let fine = block("b4", "Fine", &Value::Null);
        let found = steps(&[text, fine, bare, other, json!("block"), json!({ "id": 7 })]);
        let problem = |name: &str| {
            format!("block {name} has no api_config content with a service_url and a method")
        };
        let expected = ["b1 (A note)", "b2 (Bare)", "b3 (Other)", " ()", " ()"];
        assert_eq!(found, Err(expected.into_iter().map(problem).collect()));
    }

    #[test]
    fn the_same_block_twice_is_a_duplicate() {
        let twice = [block("a", "One", &json!({})), block("a", "One", &json!({}))];
        let text = Value::from(steps(&twice).unwrap()).to_string();
        assert_eq!(compile(Some(&text), None, 99).unwrap_err(), ["Duplicate USID: a"]);
    }

    #[test]
    fn titles_become_names() {
        let cases = [
            ("Sentiment Analysis", "sentiment_analysis"),
            ("  GPT-4: sum_up!  ", "gpt_4_sum_up"),
            ("Über uns", "über_uns"),
            ("---", ""),
        ];
        for (title, name) in cases {
            assert_eq!(slug(title), name);
        }
        let nameless = steps(&[block("block-9", "!!", &json!({}))]).unwrap();
        assert_eq!(nameless[0]["step_name"], "block_9");
        assert_eq!(nameless[0]["outputs"], json!(["step_1_result", "block_result"]));
    }
}
