//! What names mean where a node looks at the items of a list, one at a time.

use std::borrow::Cow;

use serde_json::Value;

use crate::expr::{Found, Key, Scope};

/// An item's names, and behind them the run's. `item` is always the item itself, and what is said in full,
/// as `input` or `<node>.output`, is always the run's: data decides nothing in its author's place. Then
/// come the item's fields, `value` for the item where it has no such field, and `index`, counted from 0.
pub struct ItemScope<'a> {
    /// The item; where there is none, there are only the run's names.
    pub item: Option<&'a Value>,
    /// Its place in the list.
    pub index: usize,
    /// The run's names.
    pub run: &'a dyn Scope,
    /// Whether `item` and `index` are the run's where it has them: where a node looks at one value as a
    /// whole, they are those of the loop around it.
    pub yields: bool,
}

impl Scope for ItemScope<'_> {
    fn lookup<'a>(&'a self, path: &[Key]) -> Option<Found<'a>> {
        let Key::Name(head) = path.first()? else { return None };
        let Some(item) = self.item else { return self.run.lookup(path) };
        if self.yields
            && matches!(&**head, "item" | "index")
            && let Some(found) = self.run.lookup(path)
        {
            return Some(found);
        }
        if is_said_in_full(path)
            && let Some(found) = self.run.lookup(path)
        {
            return Some(found);
        }
        let value = match (&**head, item.as_object().and_then(|fields| fields.get(&**head))) {
            ("item", _) | ("value", None) => Cow::Borrowed(item),
            (_, Some(field)) => Cow::Borrowed(field),
            ("index", None) => Cow::Owned(self.index.into()),
            _ => return self.run.lookup(path),
        };
        Some(Found { value, used: 1 })
    }

    fn names(&self) -> Vec<String> {
        let Some(item) = self.item else { return self.run.names() };
        let own = ["item", "value", "index"].map(String::from);
        let fields = item.as_object().into_iter().flat_map(|fields| fields.keys().cloned());
        own.into_iter().chain(fields).chain(self.run.names()).collect()
    }
}

fn is_said_in_full(path: &[Key]) -> bool {
    let is = |index: usize, word: &str| matches!(path.get(index), Some(Key::Name(name)) if **name == *word);
    ["input", "outputs", "secrets", "run", "links"].into_iter().any(|head| is(0, head))
        || is(1, "output")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::expr::{Condition, Expression};

    fn evaluate(source: &str, item: &Value) -> Result<Value, String> {
        let run = json!({
            "input": { "limit": 5 }, "status": "of the run", "my-node": { "output": 1 }, "index": "run",
        });
        let scope = ItemScope { item: Some(item), index: 3, run: &run, yields: false };
        let expression = Expression::parse(source, &|name| scope.knows(name));
        let value = expression.map_err(|problem| problem.to_string())?;
        value.evaluate(&scope).map(Cow::into_owned).map_err(|problem| problem.to_string())
    }

    #[test]
    fn fields_come_first_then_the_items_own_names_then_the_runs() {
        let object = json!({ "price": 7, "status": "of the item", "zip-code": "1", "item": 0 });
        let named = json!({ "value": 1, "index": 2 });
        for (source, item, expected) in [
            ("price", &object, json!(7)),
            ("status", &object, json!("of the item")),
            ("item.price", &object, json!(7)),
            ("item.item", &object, json!(0)),
            ("value", &object, object.clone()),
            ("index", &object, json!(3)),
            ("zip-code", &object, json!("1")),
            ("zip-code", &json!({}), json!(null)),
            ("my-node.output + 1", &object, json!(2)),
            ("price > input.limit", &object, json!(true)),
            ("value", &named, json!(1)),
            ("index", &named, json!(2)),
            ("value", &json!("text"), json!("text")),
            ("item[1]", &json!([1, 2]), json!(2)),
            ("status", &json!("text"), json!("of the run")),
        ] {
            let found = evaluate(source, item);
            match expected.is_null() {
                true => assert!(found.is_err(), "{source}"),
                false => assert_eq!(found.as_ref(), Ok(&expected), "{source} of {item}"),
            }
        }
    }

    #[test]
    fn data_takes_no_place_of_what_is_the_runs() {
        let item = json!({
            "input": { "limit": 9 }, "my-node": { "output": 9 }, "run": 9, "outputs": 9, "price": 7,
        });
        for (source, expected) in [
            ("input.limit", 5),
            ("my-node.output", 1),
            ("item.input.limit", 9),
            ("run", 9),
            ("outputs", 9),
        ] {
            assert_eq!(evaluate(source, &item), Ok(json!(expected)), "{source}");
        }
    }

    #[test]
    fn one_value_as_a_whole_leaves_the_loop_around_it_its_names() {
        let run = json!({ "item": { "n": 1 }, "index": 7 });
        let subject = json!({ "n": 2 });
        let scope = ItemScope { item: Some(&subject), index: 0, run: &run, yields: true };
        for (source, expected) in [("item.n", 1), ("index", 7), ("n", 2), ("value.n", 2)] {
            let expression = Expression::parse(source, &|name| scope.knows(name)).unwrap();
            assert_eq!(expression.evaluate(&scope).unwrap().as_i64(), Some(expected), "{source}");
        }
    }

    #[test]
    fn without_an_item_there_are_the_runs_names() {
        let run = json!({ "item": 1, "a": 2 });
        let scope = ItemScope { item: None, index: 0, run: &run, yields: false };
        assert_eq!(scope.names(), ["item", "a"]);
        let found = scope.lookup(&[Key::Name("item".into())]).map(|found| found.value.into_owned());
        assert_eq!(found, Some(json!(1)));
        assert_eq!(scope.lookup(&[Key::Name("value".into())]), None);
    }

    #[test]
    fn an_unknown_name_is_told_with_the_nearest_of_all() {
        let item = json!({ "price": 7 });
        insta::assert_snapshot!(evaluate("prices > 1", &item).unwrap_err(), @"`prices` does not exist; nearest: `price`; if a string is meant, put it in quotes (bytes 0..6)");
        insta::assert_snapshot!(evaluate("statu == 1", &item).unwrap_err(), @"`statu` does not exist; nearest: `status`; if a string is meant, put it in quotes (bytes 0..5)");
        insta::assert_snapshot!(evaluate("item.prcie", &item).unwrap_err(), @"`item.prcie` does not exist; nearest: `price` (bytes 0..10)");
    }

    #[test]
    fn what_all_items_may_take_together_is_bounded() {
        let budget = crate::expr::Budget::new();
        let condition = Condition::parse("price > 1 and price < 9", &|_| false).unwrap();
        let item = json!({ "price": 7 });
        let scope = ItemScope { item: Some(&item), index: 0, run: &Value::Null, yields: false };
        let often = (0..10_000_000).find(|_| condition.evaluate_within(&scope, &budget).is_err());
        assert!(often.is_some_and(|often| often > 100_000), "{often:?}");
        assert!(budget.is_used_up());
        assert_eq!(condition.evaluate(&scope), Ok(true), "one alone has a budget of its own");
    }

    proptest! {
        #[test]
        fn every_field_is_found_by_its_name(
            fields in prop::collection::hash_map("[a-z]{1,4}", any::<i32>(), 0..5),
            name in "[a-z]{1,4}",
        ) {
            let item = json!(fields);
            let scope = ItemScope { item: Some(&item), index: 0, run: &Value::Null, yields: false };
            let found = scope.lookup(&[Key::Name(name.as_str().into())]);
            let is_own = ["item", "value", "index"].contains(&name.as_str());
            prop_assume!(!is_own);
            let expected = fields.get(&name).map(|field| json!(field));
            prop_assert_eq!(found.map(|found| found.value.into_owned()), expected);
        }
    }
}
