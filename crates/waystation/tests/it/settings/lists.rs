//! Settings of the types that work on lists.

use serde_json::{Value, json};

use super::row::{Table, row, table};

pub(super) fn tables() -> Vec<Table> {
    let mut tables = vec![filter()];
    tables.extend([map(), pick(), rename(), flatten(), group(), sort(), aggregate()]);
    tables.extend([template(), jq()]);
    tables
}

fn goods() -> Value {
    let goods = [("pen", 4), ("ink", 7), ("cap", 2), ("cup", 2), ("jar", 3)];
    goods.iter().map(|(name, price)| json!({ "name": name, "price": price })).collect()
}

fn filter() -> Table {
    let rows = vec![
        row("condition", json!({ "condition": "item > 2" })),
        row("items", json!({ "items": [7, 8] })),
    ];
    table("filter", &json!({ "condition": "item > 1", "items": "{{input.list}}" }), rows)
}

/// Settings of a form of `transformer` that works on the goods.
fn on_goods(form: &str, mut more: Value) -> Value {
    more["transform_type"] = form.into();
    more["items"] = goods();
    more
}

/// Fewer goods.
fn ink() -> Value {
    json!({ "items": [{ "name": "ink", "price": 7 }] })
}

fn map() -> Table {
    let rows = vec![
        row("transform_type", json!({ "transform_type": "map" }))
            .on(json!({ "transform_type": "rename" })),
        row("fields", json!({ "fields": { "name": "{{upper(name)}}" } })),
        row("expression", json!({ "expression": "price * 2" })).on(json!({ "fields": null })),
        row("items", ink()),
    ];
    table("transformer: map", &on_goods("map", json!({ "fields": { "name": "label" } })), rows)
}

fn pick() -> Table {
    let rows = vec![
        // No other form takes a list of names.
        row("transform_type", json!({ "transform_type": "pick" }))
            .on(json!({ "transform_type": "map" })),
        row("fields", json!({ "fields": ["price", "name"] })),
        row("items", ink()),
    ];
    table("transformer: pick", &on_goods("pick", json!({ "fields": ["name"] })), rows)
}

fn rename() -> Table {
    let rows = vec![
        row("transform_type", json!({ "transform_type": "rename" }))
            .on(json!({ "transform_type": "map" })),
        row("fields", json!({ "fields": { "name": "title" } })),
        row("items", ink()),
    ];
    table(
        "transformer: rename",
        &on_goods("rename", json!({ "fields": { "name": "label" } })),
        rows,
    )
}

fn flatten() -> Table {
    let rows = vec![
        row("transform_type", json!({ "transform_type": "flatten" }))
            .on(json!({ "transform_type": "map" })),
        row("depth", json!({ "depth": 2 })),
        row("items", json!({ "items": [[4]] })),
    ];
    let base = json!({ "transform_type": "flatten", "items": [[1, [2]], 3] });
    table("transformer: flatten", &base, rows)
}

fn group() -> Table {
    let rows = vec![
        row("transform_type", json!({ "transform_type": "group" }))
            .on(json!({ "transform_type": "sort" })),
        row("by", json!({ "by": "name" })),
        row("items", ink()),
    ];
    table("transformer: group", &on_goods("group", json!({ "by": "price" })), rows)
}

fn sort() -> Table {
    let rows = vec![
        row("transform_type", json!({ "transform_type": "sort" }))
            .on(json!({ "transform_type": "group" })),
        row("by", json!({ "by": "name" })),
        row("order", json!({ "order": "desc" })).on(json!({ "order": "asc" })),
        row("items", ink()),
    ];
    table("transformer: sort", &on_goods("sort", json!({ "by": "price" })), rows)
}

fn aggregate() -> Table {
    let figure = |figure: Value| json!({ "fields": { "figure": figure } });
    let of_price = |op: &str| figure(json!({ "op": op, "of": "price" }));
    let ops = ["count", "avg", "min", "max", "first", "last", "list", "unique", "join"];
    let mut rows = vec![
        row("transform_type", json!({ "transform_type": "aggregate" }))
            .on(json!({ "transform_type": "map" })),
        row("fields", json!({ "fields": { "more": { "op": "count" } } })),
        row("fields.*.of", of_price("list")).on(figure(json!({ "op": "list", "of": null }))),
        row("fields.*.separator", figure(json!({ "op": "join", "of": "name", "separator": "; " })))
            .on(figure(json!({ "op": "join", "of": "name" }))),
        row("by", json!({ "by": "price" })),
        row("items", ink()),
    ];
    rows.extend(ops.map(|op| row("fields.*.op", of_price(op))));
    table("transformer: aggregate", &on_goods("aggregate", of_price("sum")), rows)
}

fn template() -> Table {
    let rows = vec![
        // No other form takes a template.
        row("transform_type", json!({ "transform_type": "template" }))
            .on(json!({ "transform_type": "map" })),
        row("template", json!({ "template": "the last is {{value[2]}}" })),
        row("items", json!({ "items": [9] })),
    ];
    let base = json!({
        "transform_type": "template", "template": "the first is {{value[0]}}", "items": "{{input.list}}",
    });
    table("transformer: template", &base, rows)
}

fn jq() -> Table {
    let rows = vec![
        row("transform_type", json!({ "transform_type": "jq" }))
            .on(json!({ "transform_type": "map" })),
        row("expression", json!({ "expression": "2 + 2" })),
        row("items", json!({ "items": [4, 5] })).on(json!({ "expression": "add" })),
    ];
    let base = json!({ "transform_type": "jq", "expression": "1 + 1", "items": "{{input.list}}" });
    table("transformer: jq", &base, rows)
}
