//! The vault over the store that lasts as long as the process.

use super::*;
use crate::store::memory::MemoryStore;

fn sealer(digit: &str) -> Sealer {
    Sealer::from_key_text(&digit.repeat(64)).unwrap()
}

fn vault(store: &Arc<MemoryStore>, digit: &str) -> Vault {
    Vault::new(sealer(digit), Arc::clone(store) as Arc<dyn Store>)
}

#[tokio::test]
async fn what_is_set_is_known_at_once_and_after_a_restart() {
    let store = Arc::new(MemoryStore::default());
    let first = vault(&store, "1");
    first.set("B", "two").await.unwrap();
    first.set("A", "one").await.unwrap();
    first.set("A", "uno").await.unwrap();
    assert_eq!(first.get("A").unwrap().expose(), "uno");

    let second = vault(&store, "1");
    assert!(second.names().is_empty());
    assert!(second.load().await.unwrap().is_empty());
    assert_eq!(second.names(), ["A", "B"]);
    assert_eq!(second.get("A").unwrap().expose(), "uno");
    assert!(second.remove("A").await.unwrap());
    assert!(!second.remove("A").await.unwrap());
    assert_eq!(second.get("A").unwrap_err().code, Code::SecretUnknown);
}

#[tokio::test]
async fn the_store_holds_no_plain_value() {
    let store = Arc::new(MemoryStore::default());
    vault(&store, "1").set("A", "hunter22").await.unwrap();
    let sealed = store.secrets().await.unwrap().remove(0).1;
    assert!(memchr::memmem::find(&sealed, b"hunter22").is_none());
}

#[tokio::test]
async fn another_key_leaves_secrets_listed_and_replaceable() {
    let store = Arc::new(MemoryStore::default());
    vault(&store, "1").set("A", "one").await.unwrap();
    let other = vault(&store, "2");
    assert_eq!(other.load().await.unwrap(), ["A"]);
    assert_eq!(other.get("A").unwrap_err().code, Code::SecretUnreadable);
    other.set("A", "anew").await.unwrap();
    assert_eq!(other.get("A").unwrap().expose(), "anew");
}

#[tokio::test]
async fn an_unknown_name_suggests_the_nearest() {
    let vault = vault(&Arc::default(), "1");
    vault.set("OPENAI_API_KEY", "sk").await.unwrap();
    let error = vault.get("OPENAI_KEY").unwrap_err();
    assert_eq!(error.message, "no secret is named OPENAI_KEY");
    assert_eq!(error.hint(), Some("did you mean OPENAI_API_KEY?"));
    assert!(vault.get("zzz").unwrap_err().hint().unwrap().contains("waystation secret set"));
}

#[tokio::test]
async fn names_and_values_are_checked() {
    let vault = vault(&Arc::default(), "1");
    let longest = "n".repeat(NAME_BYTES_MAX);
    for name in ["a", "_", "A.b-c_9", &longest] {
        vault.set(name, "value").await.unwrap();
    }
    let too_long = format!("{longest}n");
    for name in ["", "9a", "-a", ".a", "a b", "a/b", "é", "a\n", &too_long] {
        let error = vault.set(name, "value").await.unwrap_err();
        assert_eq!(error.code, Code::RequestInvalid, "{name}");
    }
    vault.set("a", &"v".repeat(SECRET_BYTES_MAX)).await.unwrap();
    for value in ["", &"v".repeat(SECRET_BYTES_MAX + 1)] {
        let error = vault.set("a", value).await.unwrap_err();
        assert!(error.message.starts_with("a secret has 1 to 65536 bytes"), "{error}");
    }
}
