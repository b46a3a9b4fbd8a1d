//! Signed tokens (JWT): who made them is known by a key, and what they claim holds until they expire.

use std::path::Path;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation, decode, decode_header,
};
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};

use super::crypto;
use super::principal::{Ground, Principal, Role, Scope};
use crate::config::Lookup;

/// Bytes of a token; a longer one is not looked at.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Seconds by which the clocks of who makes tokens and who checks them may differ.
const LEEWAY: u64 = 30;
/// Bytes that a shared secret needs: as many as the shortest digest has.
const SECRET_BYTES_MIN: usize = 32;
/// Keys of one file.
const KEYS_MAX: usize = 32;

/// The algorithms that may be chosen.
pub const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("ES256", Algorithm::ES256),
    ("EdDSA", Algorithm::EdDSA),
];

/// What tokens have to be.
pub struct Tokens {
    algorithm: Algorithm,
    /// Keys that may have signed, with the names that some of them have.
    keys: Vec<(Option<String>, DecodingKey)>,
    /// With which new ones are signed, where a shared secret is set.
    secret: Option<EncodingKey>,
    validation: Validation,
    /// The role of tokens that name none.
    role: Role,
    audience: Option<String>,
    issuer: Option<String>,
}

/// What a token says, beside what its library looks at. Further fields are its maker's own.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    /// When it ends, in Unix seconds, perhaps with a fraction. What is no number is the library's to refuse.
    #[serde(default)]
    exp: Value,
    /// When it was made, in Unix seconds, perhaps with a fraction.
    iat: Option<f64>,
    /// What is null says nothing, and must not be taken for all.
    #[serde(default, deserialize_with = "said")]
    role: Option<String>,
    #[serde(default, deserialize_with = "said")]
    namespaces: Option<Names>,
}

/// A claim that is there, and so is something.
fn said<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// One name, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl Names {
    fn into_vec(self) -> Vec<String> {
        match self {
            Names::One(name) => vec![name],
            Names::Many(names) => names,
        }
    }
}

/// A token to be made.
pub struct NewToken {
    /// Whom it is for.
    pub subject: String,
    /// What they may do.
    pub role: Role,
    /// Where; everywhere if absent.
    pub namespaces: Option<Vec<String>>,
    /// From when on it is good, in Unix seconds.
    pub now: u64,
    /// How long, in seconds.
    pub seconds: u64,
}

impl Tokens {
    /// Reads the settings; none, where neither a secret nor keys are set.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Tokens>, Error> {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let named = text("JWT_ALGORITHM");
        let (secret, file) = (text("JWT_SECRET"), text("WAYSTATION_JWT_KEYS"));
        if secret.is_none() && file.is_none() {
            let dependent = [
                "JWT_ALGORITHM",
                "WAYSTATION_JWT_AUDIENCE",
                "WAYSTATION_JWT_ISSUER",
                "WAYSTATION_JWT_ROLE",
            ];
            let Some(name) = dependent.into_iter().find(|name| text(name).is_some()) else {
                return Ok(None);
            };
            return Err(setting(format!("{name} has no effect without a key"))
                .with_hint("set JWT_SECRET, or WAYSTATION_JWT_KEYS"));
        }
        crypto::install();
        let algorithm = algorithm(named.as_deref().unwrap_or("HS256"))?;
        let (keys, secret) = keys(algorithm, secret.as_deref(), file.as_deref())?;
        let (audience, issuer) = (text("WAYSTATION_JWT_AUDIENCE"), text("WAYSTATION_JWT_ISSUER"));
        let role = text("WAYSTATION_JWT_ROLE").map_or(Ok(Role::Editor), |role| role.parse());
        let role = role.map_err(|error: Error| Error {
            code: Code::SettingInvalid,
            message: format!("WAYSTATION_JWT_ROLE: {}", error.message),
            ..error
        })?;
        let validation = validation(algorithm, audience.as_deref(), issuer.as_deref());
        Ok(Some(Tokens { algorithm, keys, secret, validation, role, audience, issuer }))
    }

    /// Whoever the token was made for. The error says what is wrong with it.
    pub fn open(&self, token: &str, now: u64) -> Result<Principal, &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("the token is too long");
        }
        let header = decode_header(token).map_err(|_| "the token is no JWT")?;
        if header.alg != self.algorithm {
            return Err("the token is signed by another algorithm than this server takes");
        }
        if header.crit.is_some() {
            return Err("the token has a critical header that this server does not know");
        }
        let claims = self.verified(token, header.kid.as_deref())?;
        if claims.iat.is_some_and(|made| made > (now + LEEWAY) as f64) {
            return Err("the token is from the future");
        }
        let role = match claims.role {
            None => self.role,
            Some(name) => name.parse().map_err(|_| "the token names a role that is none")?,
        };
        let subject = claims.sub.unwrap_or_default();
        let scope = Scope::of(claims.namespaces.map(Names::into_vec));
        let end = claims.exp.as_f64().ok_or(INCOMPLETE)? + LEEWAY as f64;
        let ground = Ground::Token((end * 1_000.0) as u64);
        Ok(Principal { name: format!("token:{subject}").into(), role, scope, ground })
    }

    /// Tries the key that the token names, or all where it names none or they have no names.
    fn verified(&self, token: &str, kid: Option<&str>) -> Result<Claims, &'static str> {
        let has_names = self.keys.iter().any(|(name, _)| name.is_some());
        let wanted = kid.filter(|_| has_names);
        let fitting = self
            .keys
            .iter()
            .filter(|(name, _)| wanted.is_none_or(|wanted| name.as_deref() == Some(wanted)));
        let mut why = "no key of this server has the name that the token gives";
        for (_, key) in fitting {
            match decode::<Claims>(token, key, &self.validation) {
                Ok(opened) => return Ok(opened.claims),
                Err(error) => why = in_words(error.kind()),
            }
            // A key that has signed it is the one; what is wrong then is the token.
            if why != UNSIGNED {
                break;
            }
        }
        Err(why)
    }

    /// Makes a token, with the shared secret or with a private key of one's own.
    pub fn make(&self, new: &NewToken, private_key: Option<&[u8]>) -> Result<String, Error> {
        let key = match (private_key, &self.secret) {
            (Some(pem), _) => private(self.algorithm, pem)?,
            (None, Some(secret)) => secret.clone(),
            (None, None) => {
                let text = "This server has only public keys, which sign nothing";
                let error = Error::new(Code::RequestInvalid, text);
                return Err(error.with_hint("give the private key with --key FILE"));
            }
        };
        let mut claims = json!({
            "sub": new.subject,
            "exp": new.now.saturating_add(new.seconds),
            "iat": new.now,
            "role": new.role.as_str(),
        });
        if let Some(audience) = &self.audience {
            claims["aud"] = listed(audience).into();
        }
        if let Some(issuer) = &self.issuer {
            claims["iss"] = listed(issuer).pop().into();
        }
        if let Some(namespaces) = &new.namespaces {
            claims["namespaces"] = namespaces.clone().into();
        }
        let made = jsonwebtoken::encode(&Header::new(self.algorithm), &claims, &key);
        made.map_err(|error| {
            Error::new(Code::RequestInvalid, format!("the token cannot be signed: {error}"))
        })
    }
}

/// It does not say all that it has to.
const INCOMPLETE: &str = "the token lacks a claim that this server requires";
/// No key has signed it.
const UNSIGNED: &str = "the token's signature does not fit";

/// What is wrong with a token, in words that tell nothing of the keys.
fn in_words(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => UNSIGNED,
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not good yet",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidIssuer => "the token is by another issuer",
        ErrorKind::MissingRequiredClaim(_) => INCOMPLETE,
        ErrorKind::InvalidAlgorithm => "the token is signed by another algorithm",
        _ => "the token is no JWT of the expected form",
    }
}

fn setting(text: String) -> Error {
    Error::new(Code::SettingInvalid, text)
}

fn algorithm(name: &str) -> Result<Algorithm, Error> {
    let found = ALGORITHMS.iter().find(|(known, _)| *known == name);
    found.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
        let names = ALGORITHMS.map(|(name, _)| name).join(", ");
        setting(format!("JWT_ALGORITHM must be one of {names}, not {name:?}"))
    })
}

type Keys = (Vec<(Option<String>, DecodingKey)>, Option<EncodingKey>);

/// The keys that fit the algorithm. A setting that could not count is an error.
fn keys(algorithm: Algorithm, secret: Option<&str>, file: Option<&str>) -> Result<Keys, Error> {
    let is_shared = algorithm.family() == AlgorithmFamily::Hmac;
    match (secret, file, is_shared) {
        (Some(_), Some(_), _) => {
            Err(setting("JWT_SECRET and WAYSTATION_JWT_KEYS exclude one another".into()))
        }
        (Some(secret), None, true) => shared(secret),
        (None, Some(file), _) => Ok((read_keys(algorithm, Path::new(file))?, None)),
        _ => Err(setting(format!("JWT_SECRET has no effect with JWT_ALGORITHM={algorithm:?}"))
            .with_hint("name a file with the public keys in WAYSTATION_JWT_KEYS")),
    }
}

fn shared(secret: &str) -> Result<Keys, Error> {
    let hint = "make one with `openssl rand -base64 48`";
    if secret.contains("-----BEGIN") {
        // Whoever knows the public key could make tokens.
        let text = "JWT_SECRET is a key of a pair, and no secret".to_owned();
        return Err(setting(text).with_hint("name its file in WAYSTATION_JWT_KEYS"));
    }
    if secret.len() < SECRET_BYTES_MIN {
        let text = format!("JWT_SECRET has to have {SECRET_BYTES_MIN} bytes at least");
        return Err(setting(text).with_hint(hint));
    }
    let unusable = |_| setting("JWT_SECRET cannot be used".into());
    let check = DecodingKey::from_secret(secret.as_bytes()).map_err(unusable)?;
    let sign = EncodingKey::from_secret(secret.as_bytes()).map_err(unusable)?;
    Ok((vec![(None, check)], Some(sign)))
}

/// A public key in PEM, or a set of keys (JWKS).
fn read_keys(
    algorithm: Algorithm,
    file: &Path,
) -> Result<Vec<(Option<String>, DecodingKey)>, Error> {
    let place = format!("WAYSTATION_JWT_KEYS: {}", file.display());
    let text = std::fs::read_to_string(file)
        .map_err(|error| setting(format!("{place} cannot be read: {error}")))?;
    if !text.trim_start().starts_with('{') {
        let key = match algorithm.family() {
            AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(text.as_bytes()),
            AlgorithmFamily::Ec => DecodingKey::from_ec_pem(text.as_bytes()),
            AlgorithmFamily::Ed => DecodingKey::from_ed_pem(text.as_bytes()),
            AlgorithmFamily::Hmac => Err(ErrorKind::InvalidKeyFormat.into()),
        };
        let key = key.map_err(|_| {
            setting(format!("{place} holds no public key in PEM for {algorithm:?}, and no JWKS"))
        })?;
        return Ok(vec![(None, key)]);
    }
    let set: JwkSet = serde_json::from_str(&text)
        .map_err(|error| setting(format!("{place} is no JWKS: {error}")))?;
    let fitting = set.keys.iter().filter_map(|key| fitting_key(algorithm, key));
    let keys: Vec<_> = fitting.take(KEYS_MAX).collect();
    if keys.is_empty() {
        return Err(setting(format!("{place} has no key for {algorithm:?}")));
    }
    Ok(keys)
}

/// A key of a set, if it may sign by this algorithm.
fn fitting_key(algorithm: Algorithm, key: &Jwk) -> Option<(Option<String>, DecodingKey)> {
    let is_for_signing =
        key.common.public_key_use.as_ref().is_none_or(|kind| *kind == PublicKeyUse::Signature);
    let is_for_it =
        key.common.key_algorithm.is_none_or(|named| named.to_string() == format!("{algorithm:?}"));
    let made = DecodingKey::from_jwk(key).ok()?;
    let is_shared = made.family() == AlgorithmFamily::Hmac;
    let is_short = made.try_get_as_bytes().is_ok_and(|bytes| bytes.len() < SECRET_BYTES_MIN);
    let is_guessed = is_shared && is_short;
    let fits = is_for_signing && is_for_it && !is_guessed && made.family() == algorithm.family();
    fits.then(|| (key.common.key_id.clone(), made))
}

/// A private key in PEM.
fn private(algorithm: Algorithm, pem: &[u8]) -> Result<EncodingKey, Error> {
    let key = match algorithm.family() {
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => Err(ErrorKind::InvalidKeyFormat.into()),
    };
    key.map_err(|_| {
        let text = format!("The file holds no private key in PEM for {algorithm:?}");
        Error::new(Code::RequestInvalid, text)
    })
}

fn validation(algorithm: Algorithm, audience: Option<&str>, issuer: Option<&str>) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY;
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    if let Some(audience) = audience {
        validation.set_audience(&listed(audience));
        required.push("aud");
    }
    if let Some(issuer) = issuer {
        validation.set_issuer(&listed(issuer));
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn listed(text: &str) -> Vec<String> {
    text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

#[cfg(test)]
mod tests;
