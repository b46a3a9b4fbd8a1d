//! Signatures of tokens, made and checked by the program's one cryptographic library.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use ring::{hmac, rand};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes the process's tokens use this. The first call counts.
pub(super) fn install() {
    let _ = PROVIDER.install_default();
}

fn hash(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let is_known =
        hash(*algorithm).is_some() || asymmetric(*algorithm).is_some() || is_rsa(*algorithm);
    // A public key is no secret, and a secret no public key.
    if !is_known || key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(Check { algorithm: *algorithm, key: key.clone() }))
}

fn is_rsa(algorithm: Algorithm) -> bool {
    algorithm == Algorithm::RS256
}

/// How signatures by a key pair other than RSA's are checked.
fn asymmetric(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::EdDSA => Some(&ED25519),
        _ => None,
    }
}

struct Check {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Check {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), signature::Error> {
        let bytes = match self.key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => bytes,
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                let verdict = key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature);
                return verdict.map_err(|_| signature::Error::new());
            }
        };
        let verdict = match (hash(self.algorithm), asymmetric(self.algorithm)) {
            // The comparison takes the same time whatever it finds.
            (Some(hash), _) => hmac::verify(&hmac::Key::new(hash, bytes), message, signature),
            (None, Some(kind)) => UnparsedPublicKey::new(kind, bytes).verify(message, signature),
            (None, None) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, bytes)
                .verify(message, signature),
        };
        verdict.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let bytes = key.as_bytes();
    let unusable = |_| Error::from(ErrorKind::InvalidKeyFormat);
    let pair = match algorithm {
        Algorithm::RS256 => Pair::Rsa(RsaKeyPair::from_der(bytes).map_err(unusable)?),
        Algorithm::ES256 => {
            let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, rand::SystemRandom::new());
            Pair::Ec(EcdsaKeyPair::from_pkcs8(kind, bytes, &random).map_err(unusable)?)
        }
        Algorithm::EdDSA => {
            Pair::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map_err(unusable)?)
        }
        other => {
            let hash = hash(*other).ok_or(ErrorKind::UnsupportedAlgorithm)?;
            Pair::Secret(hmac::Key::new(hash, bytes))
        }
    };
    Ok(Box::new(Sign { algorithm: *algorithm, pair }))
}

enum Pair {
    Secret(hmac::Key),
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

struct Sign {
    algorithm: Algorithm,
    pair: Pair,
}

impl Signer<Vec<u8>> for Sign {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        let random = rand::SystemRandom::new();
        let failed = |_| signature::Error::new();
        match &self.pair {
            Pair::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Ec(pair) => {
                pair.sign(&random, message).map(|made| made.as_ref().to_vec()).map_err(failed)
            }
            Pair::Rsa(pair) => {
                let mut made = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut made).map_err(failed)?;
                Ok(made)
            }
        }
    }
}

impl JwtSigner for Sign {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
