//! Keys made, shown, expired and taken back, on a real store.

use waystation_engine::store::sqlite::{Options, SqliteStore};

use super::*;

fn new(name: &str) -> NewKey {
    NewKey { name: name.into(), role: Role::Runner, namespaces: None, expires: None }
}

async fn keys() -> (tempfile::TempDir, Keys) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), &Options::default()).unwrap();
    (directory, Keys::load(Arc::new(store)).await.unwrap())
}

#[tokio::test]
async fn a_key_opens_until_it_ends() {
    let (_directory, keys) = keys().await;
    assert!(!keys.are_used());
    let (key, row) = keys.create(new("for the test")).await.unwrap();
    assert!(key.starts_with(&format!("way_{}_", row.id)) && keys.are_used());
    let opened = keys.open(&key, 0).unwrap();
    assert_eq!(&*opened.name, format!("key:{}", row.id));
    assert_eq!((opened.role, opened.scope), (Role::Runner, Scope::All));

    let bounded =
        NewKey { namespaces: Some(vec!["a".into()]), expires: Some(1_000), ..new("for a while") };
    let (bounded, _) = keys.create(bounded).await.unwrap();
    let opened = keys.open(&bounded, 999).unwrap();
    assert!(opened.scope.holds("a") && !opened.scope.holds("b"));
    assert_eq!(keys.open(&bounded, 1_000), Err("the key has expired"));

    keys.revoke(&row.id).await.unwrap();
    assert_eq!(keys.open(&key, 0), Err("the key has been revoked"));
    assert_eq!(keys.revoke(&row.id).await.unwrap_err().code, Code::NotFound);

    let again = Keys::load(Arc::clone(&keys.store)).await.unwrap();
    assert_eq!(again.open(&key, 0), Err("the key has been revoked"));
    assert!(again.open(&bounded, 0).is_ok() && again.are_used());
    assert_eq!(again.all(), keys.all());
}

#[tokio::test]
async fn only_the_whole_key_opens() {
    let (_directory, keys) = keys().await;
    let (key, row) = keys.create(new("one")).await.unwrap();
    let (other, _) = keys.create(new("two")).await.unwrap();
    let swapped = format!("way_{}_{}", row.id, other.rsplit_once('_').unwrap().1);
    let cut = key[..key.len() - 1].to_owned();
    let id_alone = format!("way_{}_", row.id);
    for shown in ["", "way_", "way__", &cut, &swapped, &id_alone, &key.to_uppercase(), &key[4..]] {
        assert_eq!(keys.open(shown, 0), Err("no such key"), "{shown}");
    }
    for row in keys.all() {
        assert!(!key.as_bytes().windows(row.digest.len()).any(|part| part == row.digest));
    }
}

#[tokio::test]
async fn keys_without_sense_are_not_made() {
    let (_directory, keys) = keys().await;
    let named = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    for wrong in [
        new(""),
        new(" "),
        new("two\nlines"),
        new(&"x".repeat(101)),
        NewKey { namespaces: named(&[]), ..new("no namespaces") },
        NewKey { namespaces: named(&["a", ""]), ..new("an empty one") },
    ] {
        let refused = keys.create(wrong).await.unwrap_err();
        assert_eq!(refused.code, Code::RequestInvalid, "{}", refused.message);
    }
    assert!(!keys.are_used());
}
