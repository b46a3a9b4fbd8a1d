//! Tokens good and bad. Bad ones are made by hand, as an attacker would.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "a secret of more than thirty-two bytes";
const NOW: u64 = 1_800_000_000;

/// The library asks the clock of the machine; what it must find good is good until long after.
fn later() -> u64 {
    jsonwebtoken::get_current_timestamp() + 1_000
}

fn testdata(name: &str) -> String {
    // Where the checkout is now: build output may be shared by several.
    format!("{}/src/auth/testdata/{name}", std::env::var("CARGO_MANIFEST_DIR").unwrap())
}

fn read(pairs: &[(&str, &str)]) -> Result<Option<Tokens>, String> {
    let lookup = |name: &str| {
        pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Tokens::from_lookup(&lookup).map_err(|error| error.message)
}

fn with_secret(more: &[(&str, &str)]) -> Tokens {
    read(&[&[("JWT_SECRET", SECRET)], more].concat()).unwrap().unwrap()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn hs(algorithm: hmac::Algorithm, key: &[u8], header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let made = hmac::sign(&hmac::Key::new(algorithm, key), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(made))
}

fn hs256(claims: &Value) -> String {
    hs(hmac::HMAC_SHA256, SECRET.as_bytes(), &json!({ "alg": "HS256", "typ": "JWT" }), claims)
}

fn new(role: Role, namespaces: Option<Vec<String>>) -> NewToken {
    let now = jsonwebtoken::get_current_timestamp();
    NewToken { subject: "ann".into(), role, namespaces, now, seconds: 1_000 }
}

#[test]
fn what_is_made_is_opened_by_every_algorithm() {
    for (name, algorithm) in ALGORITHMS {
        let file = match algorithm.family() {
            AlgorithmFamily::Hmac => None,
            AlgorithmFamily::Rsa => Some("rsa"),
            AlgorithmFamily::Ec => Some("ec"),
            AlgorithmFamily::Ed => Some("ed"),
        };
        let public = file.map(|file| testdata(&format!("{file}.pub.pem")));
        let settings = match &public {
            Some(public) => vec![("JWT_ALGORITHM", name), ("WAYSTATION_JWT_KEYS", public)],
            None => vec![("JWT_ALGORITHM", name), ("JWT_SECRET", SECRET)],
        };
        let tokens = read(&settings).unwrap().unwrap();
        let private = file.map(|file| std::fs::read(testdata(&format!("{file}.pem"))).unwrap());
        let new = new(Role::Runner, Some(vec!["a".into(), "b".into()]));
        let made = tokens.make(&new, private.as_deref()).unwrap();
        let opened = tokens.open(&made, later()).unwrap();
        assert_eq!((&*opened.name, opened.role), ("token:ann", Role::Runner), "{name}");
        assert!(opened.scope.holds("b") && !opened.scope.holds("c"));

        let (rest, signature) = made.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{rest}.{other}{}", &signature[1..]);
        assert_eq!(tokens.open(&forged, later()), Err(UNSIGNED), "{name}");
        if private.is_some() {
            assert!(tokens.make(&new, None).is_err(), "a public key signs nothing");
        }
    }
}

#[test]
fn a_token_of_an_existing_client_is_taken() {
    let tokens = with_secret(&[]);
    let opened = tokens.open(&hs256(&json!({ "sub": "bob", "exp": later() })), later()).unwrap();
    assert_eq!(opened.role, Role::Editor);
    assert_eq!(opened.scope, Scope::All);
    let claims = json!({ "exp": later(), "scope": "x", "namespaces": "one" });
    let opened = tokens.open(&hs256(&claims), later()).unwrap();
    assert!(opened.scope.holds("one") && !opened.scope.holds("two"));
    let tokens = with_secret(&[("WAYSTATION_JWT_ROLE", "viewer")]);
    let opened = tokens.open(&hs256(&json!({ "exp": later() })), later()).unwrap();
    assert_eq!(opened.role, Role::Viewer);
}

#[test]
fn claims_that_do_not_hold_are_refused() {
    let bound = [("WAYSTATION_JWT_AUDIENCE", "flows, more"), ("WAYSTATION_JWT_ISSUER", "us")];
    let tokens = with_secret(&bound);
    let good = json!({ "exp": later(), "aud": "flows", "iss": "us" });
    assert!(tokens.open(&hs256(&good), later()).is_ok());
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    for (claims, why) in [
        (changed("exp", json!(NOW / 2)), "the token has expired"),
        (changed("exp", json!("never")), "the token lacks a claim that this server requires"),
        (changed("exp", json!(-1)), "the token lacks a claim that this server requires"),
        (without("exp"), "the token lacks a claim that this server requires"),
        (changed("nbf", json!(later())), "the token is not good yet"),
        (changed("nbf", json!("now")), "the token is no JWT of the expected form"),
        (changed("iat", json!(later() + 99_999)), "the token is from the future"),
        (changed("aud", json!("others")), "the token is for another audience"),
        (changed("aud", json!(["others"])), "the token is for another audience"),
        (changed("aud", json!([])), "the token is for another audience"),
        (without("aud"), "the token lacks a claim that this server requires"),
        (changed("iss", json!("them")), "the token is by another issuer"),
        (without("iss"), "the token lacks a claim that this server requires"),
        (changed("role", json!(null)), "the token is no JWT of the expected form"),
        (changed("namespaces", json!(null)), "the token is no JWT of the expected form"),
        (changed("role", json!("root")), "the token names a role that is none"),
        (changed("role", json!(["admin"])), "the token is no JWT of the expected form"),
        (changed("namespaces", json!({ "a": 1 })), "the token is no JWT of the expected form"),
    ] {
        let refused = tokens.open(&hs256(&claims), later()).unwrap_err();
        assert_eq!(refused, why, "{claims}");
    }
    let unbound = with_secret(&[]);
    let refused = unbound.open(&hs256(&good), later()).unwrap_err();
    assert_eq!(refused, "the token is for another audience", "no audience is said to be ours");
    let nowhere = changed("namespaces", json!([]));
    assert!(!tokens.open(&hs256(&nowhere), later()).unwrap().scope.holds("default"));
}

#[test]
fn tokens_by_other_means_are_refused() {
    let tokens = with_secret(&[]);
    let claims = json!({ "exp": later(), "role": "admin" });
    let key = SECRET.as_bytes();
    let unsigned = |alg: &str| format!("{}.{}.", part(&json!({ "alg": alg })), part(&claims));
    let good = hs256(&claims);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let header = |more: Value| {
        let mut header = json!({ "alg": "HS256" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    let long = json!({ "exp": later(), "pad": "x".repeat(100_000) });
    let deep = format!("{}0{}", "[".repeat(3_000), "]".repeat(3_000));
    let deep = format!("{}.{}.AA", part(&header(json!({}))), URL_SAFE_NO_PAD.encode(deep));
    for (token, what) in [
        (unsigned("none"), "no algorithm"),
        (unsigned("None"), "no algorithm, in other letters"),
        (unsigned("HS256"), "no signature"),
        (hs(hmac::HMAC_SHA512, key, &json!({ "alg": "HS512" }), &claims), "another algorithm"),
        (hs(hmac::HMAC_SHA512, key, &json!({ "alg": "HS256" }), &claims), "a false name for it"),
        (hs(hmac::HMAC_SHA256, b"", &header(json!({})), &claims), "an empty secret"),
        (hs(hmac::HMAC_SHA256, key, &header(json!({ "crit": ["b64"] })), &claims), "critical"),
        (
            hs(
                hmac::HMAC_SHA256,
                b"k",
                &header(json!({ "jwk": { "kty": "oct", "k": "aw" } })),
                &claims,
            ),
            "its own key",
        ),
        (
            hs(hmac::HMAC_SHA256, b"", &header(json!({ "kid": "../../../dev/null" })), &claims),
            "a path",
        ),
        (
            hs(hmac::HMAC_SHA256, b"", &header(json!({ "kid": "x' UNION SELECT ''--" })), &claims),
            "a query",
        ),
        (
            hs(
                hmac::HMAC_SHA256,
                b"",
                &header(json!({ "jku": "https://evil.example/k" })),
                &claims,
            ),
            "a place of keys",
        ),
        (hs256(&long), "too long"),
        (deep, "too deep"),
        (format!("{message}."), "an empty signature"),
        (message.to_owned(), "two parts"),
        (format!("{good}.{signature}"), "four parts"),
        (format!("{good}="), "padding"),
        (format!(" {good}"), "space"),
        (String::new(), "nothing"),
        ("..".into(), "dots"),
    ] {
        assert!(tokens.open(&token, later()).is_err(), "{what}: {token}");
    }
    assert!(tokens.open(&good, later()).is_ok());
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let public = testdata("rsa.pub.pem");
    let settings = [("JWT_ALGORITHM", "RS256"), ("WAYSTATION_JWT_KEYS", &public)];
    let tokens = read(&settings).unwrap().unwrap();
    let pem = std::fs::read(&public).unwrap();
    let claims = json!({ "exp": later() });
    for alg in ["HS256", "RS256"] {
        let forged = hs(hmac::HMAC_SHA256, &pem, &json!({ "alg": alg }), &claims);
        assert!(tokens.open(&forged, later()).is_err(), "{alg}");
    }
    let text = std::fs::read_to_string(&public).unwrap();
    let refused = read(&[("JWT_SECRET", &text)]).err().unwrap();
    assert_eq!(refused, "JWT_SECRET is a key of a pair, and no secret");
}

/// A set of keys with one shared secret for another algorithm, one key for encryption, and two that fit.
fn key_set() -> (tempfile::TempDir, String) {
    let key = |secret: &str, more: Value| {
        let mut key = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret) });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let set = json!({ "keys": [
        key("first of all the secrets, long enough", json!({ "kid": "one", "alg": "HS256" })),
        key("second of the secrets, long enough too", json!({ "kid": "two" })),
        key("for another algorithm altogether, that", json!({ "kid": "three", "alg": "HS512" })),
        key("short", json!({ "kid": "five" })),
        key("for encryption, and never for signing ", json!({ "kid": "four", "use": "enc" })),
    ]});
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    std::fs::write(&file, set.to_string()).unwrap();
    let file = file.to_string_lossy().into_owned();
    (directory, file)
}

#[test]
fn the_key_of_a_set_is_found_by_its_name_alone() {
    let (_directory, file) = key_set();
    let tokens = read(&[("WAYSTATION_JWT_KEYS", &file)]).unwrap().unwrap();
    let claims = json!({ "exp": later() });
    let made = |secret: &str, kid: Option<&str>| {
        let mut header = json!({ "alg": "HS256" });
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        hs(hmac::HMAC_SHA256, secret.as_bytes(), &header, &claims)
    };
    let (one, two) =
        ("first of all the secrets, long enough", "second of the secrets, long enough too");
    for (secret, kid) in [(one, Some("one")), (two, Some("two")), (two, None), (one, None)] {
        assert!(tokens.open(&made(secret, kid), later()).is_ok(), "{kid:?}");
    }
    for (secret, kid) in [
        (one, Some("two")),
        (one, Some("")),
        (one, Some("six")),
        ("short", Some("five")),
        ("short", None),
        ("for another algorithm altogether, that", Some("three")),
        ("for encryption, and never for signing ", Some("four")),
        ("for encryption, and never for signing ", None),
    ] {
        assert!(tokens.open(&made(secret, kid), later()).is_err(), "{kid:?}");
    }
}

#[test]
fn settings_that_cannot_hold_are_refused() {
    let nowhere = "/no/such/file";
    let rsa = testdata("rsa.pub.pem");
    for (settings, told) in [
        (vec![("JWT_SECRET", "short")], "JWT_SECRET has to have 32 bytes at least"),
        (vec![("JWT_SECRET", SECRET), ("JWT_ALGORITHM", "none")], "JWT_ALGORITHM must be one of"),
        (vec![("JWT_SECRET", SECRET), ("JWT_ALGORITHM", "hs256")], "JWT_ALGORITHM must be one of"),
        (vec![("JWT_SECRET", SECRET), ("JWT_ALGORITHM", "RS256")], "no effect with JWT_ALGORITHM"),
        (vec![("JWT_SECRET", SECRET), ("WAYSTATION_JWT_KEYS", nowhere)], "exclude one another"),
        (vec![("JWT_SECRET", SECRET), ("WAYSTATION_JWT_ROLE", "boss")], "WAYSTATION_JWT_ROLE"),
        (vec![("JWT_ALGORITHM", "HS256")], "JWT_ALGORITHM has no effect without a key"),
        (vec![("WAYSTATION_JWT_ISSUER", "us")], "WAYSTATION_JWT_ISSUER has no effect"),
        (vec![("WAYSTATION_JWT_KEYS", nowhere)], "cannot be read"),
        (vec![("WAYSTATION_JWT_KEYS", &rsa)], "holds no public key in PEM for HS256"),
        (
            vec![("WAYSTATION_JWT_KEYS", &rsa), ("JWT_ALGORITHM", "ES256")],
            "no public key in PEM for ES256",
        ),
    ] {
        let refused = read(&settings).err().unwrap_or_else(|| panic!("{settings:?} passed"));
        assert!(refused.contains(told), "{settings:?}: {refused}");
    }
    assert!(read(&[]).unwrap().is_none());
}
